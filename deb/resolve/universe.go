// Package resolve closes wishes for packages under their dependencies.
//
// It has two ways. The first repeats how apt marks packages for installation
// (pkgDepCache::MarkInstall of apt 2.6, described in apt's own sources and
// partly in apt(8)): depth first from each wish, an alternative that is already
// there before one that is not, the real package before those that provide its
// name, and among providers the essential, the more important, and at last the
// one mentioned latest in the indexes. It takes a millisecond or two and gives
// the set that apt gives, but it never takes a choice back. Where it leaves a
// dependency open, the second way searches completely (package file search.go)
// for a set without contradictions, trying choices in the same order of
// preference; when there is none, it knows which packages contradict.
//
// The base set comes first: the essential packages, then those of priority
// required together with apt, as mmdebstrap's variant minbase has it. It is
// never changed by what is wished on top, so that it can be installed once and
// shared.
//
// The package decides; it reads no file and fetches nothing.
package resolve

import (
	"slices"

	"ore/deb/control"
	"ore/deb/index"
)

// Pins of sources, as apt_preferences(5) gives them when nothing is configured.
const (
	PinNormal         = 500
	PinNotAutomatic   = 1   // Release says NotAutomatic
	PinUpgradesByHand = 100 // and ButAutomaticUpgrades too
)

// Source is one index with its pin.
type Source struct {
	Index *index.Index
	Pin   int // 0 means PinNormal
}

// Universe is the packages of several indexes. Among equal versions that of the
// earlier source counts. It is safe for concurrent use.
type Universe struct {
	sources []Source
}

// New returns the universe of the sources, which are in the order of apt's
// configuration.
func New(sources []Source) *Universe {
	u := &Universe{sources: slices.Clone(sources)}
	for i := range u.sources {
		if u.sources[i].Pin == 0 {
			u.sources[i].Pin = PinNormal
		}
	}
	return u
}

// Ref says where a package stands: in which source, and there at which place.
type Ref struct {
	Source  int
	Package int
}

// rankStride separates the ranks of different sources: more names than any
// index can hold.
const rankStride = 1 << 32

// pkg is a name on the way to a solution: what is known of it, and its state.
// A name without versions is virtual, or does not exist.
type pkg struct {
	name      string
	rank      int
	versions  []*version // newest first
	providers []provider
	linked    bool // providers are filled in
	essential bool
	important bool

	// The state, in apt's words: what is there already, what would be
	// installed if anything is, and what will be there.
	current   *version
	candidate *version
	install   *version
	mode      mode
	protected bool // only the user changes this again
	manual    bool
}

// mode is what is to happen with a package.
type mode uint8

const (
	keep mode = iota
	install
)

// version is one version of a package.
type version struct {
	pkg    *pkg
	ref    Ref
	info   index.Package
	groups []group // filled in by solver.groups
	parsed bool
}

// provider is a version that provides some name.
type provider struct {
	by      *version
	version string // of the name, "" for none
}

// kind is a relationship field.
type kind uint8

const (
	preDepends kind = iota
	depends
	conflicts
	breaks
	recommends
)

func (k kind) negative() bool { return k == conflicts || k == breaks }
func (k kind) critical() bool { return k != recommends }

// String returns the verb of the field.
func (k kind) String() string {
	switch k {
	case conflicts:
		return "conflicts with"
	case breaks:
		return "breaks"
	case recommends:
		return "recommends"
	}
	return "needs"
}

// group is one relationship of a version; negative ones have one target.
type group struct {
	kind    kind
	targets []target
}

// target is one alternative of a group.
type target struct {
	control.Relation
	pkg *pkg
}

// solver holds the state of one call of Solve.
type solver struct {
	u          *Universe
	pkgs       map[string]*pkg
	loaded     []*pkg // in the order of their loading
	recommends bool
	err        error // the first relationship field that could not be read
}

// pkg returns the state of a name, loading it at its first use.
func (s *solver) pkg(name string) *pkg {
	if p, ok := s.pkgs[name]; ok {
		return p
	}
	p := &pkg{name: name, rank: -1}
	s.pkgs[name] = p
	s.loaded = append(s.loaded, p)
	for i, src := range s.u.sources {
		n, ok := src.Index.Lookup(name)
		if !ok {
			continue
		}
		if p.rank < 0 {
			p.rank = i*rankStride + n.Rank
		}
		for j := range n.Packages {
			ref := Ref{Source: i, Package: n.First + j}
			info := src.Index.Package(ref.Package)
			p.essential = p.essential || info.Essential || name == "apt" // which apt counts as such
			p.important = p.important || info.Important || name == "apt"
			p.versions = append(p.versions, &version{pkg: p, ref: ref, info: info})
		}
	}
	slices.SortStableFunc(p.versions, func(a, b *version) int {
		return control.Compare(b.info.Version, a.info.Version)
	})
	p.versions = slices.CompactFunc(p.versions, func(a, b *version) bool {
		return a.info.Version == b.info.Version
	})
	p.candidate = s.u.best(p.versions)
	return p
}

// best returns the newest version among those of the highest pin.
func (u *Universe) best(versions []*version) *version {
	var best *version
	for _, v := range versions {
		if best == nil || u.sources[v.ref.Source].Pin > u.sources[best.ref.Source].Pin {
			best = v
		}
	}
	return best
}

// link fills in who provides p's name.
func (s *solver) link(p *pkg) []provider {
	if p.linked {
		return p.providers
	}
	p.linked = true
	for i, src := range s.u.sources {
		n, ok := src.Index.Lookup(p.name)
		if !ok {
			continue
		}
		for _, pr := range src.Index.Provides(n) {
			by := s.pkg(src.Index.Package(pr.Package).Name)
			for _, v := range by.versions {
				if v.ref == (Ref{Source: i, Package: pr.Package}) {
					p.providers = append(p.providers, provider{by: v, version: pr.Version})
				}
			}
		}
	}
	return p.providers
}

// groups returns the relationships of v in the order in which apt keeps them.
func (s *solver) groups(v *version) []group {
	if v.parsed {
		return v.groups
	}
	v.parsed = true
	s.parse(v, preDepends, v.info.PreDepends)
	s.parse(v, depends, v.info.Depends)
	s.parse(v, conflicts, v.info.Conflicts)
	s.parse(v, breaks, v.info.Breaks)
	s.parse(v, recommends, v.info.Recommends)
	return v.groups
}

func (s *solver) parse(v *version, k kind, field string) {
	relations, err := control.Relations(field)
	if err != nil && s.err == nil {
		s.err = &FieldError{Package: v.info.Name, Version: v.info.Version, Err: err}
	}
	for _, alternatives := range relations {
		g := group{kind: k}
		for _, r := range alternatives {
			g.targets = append(g.targets, target{Relation: r, pkg: s.pkg(r.Name)})
		}
		v.groups = append(v.groups, g)
	}
}

// pick takes one of the versions in a package's state.
type pick func(*pkg) *version

func installed(p *pkg) *version { return p.install }
func candidate(p *pkg) *version { return p.candidate }
func current(p *pkg) *version   { return p.current }

// met reports whether t, a target of a group of kind k of the package owner, is
// there, when of each package there is what of says. A package's negative
// relationships never mean itself (Policy 7.4, 7.6.2).
func (s *solver) met(owner *pkg, k kind, t target, of pick) bool {
	if !(k.negative() && owner == t.pkg) {
		if v := of(t.pkg); v != nil && t.accepts(v) {
			return true
		}
	}
	for _, pr := range s.link(t.pkg) {
		if k.negative() && pr.by.pkg == owner {
			continue
		}
		if of(pr.by.pkg) == pr.by && t.acceptsProvided(pr) {
			return true
		}
	}
	return false
}

// accepts reports whether v, a version of t's package, satisfies t.
func (t target) accepts(v *version) bool { return t.qualified(v) && t.Allows(v.info.Version) }

// acceptsProvided reports whether pr satisfies t. Only a versioned Provides can
// satisfy a versioned relation (Policy 7.5).
func (t target) acceptsProvided(pr provider) bool {
	return t.qualified(pr.by) && (t.Op == control.Any || pr.version != "" && t.Allows(pr.version))
}

// qualified reports whether v may stand for t's architecture qualifier. With
// one architecture only, "any" still asks for Multi-Arch: allowed.
func (t target) qualified(v *version) bool {
	switch t.Arch {
	case "", "amd64", "native":
		return true
	case "any":
		return v.info.MultiArch == index.MultiArchAllowed
	}
	return false
}

// solutions returns the versions that satisfy t when of each package the
// version that of says is looked at.
func (s *solver) solutions(owner *pkg, k kind, t target, of pick) []*version {
	var list []*version
	if !(k.negative() && owner == t.pkg) {
		if v := of(t.pkg); v != nil && t.accepts(v) {
			list = append(list, v)
		}
	}
	for _, pr := range s.link(t.pkg) {
		if k.negative() && pr.by.pkg == owner {
			continue
		}
		if of(pr.by.pkg) == pr.by && t.acceptsProvided(pr) && !slices.Contains(list, pr.by) {
			list = append(list, pr.by)
		}
	}
	return list
}
