package bytecode

import (
	"bytes"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"

	"ore"
	"ore/install/pack"
)

// Python is one version of the interpreter, named as its program: python3.11.
type Python string

// part matches the packages that have the interpreter and the modules.
var part = regexp.MustCompile(`^(?:lib)?(python3\.[0-9]+)-(?:minimal|stdlib)$`)

// Find returns the first Python of which the interpreter or the modules are among
// the names of packages, "" for none.
func Find(names []string) Python {
	for _, n := range names {
		if m := part.FindStringSubmatch(n); m != nil {
			return Python(m[1])
		}
	}
	return ""
}

// Minimal is the package of the interpreter.
func (p Python) Minimal() string { return string(p) + "-minimal" }

// Sources are the packages that have the modules, and for each the package whose
// script has them compiled.
func (p Python) Sources() [][2]string {
	return [][2]string{{"lib" + string(p) + "-minimal", p.Minimal()}, {"lib" + string(p) + "-stdlib", string(p)}}
}

// compiler is the program that is called.
func (p Python) compiler() string { return "/usr/lib/" + string(p) + "/py_compile.py" }

// Asks tells whether a maintainer script makes the call that is known.
func (p Python) Asks(script []byte) bool {
	return bytes.Contains(script, []byte("/usr/bin/"+string(p)+" -E -S "+p.compiler()+" $files\n"))
}

// Command is the call that compiles files.
func (p Python) Command(files []string) []string {
	return append([]string{"/usr/bin/" + string(p), "-E", "-S", p.compiler()}, files...)
}

// Modules picks from a package's names those that the scripts have compiled.
func (p Python) Modules(names []string) []string {
	var list []string
	for _, n := range names {
		if p.Module(n) {
			list = append(list, "/"+n)
		}
	}
	return list
}

// Call is one call of the compiler: what it was to compile and what it made.
type Call struct {
	Files []string
	Made  []pack.File
}

// filesNote is the note of a pack that lists what call i compiles.
func filesNote(i int) string { return "call-" + strconv.Itoa(i) }

// Keep makes a pack of what came of calls, which is found by d.
func Keep(packs *pack.Store, d ore.Digest, calls []Call) (*pack.Pack, error) {
	notes := map[string][]byte{}
	var files []pack.File
	for i, c := range calls {
		notes[filesNote(i)] = []byte(strings.Join(c.Files, "\n"))
		files = append(files, c.Made...)
	}
	return packs.Add(d, notes, files)
}

// Kept returns the calls that were kept in a pack.
func (p Python) Kept(kept *pack.Pack) ([]Call, error) {
	var calls []Call
	made := 0
	for {
		text, ok := kept.Control[filesNote(len(calls))]
		if !ok {
			return calls, nil
		}
		c := Call{Files: strings.Split(string(text), "\n")}
		for _, source := range c.Files {
			if made == len(kept.Nodes) || kept.Nodes[made].Path != p.compiled(strings.TrimPrefix(source, "/")) {
				return nil, fmt.Errorf("compiled modules: %s is not where it should be", source)
			}
			b, err := content(kept, made)
			if err != nil {
				return nil, err
			}
			c.Made = append(c.Made, pack.File{Path: kept.Nodes[made].Path, Content: b})
			made++
		}
		calls = append(calls, c)
	}
}

func content(p *pack.Pack, i int) ([]byte, error) {
	r, err := p.Content(i)
	if err != nil {
		return nil, fmt.Errorf("compiled modules: %w", err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("compiled modules: %w", err)
	}
	return b, nil
}
