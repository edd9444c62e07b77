package shelf

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Program is an executable file and what it takes to run it.
type Program struct {
	Path string   // absolute
	libs []string // folders of its libraries, absolute; none for the host's own programs
}

// Program returns the program at path, relative to the root of the tree.
func (t *Tree) Program(path string) (*Program, error) {
	p, err := t.Path(path)
	if err != nil {
		return nil, err
	}
	prog := &Program{Path: p}
	for _, l := range t.libs {
		prog.libs = append(prog.libs, filepath.Join(t.Dir, l))
	}
	return prog, nil
}

// Host returns the program of this name that the host itself has, in PATH or
// where system programs are, or nil.
func Host(name string) *Program {
	if p, err := exec.LookPath(name); err == nil {
		if p, err = filepath.Abs(p); err == nil {
			return &Program{Path: p}
		}
	}
	for _, dir := range []string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return &Program{Path: p}
		}
	}
	return nil
}

// Environ returns this process's environment as the program needs it: with
// its own libraries, and without what would bring foreign ones.
func (p *Program) Environ() []string {
	if p.libs == nil {
		return os.Environ()
	}
	var env []string
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "LD_") {
			env = append(env, e)
		}
	}
	return append(env, "LD_LIBRARY_PATH="+strings.Join(p.libs, ":"))
}

// Command returns a command that runs the program, in any working folder. Its
// Env is [Program.Environ]; whoever changes it must keep LD_LIBRARY_PATH.
func (p *Program) Command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, p.Path, args...)
	c.Env = p.Environ()
	return c
}
