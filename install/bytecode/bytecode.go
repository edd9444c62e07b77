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
	"ore/install/tree"
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

// Origin is a package with modules, and the package whose script has them compiled.
type Origin struct {
	From, By string
	Module   func(name string) bool         // tells whether a file of From is compiled
	Asks     func(from, by *pack.Pack) bool // tells whether By's script makes the call that is known
}

// Origins are the packages that have the modules, in the order in which their
// scripts ask.
func (p Python) Origins() []Origin {
	return []Origin{
		{From: "lib" + string(p) + "-minimal", By: p.Minimal(), Module: p.Module, Asks: p.asks},
		{From: tools, By: tools, Module: toolModule, Asks: p.asksTool},
		{From: "lib" + string(p) + "-stdlib", By: string(p), Module: p.Module, Asks: p.asks},
	}
}

// compiler is the program that is called.
func (p Python) compiler() string { return "/usr/lib/" + string(p) + "/py_compile.py" }

// asks tells whether a maintainer script calls the compiler in the known way.
func (p Python) asks(_, by *pack.Pack) bool {
	return bytes.Contains(by.Control["postinst"], []byte("/usr/bin/"+string(p)+" -E -S "+p.compiler()+" $files\n"))
}

// Command is the call that compiles files.
func (p Python) Command(files []string) []string {
	return append([]string{"/usr/bin/" + string(p), "-E", "-S", p.compiler()}, files...)
}

// Call returns the call that compiles the modules of a package.
func (o Origin) Call(nodes []tree.Node) Call {
	var c Call
	for i := range nodes {
		if o.Module(nodes[i].Path) {
			c.Files = append(c.Files, "/"+nodes[i].Path)
		}
	}
	return c
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
