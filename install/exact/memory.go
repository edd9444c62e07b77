package exact

import (
	"crypto/sha256"
	_ "embed" // for the table of packages that were seen to be exact
	"fmt"
	"maps"
	"slices"
	"strings"

	"ore"
	"ore/install/dpkg"
)

// Verdict is what was seen of a package's scripts when images made from other
// ones were compared with the same made from nothing.
type Verdict struct {
	Add, Remove bool // it came or went and nobody could tell
	Broken      bool // an image differed: neither is believed any more
	Package     string
	Leaves      []string // what its removal leaves: names of users and groups, and paths
}

// Memory is what was seen, by [Scripts].
type Memory map[ore.Digest]Verdict

// Scripts returns the digest of all that a package runs: versions that have the
// same scripts behave alike.
func Scripts(p *dpkg.Package) ore.Digest {
	h := sha256.New()
	for _, name := range append(scripts[:], "triggers") {
		text := p.Files[name]
		fmt.Fprintf(h, "%s %d\n%s", name, len(text), text)
	}
	return ore.NewDigest([sha256.Size]byte(h.Sum(nil)))
}

// known.txt has a line "DIGEST WHAT PACKAGE LEFT..." for the scripts of
// packages that were seen to be exact, where WHAT is add, remove or both, and the
// rest is what has to be removed after the package: names of users and groups,
// and paths. The system tests write it and see to it that it stays true.
//
//go:embed known.txt
var known string

// Known returns what is known of the scripts of Debian's packages.
func Known() Memory {
	m, err := ReadMemory(known)
	if err != nil {
		panic("exact: " + err.Error()) // a test reads it, too
	}
	return m
}

// ReadMemory reads lines like those of known.txt; the word "broken" stands for
// a package that was seen to leave traces.
func ReadMemory(text string) (Memory, error) {
	m := Memory{}
	for line := range strings.Lines(text) {
		w := strings.Fields(line)
		if len(w) == 0 || strings.HasPrefix(w[0], "#") {
			continue
		}
		d := ore.Digest(w[0])
		if len(w) < 3 || d.Hex() == "" {
			return nil, fmt.Errorf("known packages: line %q is not a digest, a word and a name", strings.TrimSpace(line))
		}
		v := m[d]
		v.Package, v.Leaves = w[2], append(v.Leaves, w[3:]...)
		switch w[1] {
		case "add":
			v.Add = true
		case "remove":
			v.Remove = true
		case "both":
			v.Add, v.Remove = true, true
		case "broken":
			v.Broken = true
		default:
			return nil, fmt.Errorf("known packages: %q is not add, remove, both or broken", w[1])
		}
		m[d] = v
	}
	return m, nil
}

// With returns what both know.
func (m Memory) With(other Memory) Memory {
	sum := maps.Clone(m)
	for d, v := range other {
		w := sum[d]
		leaves := slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(v.Leaves), w.Leaves...))))
		sum[d] = Verdict{
			Add: v.Add || w.Add, Remove: v.Remove || w.Remove, Broken: v.Broken || w.Broken,
			Package: v.Package, Leaves: leaves,
		}
	}
	return sum
}

// Tried returns what is known once an image of the sets has turned out to be like
// one made from nothing: all that came can come, all that went can go.
func (s Sets) Tried() Memory {
	m := Memory{}
	for _, f := range s.Missing {
		m.note(f, Verdict{Add: true, Package: f.Package.Name})
	}
	for _, f := range s.Extra {
		m.note(f, Verdict{Remove: true, Package: f.Package.Name, Leaves: f.leaves})
	}
	return m
}

// note adds what was seen of a package that has scripts.
func (m Memory) note(f *Facts, v Verdict) {
	if len(f.mentions) > 0 {
		m[Scripts(f.Package)] = v
	}
}

// Broken returns the same packages as ones that leave traces: what is known when
// an image was not like one made from nothing.
func (m Memory) Broken() Memory {
	bad := Memory{}
	for d, v := range m {
		bad[d] = Verdict{Broken: true, Package: v.Package}
	}
	return bad
}

// Text returns lines that [ReadMemory] reads, sorted.
func (m Memory) Text() string {
	var lines []string
	for d, v := range m {
		word := "broken"
		switch {
		case v.Broken:
		case v.Add && v.Remove:
			word = "both"
		case v.Add:
			word = "add"
		case v.Remove:
			word = "remove"
		default:
			continue
		}
		lines = append(lines, strings.Join(append([]string{string(d), word, v.Package}, v.Leaves...), " ")+"\n")
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// judge changes the judgement of a package by what was seen.
func (m Memory) judge(f *Facts) {
	v, ok := m[Scripts(f.Package)]
	if !ok {
		return
	}
	if v.Add {
		f.add = ""
	}
	if v.Remove {
		f.remove, f.leaves = "", v.Leaves
	}
	if v.Broken {
		f.add, f.remove = "scripts were seen to leave traces", "scripts were seen to leave traces"
	}
}

// Unknown tells what is not known of the package: whether it can be added, and
// whether it can be removed.
func (f *Facts) Unknown() (add, remove bool) { return f.add != "", f.remove != "" }
