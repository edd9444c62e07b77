package dpkg

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Interest is a package's wish to be told of a trigger (deb-triggers(5)).
type Interest struct {
	Trigger string // a name, or a path beginning with "/"
	Spec    string // of the interested package
	NoAwait bool
}

// Interests returns what the package's triggers file asks for, in its order.
func (p *Package) Interests() ([]Interest, error) {
	var list []Interest
	for line := range strings.Lines(string(p.Files["triggers"])) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(words) != 2 {
			return nil, fmt.Errorf("triggers file: line %q is not a directive and a trigger", strings.TrimSpace(line))
		}
		switch words[0] {
		case "interest", "interest-await":
			list = append(list, Interest{Trigger: words[1], Spec: p.spec})
		case "interest-noawait":
			list = append(list, Interest{Trigger: words[1], Spec: p.spec, NoAwait: true})
		case "activate", "activate-await", "activate-noawait":
			// dpkg activates these itself when it configures the package.
		default:
			return nil, fmt.Errorf("triggers file: directive %q is not known", words[0])
		}
	}
	return list, nil
}

func (i Interest) target() string {
	if i.NoAwait {
		return i.Spec + "/noawait"
	}
	return i.Spec
}

// Triggers is the folder triggers of the database.
type Triggers struct {
	files    []Interest            // of paths
	explicit map[string][]Interest // of names
}

// NewTriggers reads the content of triggers/File; read gives the content of
// the file of an explicit trigger.
func NewTriggers(file []byte) (*Triggers, error) {
	t := &Triggers{explicit: map[string][]Interest{}}
	for line := range strings.Lines(string(file)) {
		trigger, target, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok || !strings.HasPrefix(trigger, "/") {
			return nil, fmt.Errorf("triggers/File: line %q is not a path and a package", strings.TrimSpace(line))
		}
		spec, noawait := strings.CutSuffix(target, "/noawait")
		t.files = append(t.files, Interest{Trigger: trigger, Spec: spec, NoAwait: noawait})
	}
	return t, nil
}

// Add records an interest.
func (t *Triggers) Add(i Interest) {
	if strings.HasPrefix(i.Trigger, "/") {
		t.files = append(t.files, i)
		return
	}
	t.explicit[i.Trigger] = append(t.explicit[i.Trigger], i)
}

// File returns the content of triggers/File.
func (t *Triggers) File() []byte {
	var b bytes.Buffer
	for _, i := range t.files {
		fmt.Fprintf(&b, "%s %s\n", i.Trigger, i.target())
	}
	return b.Bytes()
}

// Explicit returns the names of the explicit triggers that were added, sorted,
// each with the lines to append to its file.
func (t *Triggers) Explicit() map[string][]byte {
	files := map[string][]byte{}
	for _, name := range slices.Sorted(maps.Keys(t.explicit)) {
		var b bytes.Buffer
		for _, i := range t.explicit[name] {
			fmt.Fprintln(&b, i.target())
		}
		files[name] = b.Bytes()
	}
	return files
}

// Activated returns the file triggers that unpacking the nodes of packages
// activates, in the form of triggers/Unincorp. Only the interests of packages
// that are configured already count: the others see everything when they are.
func (t *Triggers) Activated(packages []*Package, configured func(spec string) bool) []byte {
	interested := map[string]bool{}
	for _, i := range t.files {
		if configured(i.Spec) {
			interested[i.Trigger] = true
		}
	}
	hit := map[string]bool{}
	for _, p := range packages {
		if len(interested) == 0 {
			break
		}
		for i := range p.Nodes {
			for name := "/" + p.Nodes[i].Path; name != "/"; name = path.Dir(name) {
				if interested[name] {
					hit[name] = true
				}
			}
		}
	}
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(hit)) {
		fmt.Fprintf(&b, "%s -\n", name) // "-": nobody waits, all are configured together
	}
	return b.Bytes()
}
