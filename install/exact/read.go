package exact

import (
	"fmt"
	"slices"
	"strings"

	"ore"
	"ore/image"
	"ore/install/dpkg"
	"ore/install/tree"
)

// Alike tells why a build of env cannot start from the candidate, whatever its
// packages are; "" if it can.
func Alike(candidate image.Manifest, env ore.Environment) string {
	if Made(candidate) {
		return further(candidate, env)
	}
	room := 1 // for the packages
	if len(env.Files) > 0 {
		room++
	}
	if len(env.Steps) > 0 {
		room++
	}
	from := candidate.Environment
	switch {
	case from.BaseOnly().Key() != env.BaseOnly().Key():
		return "it has another base"
	case !slices.EqualFunc(from.Sources, env.Sources, sameSource):
		return "it has other sources"
	case len(candidate.Layers) < 2:
		return "it is the base alone"
	case len(candidate.Layers)+room > image.MaxLayers:
		return fmt.Sprintf("it has %d layers already: fold it", len(candidate.Layers))
	}
	return ""
}

func sameSource(a, b ore.LockedSource) bool {
	return a.URI == b.URI && a.Suite == b.Suite && a.Key == b.Key && slices.Equal(a.Components, b.Components)
}

// Has tells whether the list has the package, and not only one of its name.
func Has(list []ore.Package, p ore.Package) bool {
	i, ok := slices.BinarySearchFunc(list, p, func(a, b ore.Package) int { return strings.Compare(a.Name, b.Name) })
	for ; ok && i < len(list) && list[i].Name == p.Name; i++ {
		if q := list[i]; q.Version == p.Version && q.Arch == p.Arch && q.Digest == p.Digest {
			return true
		}
	}
	return false
}

// Reader reads what is known of installed packages from the database of a tree.
type Reader struct {
	View *tree.View
	Seen Memory
}

// Sort reads the facts of all packages and sorts them into those that are the
// base's, those that the wish has too, and those that it has not.
func (r Reader) Sort(candidate []ore.Package, wish ore.Environment) (Sets, error) {
	var s Sets
	base, stays := map[string]bool{}, map[string]bool{}
	for _, p := range wish.Packages {
		base[p.Name], stays[p.Name] = p.Base, Has(candidate, p)
	}
	err := r.each(func(f *Facts) {
		switch name := f.Package.Name; {
		case base[name]:
			s.Base = append(s.Base, f)
		case stays[name]:
			s.Common = append(s.Common, f)
		default:
			s.Extra = append(s.Extra, f)
		}
	})
	return s, err
}

// Miss adds a package that the candidate lacks.
func (s *Sets) Miss(p *dpkg.Package, seen Memory) {
	s.Missing = append(s.Missing, of(p, seen))
}

// each reads the facts of all packages.
func (r Reader) each(take func(*Facts)) error {
	status, err := r.View.ReadFile(dpkg.Dir + "/status")
	if err != nil {
		return err
	}
	for text := range strings.SplitSeq(string(status), "\n\n") {
		if strings.TrimSpace(text) == "" {
			continue
		}
		f, err := r.facts(text + "\n")
		if err != nil {
			return fmt.Errorf("read packages: %w", err)
		}
		take(f)
	}
	return nil
}

func (r Reader) facts(paragraph string) (*Facts, error) {
	p, err := dpkg.New(map[string][]byte{"control": []byte(paragraph)}, nil, nil)
	if err != nil {
		return nil, err
	}
	info := dpkg.Dir + "/info/" + p.Spec() + "."
	for _, name := range append(scripts[:], "triggers") {
		b, err := r.View.ReadFile(info + name)
		if err != nil {
			return nil, err
		}
		if b != nil {
			p.Files[name] = b
		}
	}
	list, err := r.View.ReadFile(info + "list")
	if err != nil {
		return nil, err
	}
	var paths []string
	for line := range strings.Lines(string(list)) {
		if name := strings.Trim(strings.TrimSuffix(line, "\n"), "/"); name != "" && name != "." {
			paths = append(paths, name)
		}
	}
	return Of(p, paths, r.Seen), nil
}
