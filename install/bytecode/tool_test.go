package bytecode

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ore/install/pack"
	"ore/install/sandbox/instead"
	"ore/install/tree"
	"ore/squashfs"
)

// toolFiles is what is installed of py3compile.
var toolFiles = []string{"/" + toolDir + "debpython/__init__.py", "/" + toolDir + "py3versions.py"}

// toolTree is a tree in which a stand-in for py3compile runs, seen from outside.
type toolTree struct {
	root, program string
	standIn       *StandIn
}

func newToolTree(t *testing.T) toolTree {
	t.Helper()
	root := t.TempDir()
	lent, own := filepath.Join(root, "lent"), filepath.Join(root, "own")
	s, err := Python("python3.11").StandIn(filepath.Join(root, "bin"), lent)
	if err != nil {
		t.Fatal(err)
	}
	program := s.Programs[1].Host
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	// The lists name files as the tree has them, and so do calls.
	moved := strings.NewReplacer(instead.LentDir, lent, instead.OwnDir, own, "-p /"+toolDir, "-p /"+toolDir, "'^/", "'^/",
		" /"+toolDir, " "+root+"/"+toolDir, "=/var/lib", "="+root+"/var/lib", " /var/lib", " "+root+"/var/lib", " /usr/lib", " "+root+"/usr/lib", " /usr/bin/python", " "+root+"/usr/bin/python", "'/usr/l", "'"+root+"/usr/l",
		`/made/." /`, `/made/." `+root).Replace(string(text))
	tt := toolTree{root: root, program: program, standIn: s}
	tt.write(t, "usr/bin/python3.11", "")
	tt.write(t, "own/py3compile", "#!/bin/sh\necho own \"$@\"\n")
	tt.write(t, "var/lib/dpkg/info/python3-minimal.list", "/.\n/usr\n/usr/bin/py3compile\n"+strings.Join(toolFiles, "\n")+"\n")
	tt.write(t, "var/lib/dpkg/info/python3.list", "/.\n/usr/share/python3\n/usr/share/python3/python.mk\n")
	tt.write(t, "var/lib/dpkg/info/python3-x.list", "/usr/share/python3/x.py\n")
	if err := os.WriteFile(program, []byte(moved), 0o755); err != nil {
		t.Fatal(err)
	}
	return tt
}

func (tt toolTree) write(t *testing.T, name, text string) {
	t.Helper()
	p := filepath.Join(tt.root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(text), 0o755)); err != nil {
		t.Fatal(err)
	}
}

// says returns what a call says: nothing if the stand-in did its work.
func (tt toolTree) says(t *testing.T, env []string, args ...string) string {
	t.Helper()
	c := exec.Command(tt.program, args...)
	c.Env = append([]string{"PATH=" + os.Getenv("PATH")}, env...)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %v: %s", args, err, out)
	}
	return string(out)
}

// call is what the compiler made of py3compile's modules.
func toolCompiled() Call {
	c := Call{Files: toolFiles}
	for _, f := range toolFiles {
		c.Made = append(c.Made, pack.File{Path: Python("python3.11").compiled(f[1:]), Content: []byte(f)})
	}
	return c
}

// The stand-in for py3compile does what the two known calls do, and leaves all others,
// and these where something is not as it was when the program was read, to the program.
func TestToolStandIn(t *testing.T) {
	tt := newToolTree(t)
	c := toolCompiled()
	dir := "/" + toolDir
	first, second := []string{"-p", "python3-minimal", dir}, []string{"-p", "python3", dir}
	if err := errors.Join(tt.standIn.Calls([]Call{c}), tt.standIn.Lay(0, c)); err != nil {
		t.Fatal(err)
	}
	own := func(what string, env []string, args []string) {
		t.Helper()
		if got, want := tt.says(t, env, args...), "own "+strings.Join(args, " ")+"\n"; got != want {
			t.Errorf("%s: %q, want %q", what, got, want)
		}
	}
	own("before the first call", nil, second)
	own("all modules of a package", nil, []string{"-p", "python3-minimal"})
	own("another package with modules", nil, []string{"-p", "python3-x", dir})
	own("a package that is not there", nil, []string{"-p", "python3-y", dir})
	own("another folder", nil, []string{"-p", "python3-minimal", "/usr/share/x/"})
	own("debugging", []string{"PYCOMPILE_DEBUG=1"}, first)
	own("other versions", []string{"DEBPYTHON3_DEFAULT=3.12"}, first)
	tt.write(t, "usr/lib/python3.11/gettext.py", "")
	own("the whole library, which nobody has compiled", nil, first)
	tt.write(t, "var/lib/dpkg/info/python3.11.list", "")
	if said := tt.says(t, nil, first...); said != "" {
		t.Errorf("the first call: %q", said)
	}
	for _, f := range c.Made {
		if b, err := os.ReadFile(filepath.Join(tt.root, f.Path)); err != nil || string(b) != string(f.Content) {
			t.Errorf("%s holds %q, %v", f.Path, b, err)
		}
	}
	if said := tt.says(t, nil, second...); said != "" {
		t.Errorf("the second call: %q", said)
	}
	own("once more", nil, first)
	tt.write(t, toolDir+"bcep/x", "")
	own("with exceptions", nil, second)
}

// Without a call of py3compile's modules, the program runs.
func TestToolStandInWithoutCall(t *testing.T) {
	tt := newToolTree(t)
	if err := tt.standIn.Calls(compiled(t)); err != nil {
		t.Fatal(err)
	}
	tt.standIn.Close()
	if said := tt.says(t, nil, "-p", "python3-minimal", "/"+toolDir); !strings.HasPrefix(said, "own ") {
		t.Errorf("it says %q", said)
	}
}

// Only the py3compile that was read is stood in for.
func TestToolHash(t *testing.T) {
	node := func(name string, sum byte) tree.Node {
		return tree.Node{Entry: squashfs.Entry{Path: name}, Sum: [32]byte{sum}}
	}
	nodes := []tree.Node{node(toolPath, 1), node(toolDir+"debpython/files.py", 2), node("usr/share/doc/x", 3)}
	was := toolHash(nodes)
	nodes[2] = node("usr/share/doc/x", 4)
	if toolHash(nodes) != was {
		t.Error("documentation counts")
	}
	nodes[1] = node(toolDir+"debpython/files.py", 5)
	if toolHash(nodes) == was {
		t.Error("its modules do not count")
	}
	by := &pack.Pack{Control: map[string][]byte{"postinst": []byte("\t" + toolCall)}, Nodes: nodes}
	if Python("python3.11").asksTool(by, by) {
		t.Error("another py3compile is taken for the known one")
	}
}

// A module that an import compiles differs from one that the compiler makes.
func TestImported(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 here: install python3-minimal to compare what it compiles")
	}
	dir := t.TempDir()
	source := filepath.Join(dir, "m.py")
	made := func(run ...string) string {
		t.Helper()
		if err := errors.Join(os.RemoveAll(filepath.Join(dir, "__pycache__")), os.WriteFile(source, []byte("import re\nx = ('*', 'a b', 1.5)\n"), 0o644)); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command("touch", "-d", "2023-04-09 10:22:58.7", source).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		c := exec.Command(python, run...)
		c.Dir = dir
		c.Env = []string{"PYTHONHASHSEED=0", "SOURCE_DATE_EPOCH=1700000000", "LC_ALL=C.UTF-8"}
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		list, err := filepath.Glob(filepath.Join(dir, "__pycache__", "*.pyc"))
		if err != nil || len(list) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		b, err := os.ReadFile(list[0])
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	want := made("-c", "import sys\nsys.path.insert(1, "+`"`+dir+`/"`+")\nimport m")
	if made("-B", "-E", "-S", "-c", program, "1", "@"+source) != want {
		t.Error("a module behind @ is not what importing makes of it")
	}
	if made("-B", "-E", "-S", "-c", program, "1", source) == want {
		t.Error("a module without @ is what importing makes of it")
	}
}
