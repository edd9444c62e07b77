package resolve

import (
	"context"
	"slices"
	"strings"

	"ore"
	"ore/deb/index"
)

// Request is what to close.
type Request struct {
	Wishes     []ore.Wish // in the order given
	Recommends bool       // also take what packages recommend, where it can be had
	Bare       bool       // leave out what the wishes do not need, even of the base set
}

// Choice is one chosen package.
type Choice struct {
	Ref
	index.Package
	Base bool // belongs to the base set
}

// Solution is a closed set, sorted by name.
type Solution struct {
	Choices []Choice
	Manual  []string // the packages that the wishes mean, sorted, each once
}

// Solve returns the base set and what the wishes close to over it. The error is
// an *UnknownError, *VirtualError, *VersionError, *ConflictError or
// *FieldError when the wishes or the indexes are to blame.
func (u *Universe) Solve(ctx context.Context, r Request) (Solution, error) {
	s := &solver{u: u, pkgs: make(map[string]*pkg), recommends: r.Recommends}
	wishes, err := s.wishes(r.Wishes)
	if err != nil {
		return Solution{}, err
	}
	if err := s.base(ctx); err != nil {
		return Solution{}, err
	}
	if err := s.close(ctx, wishes); err != nil {
		return Solution{}, err
	}
	if s.err != nil {
		return Solution{}, s.err
	}
	if r.Bare {
		for _, p := range s.loaded {
			p.current = nil // so that only what is reached from the wishes stays
		}
		s.sweep(wishes)
	}
	return s.solution(wishes), nil
}

// wishes finds the packages meant, and makes wished versions the candidates.
func (s *solver) wishes(wishes []ore.Wish) ([]*pkg, error) {
	var list []*pkg
	for _, w := range wishes {
		p, err := s.wish(w)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(list, p) {
			list = append(list, p)
		}
	}
	return list, nil
}

func (s *solver) wish(w ore.Wish) (*pkg, error) {
	p := s.pkg(w.Name)
	if len(p.versions) == 0 {
		return s.virtual(p, w)
	}
	if w.Version == "" {
		return p, nil
	}
	for _, v := range p.versions {
		if v.info.Version == w.Version {
			if p.manual && p.candidate != v {
				return nil, &VersionError{Wish: w, Have: []string{p.candidate.info.Version}, Twice: true}
			}
			p.candidate, p.manual = v, true
			return p, nil
		}
	}
	have := make([]string, len(p.versions))
	for i, v := range p.versions {
		have[i] = v.info.Version
	}
	return nil, &VersionError{Wish: w, Have: have}
}

// virtual returns the only package that provides the name p.
func (s *solver) virtual(p *pkg, w ore.Wish) (*pkg, error) {
	var by []string
	for _, pr := range s.link(p) {
		if pr.by.pkg.candidate == pr.by && !slices.Contains(by, pr.by.pkg.name) {
			by = append(by, pr.by.pkg.name)
		}
	}
	switch {
	case len(by) == 0:
		return nil, &UnknownError{Name: w.Name, Near: s.near(w.Name)}
	case len(by) > 1 || w.Version != "":
		slices.Sort(by)
		return nil, &VirtualError{Wish: w, Providers: by}
	}
	return s.pkg(by[0]), nil
}

// nearLimit is how many near names an error offers.
const nearLimit = 5

func (s *solver) near(name string) []string {
	var names []string
	for _, src := range s.u.sources {
		for _, n := range src.Index.Near(name) {
			if !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	return names[:min(nearLimit, len(names))]
}

// base chooses the base set and makes it what is there already.
func (s *solver) base(ctx context.Context) error {
	var essential, required []*pkg
	for _, src := range s.u.sources {
		for _, i := range src.Index.Base() {
			p := s.pkg(src.Index.Package(i).Name)
			switch v := p.candidate; {
			case v == nil || slices.Contains(essential, p) || slices.Contains(required, p):
			case v.info.Essential:
				essential = append(essential, p)
			case v.info.Priority == index.PriorityRequired:
				required = append(required, p)
			}
		}
	}
	if apt := s.pkg("apt"); len(apt.versions) > 0 && !slices.Contains(required, apt) {
		required = append(required, apt)
	}
	for _, set := range [][]*pkg{essential, required} {
		if err := s.close(ctx, set); err != nil {
			return err
		}
		s.settle()
	}
	return nil
}

// close marks the wishes and all they need, by the first way or else by the
// second.
func (s *solver) close(ctx context.Context, wishes []*pkg) error {
	candidates := make(map[*pkg]*version)
	for _, p := range s.loaded {
		candidates[p] = p.candidate
	}
	for _, p := range wishes {
		p.protected = true
		s.markInstall(p, false, 0, true)
	}
	for _, p := range wishes {
		if err := ctx.Err(); err != nil {
			return err
		}
		s.markInstall(p, true, 0, true)
	}
	if s.err != nil {
		return s.err
	}
	if s.sound(wishes) {
		s.sweep(wishes)
		return nil
	}
	s.reset(candidates)
	return s.search(ctx, wishes)
}

// sound reports whether the wishes are marked and nothing marked is broken.
func (s *solver) sound(wishes []*pkg) bool {
	for _, p := range wishes {
		if p.install == nil {
			return false
		}
	}
	for i := 0; i < len(s.loaded); i++ { // broken may load more
		if s.broken(s.loaded[i], critical) {
			return false
		}
	}
	return true
}

// reset takes all marks back.
func (s *solver) reset(candidates map[*pkg]*version) {
	for _, p := range s.loaded {
		p.mode, p.install, p.protected = keep, p.current, false
		if v, ok := candidates[p]; ok {
			p.candidate = v
		} else {
			p.candidate = s.u.best(p.versions)
		}
	}
}

// sweep unmarks what was marked on a way that led nowhere, and is needed by
// nothing that stays.
func (s *solver) sweep(wishes []*pkg) {
	reached := make(map[*pkg]bool)
	queue := slices.Clone(wishes)
	for _, p := range s.loaded {
		if p.current != nil {
			queue = append(queue, p)
		}
	}
	for len(queue) > 0 {
		p := queue[0]
		queue = queue[1:]
		if reached[p] || p.install == nil {
			continue
		}
		reached[p] = true
		for _, g := range s.groups(p.install) {
			if g.kind.negative() {
				continue
			}
			for _, t := range g.targets {
				for _, v := range s.solutions(p, g.kind, t, installed) {
					queue = append(queue, v.pkg)
				}
			}
		}
	}
	for _, p := range s.loaded {
		if p.install != nil && !reached[p] {
			p.mode, p.install = keep, nil
		}
	}
}

// settle makes what is marked what is there already.
func (s *solver) settle() {
	for _, p := range s.loaded {
		p.current = p.install
		p.mode, p.protected = keep, false
		if p.current != nil {
			p.candidate = p.current
		} else if !p.manual {
			p.candidate = s.u.best(p.versions)
		}
	}
}

// solution reads the result off the state.
func (s *solver) solution(wishes []*pkg) Solution {
	var sol Solution
	for _, p := range s.loaded {
		if v := p.install; v != nil {
			sol.Choices = append(sol.Choices, Choice{Ref: v.ref, Package: v.info, Base: p.current != nil})
		}
	}
	slices.SortFunc(sol.Choices, func(a, b Choice) int { return strings.Compare(a.Name, b.Name) })
	for _, p := range wishes {
		sol.Manual = append(sol.Manual, p.name)
	}
	slices.Sort(sol.Manual)
	return sol
}
