package bytecode

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"ore"
	"ore/install/pack"
	"ore/install/sandbox/instead"
	"ore/install/tree"
)

//go:embed compile.py
var program string

// maxModules is how many modules one compiler is given: their numbers fit into
// the pipe that it takes them from. Python's library has some 600.
const maxModules = 1 << 14

// What is no file among the compiler's arguments.
const (
	between = "--" // stands between batches
	into    = ">"  // before a folder: what is made of the files behind it goes there
)

// command compiles batches of files, one after the other, on all cores. Modules that the
// compiler itself needs are not written when they are imported: each is compiled once, as
// is asked for.
func (p Python) command(batches ...[]string) []string {
	args := []string{"/usr/bin/" + string(p), "-B", "-E", "-S", "-c", program, strconv.Itoa(runtime.NumCPU())}
	for i, files := range batches {
		if i > 0 {
			args = append(args, between)
		}
		for _, f := range files {
			if strings.HasPrefix(f, imported) {
				f = "@" + f
			}
			args = append(args, f)
		}
	}
	return args
}

// Run runs a program in the compiler's tree, which sees the folder that is made in as
// [instead.LentDir]; out gets what it says.
type Run func(ctx context.Context, args []string, out io.Writer) error

// Folder names the folder of what comes of call i, in that which the compiler is lent.
func Folder(lent string, i int) string { return filepath.Join(lent, strconv.Itoa(i)) }

// Make has the files of calls compiled by run, into the folder lent, adds to each call what
// came of it, and tells done as soon as that is there. A module's code depends on its
// source alone, so they are compiled in any order. The few modules of py3compile go with
// the call before them: its script is the next that asks.
func (p Python) Make(ctx context.Context, lent string, calls []Call, run Run, done func(i int) error) error {
	b := &batches{Python: p, lent: lent, calls: calls, done: done}
	var files [][]string
	for i, c := range calls {
		if err := os.MkdirAll(Folder(lent, i), 0o755); err != nil {
			return fmt.Errorf("compile: %w", err)
		}
		list := append([]string{into + Folder(instead.LentDir, i)}, c.Files...)
		if i > 0 && strings.HasPrefix(c.Files[0], "/"+toolDir) {
			files[len(files)-1] = append(files[len(files)-1], list...)
			b.ends[len(files)-1] = i + 1
			continue
		}
		files, b.ends = append(files, list), append(b.ends, i+1)
	}
	for _, f := range files {
		if len(f) > maxModules {
			return fmt.Errorf("compile: %d modules: more than %d", len(f), maxModules)
		}
	}
	err := run(ctx, p.command(files...), b)
	if err == nil && len(b.ends) > 0 {
		err = errors.New("the compiler ended early")
	}
	if err != nil {
		return fmt.Errorf("compile: %w", err)
	}
	return nil
}

// batches takes in what the compiler says: a line for each batch that is finished.
type batches struct {
	Python
	lent  string
	calls []Call
	ends  []int // of the calls of batches that are not finished
	begin int   // of the next one
	done  func(i int) error
}

// Write takes in lines.
func (b *batches) Write(said []byte) (int, error) {
	for range bytes.Count(said, []byte("\n")) {
		if len(b.ends) == 0 {
			return 0, errors.New("the compiler says more than it was asked")
		}
		for ; b.begin < b.ends[0]; b.begin++ {
			if err := b.collect(Folder(b.lent, b.begin), &b.calls[b.begin]); err != nil {
				return 0, err
			}
			if err := b.done(b.begin); err != nil {
				return 0, err
			}
		}
		b.ends = b.ends[1:]
	}
	return len(said), nil
}

// collect adds to a call what was made in a folder.
func (p Python) collect(folder string, c *Call) error {
	for _, source := range c.Files {
		name := p.compiled(strings.TrimPrefix(source, "/"))
		b, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil {
			return err
		}
		c.Made = append(c.Made, pack.File{Path: name, Content: b})
	}
	return nil
}

// compiled names the file that holds the code of a module (PEP 3147).
func (p Python) compiled(source string) string {
	tag := strings.NewReplacer("python", "cpython-", ".", "").Replace(string(p))
	dir, file := filepath.Split(source)
	return filepath.Join(dir, "__pycache__", strings.TrimSuffix(file, ".py")+"."+tag+".pyc")
}

// unneeded is what no compiler reads, and half of what a package has.
const unneeded = "usr/share/"

// Needed tells whether the interpreter may need the file of that name, of a package
// that it needs.
func Needed(name string) bool { return !strings.HasPrefix(name, unneeded) }

// Module tells whether the file of that name is compiled.
func (p Python) Module(name string) bool {
	return strings.HasPrefix(name, "usr/lib/"+string(p)+"/") && strings.HasSuffix(name, ".py")
}

// Source is a package of which a tree for the compiler has files.
type Source struct {
	Digest ore.Digest
	Deb    string
	Nodes  []tree.Node
	Wants  func(name string) bool // which
	Stage  string                 // the folder that has or gets their content
	Staged bool                   // it has
}

// Fill puts the package's files into the tree.
func (s *Source) Fill(ctx context.Context, v *tree.View, packs *pack.Store) error {
	if !s.Staged {
		if err := s.stage(ctx, packs); err != nil {
			return fmt.Errorf("compile: %w", err)
		}
	}
	for i := range s.Nodes {
		n := s.Nodes[i]
		if !s.Wants(n.Path) || n.Hardlink != "" && !s.Wants(n.Hardlink) {
			continue
		}
		if _, err := v.Put(&n, s.Stage+"/"+strconv.Itoa(i)); err != nil {
			return fmt.Errorf("compile: %w", err)
		}
	}
	return nil
}

// stage writes the content of the files that are wanted.
func (s *Source) stage(ctx context.Context, packs *pack.Store) error {
	if err := os.MkdirAll(s.Stage, 0o755); err != nil {
		return err
	}
	pk, err := packs.Get(ctx, s.Digest, s.Deb, func(i int, n *tree.Node) (io.WriteCloser, error) {
		if !s.Wants(n.Path) {
			return nil, nil
		}
		return tree.Stage(s.Stage+"/"+strconv.Itoa(i), n)
	})
	if err != nil {
		return err
	}
	return pk.Close()
}
