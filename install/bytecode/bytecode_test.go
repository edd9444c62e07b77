package bytecode

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"ore"
	"ore/install/pack"
	"ore/install/sandbox/instead"
	"ore/install/tree"
	"ore/squashfs"
)

const script311 = "#!/bin/sh\nif true; then\n\t/usr/bin/python3.11 -E -S /usr/lib/python3.11/py_compile.py $files\nfi\n"

// A Python is found by its package, and only the call that is known is made.
func TestFind(t *testing.T) {
	p := Find([]string{"libc6", "python3-minimal", "python3.11-minimal", "python3.12-minimal"})
	if p != "python3.11" || Find([]string{"libpython3.11-stdlib"}) != p || Find([]string{"python3", "python3.11", "libpython3.11"}) != "" {
		t.Errorf("found %q", p)
	}
	o := p.Origins()[0]
	asks := func(script string) bool {
		return o.Asks(nil, &pack.Pack{Control: map[string][]byte{"postinst": []byte(script)}})
	}
	if !asks(script311) || asks(strings.ReplaceAll(script311, "-S", "-S -O")) {
		t.Error("the call is not told from others")
	}
	var nodes []tree.Node
	for _, name := range []string{"usr/lib/python3.11/os.py", "usr/lib/python3.11/x.so", "etc/python3.11/sitecustomize.py", "usr/lib/python3.11/a/b.py"} {
		nodes = append(nodes, tree.Node{Entry: squashfs.Entry{Path: name}})
	}
	if got := o.Call(nodes).Files; strings.Join(got, " ") != "/usr/lib/python3.11/os.py /usr/lib/python3.11/a/b.py" {
		t.Errorf("modules %v", got)
	}
}

// compiled makes two calls by a compiler that writes a file for each module, and
// one for another that nobody asked for.
func compiled(t *testing.T) []Call {
	t.Helper()
	lent := t.TempDir()
	const lib = "usr/lib/python3.11/"
	calls := []Call{{Files: []string{"/" + lib + "a.py"}}, {Files: []string{"/" + lib + "b.py", "/" + lib + "c.py"}}}
	run := func(_ context.Context, args []string, out io.Writer) error {
		cache := ""
		for _, name := range append(args, "other.py", between) {
			if name == between {
				fmt.Fprintln(out) // a batch is finished
			}
			if folder, ok := strings.CutPrefix(name, into+instead.LentDir); ok {
				cache = filepath.Join(lent, folder, lib, "__pycache__")
			}
			if filepath.Ext(name) != ".py" {
				continue
			}
			m := strings.TrimSuffix(filepath.Base(name), ".py")
			if err := os.MkdirAll(cache, 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(cache, m+".cpython-311.pyc"), []byte(strings.ToUpper(m)), 0o644); err != nil {
				return err
			}
		}
		return nil
	}
	done := 0
	next := func(i int) error {
		if i != done || len(calls[i].Made) != len(calls[i].Files) {
			t.Errorf("call %d is done with %d files, %d were done before", i, len(calls[i].Made), done)
		}
		done++
		return nil
	}
	if err := Python("python3.11").Make(t.Context(), lent, calls, run, next); err != nil || done != len(calls) {
		t.Fatalf("%d calls are done: %v", done, err)
	}
	return calls
}

func made(c Call) string {
	var s []string
	for _, f := range c.Made {
		s = append(s, f.Path+"="+string(f.Content))
	}
	return strings.Join(s, " ")
}

// A call's results are those of its modules; they are kept.
func TestMake(t *testing.T) {
	calls := compiled(t)
	packs, err := pack.Open(t.TempDir(), squashfs.Options{Level: 1, Compression: squashfs.Zstd, BlockSize: 128 << 10}, nil)
	if err != nil {
		t.Fatal(err)
	}
	key := ore.DigestOf([]byte("k"))
	if _, err := packs.Find(key); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty store: %v", err)
	}
	made, err := Keep(packs, key, calls)
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	found, err := packs.Find(key)
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	for _, p := range []*pack.Pack{made, found} {
		got, err := Python("python3.11").Kept(p)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, calls) {
			t.Errorf("kept are %v, want %v", got, calls)
		}
	}
	const dir = "usr/lib/python3.11/__pycache__/"
	if made := calls[1].Made; len(made) != 2 || made[1].Path != dir+"c.cpython-311.pyc" || string(made[1].Content) != "C" {
		t.Errorf("made is %v", made)
	}
	if _, err := Python("python3.12").Kept(found); err == nil {
		t.Error("what another Python compiled is taken")
	}
}

// The stand-in copies what a known call made, waits for that call and no other, and
// starts the interpreter itself for everything else, under its own name.
func TestStandIn(t *testing.T) {
	root := t.TempDir()
	lent, own := filepath.Join(root, "lent"), filepath.Join(root, "own")
	calls := compiled(t)
	s, err := Python("python3.11").StandIn(filepath.Join(root, "bin"), lent)
	if err != nil {
		t.Fatal(err)
	}
	program := s.Programs[0].Host
	text, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	moved := strings.NewReplacer(instead.LentDir, lent, instead.OwnDir, own, `/made/." /`, `/made/." `+root).Replace(string(text))
	if err := errors.Join(os.WriteFile(program, []byte(moved), 0o755), os.Mkdir(own, 0o755),
		os.WriteFile(filepath.Join(own, "python3.11"), []byte("#!/bin/sh\necho own \"$@\"\n"), 0o755)); err != nil {
		t.Fatal(err)
	}
	call := func(files []string) *exec.Cmd {
		return exec.Command(program, append([]string{"-E", "-S", Python("python3.11").compiler()}, files...)...)
	}
	out, err := exec.Command(program, "-c", "print 1").CombinedOutput() // does not wait
	if err != nil || string(out) != "own -c print 1\n" {
		t.Errorf("another call: %q, %v", out, err)
	}
	first, second, third := call(calls[0].Files), call(calls[1].Files), call([]string{"/b.py"})
	var said strings.Builder
	third.Stdout = &said
	if err := errors.Join(first.Start(), second.Start(), third.Start()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Calls(calls), third.Wait(), s.Lay(0, calls[0]), first.Wait()); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(said.String(), "own -E -S") {
		t.Errorf("a call with other files: %q", said.String())
	}
	there := func(c Call) bool {
		for _, f := range c.Made {
			if b, err := os.ReadFile(filepath.Join(root, f.Path)); err != nil || string(b) != string(f.Content) {
				return false
			}
		}
		return true
	}
	if !there(calls[0]) || there(calls[1]) {
		t.Error("the first call is not laid out, or the second one is")
	}
	folder := filepath.Join(root, "second")
	for _, f := range calls[1].Made {
		name := filepath.Join(folder, f.Path)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, f.Content, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.Adopt(1, folder), second.Wait()); err != nil || !there(calls[1]) {
		t.Errorf("the second call is not laid out: %v", err)
	}
}

// Where nothing comes of a call, the interpreter itself runs.
func TestStandInWithoutResult(t *testing.T) {
	root := t.TempDir()
	lent := filepath.Join(root, "lent")
	s, err := Python("python3.11").StandIn(filepath.Join(root, "bin"), lent)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Calls(compiled(t)); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if left, err := filepath.Glob(filepath.Join(lent, "call-*", filesName)); err != nil || len(left) > 0 {
		t.Errorf("calls that nothing came of: %v, %v", left, err)
	}
	for _, name := range []string{lockName, "call-0/" + lockName, "call-1/" + lockName} {
		if out, err := exec.Command("flock", "--shared", "--nonblock", filepath.Join(lent, name), "true").CombinedOutput(); err != nil {
			t.Errorf("%s is still locked: %v %s", name, err, out)
		}
	}
}

// What the compiling processes make is byte for byte what the call makes that
// maintainer scripts make, whichever of them has a module.
func TestSameBytes(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("no python3 here: install python3-minimal to compare what it compiles")
	}
	out, err := exec.Command(python, "-E", "-S", "-c", "import py_compile; print(py_compile.__file__)").Output()
	if err != nil {
		t.Fatal(err)
	}
	library := filepath.Dir(strings.TrimSpace(string(out)))
	modules, err := filepath.Glob(filepath.Join(library, "[a-e]*.py"))
	if err != nil || len(modules) < 10 {
		t.Fatalf("%d modules in %s, %v", len(modules), library, err)
	}
	dir := t.TempDir()
	var files []string
	for _, m := range modules {
		b, err := os.ReadFile(m)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, filepath.Join(dir, filepath.Base(m)))
		if err := os.WriteFile(files[len(files)-1], b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	compile := func(args ...string) map[string]string {
		t.Helper()
		if err := os.RemoveAll(filepath.Join(dir, "__pycache__")); err != nil {
			t.Fatal(err)
		}
		c := exec.Command(python, append(args, files...)...)
		c.Env = []string{"PYTHONHASHSEED=0", "SOURCE_DATE_EPOCH=1700000000", "LC_ALL=C.UTF-8"}
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		made, err := filepath.Glob(filepath.Join(dir, "__pycache__", "*.pyc"))
		if err != nil || len(made) != len(files) {
			t.Fatalf("%d of %d modules are compiled, %v", len(made), len(files), err)
		}
		content := map[string]string{}
		for _, name := range made {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			content[name] = string(b)
		}
		return content
	}
	want := compile("-E", "-S", filepath.Join(library, "py_compile.py"))
	for _, processes := range []string{"1", "3"} {
		got := compile("-B", "-E", "-S", "-c", program, processes)
		for name := range want {
			if got[name] != want[name] {
				t.Errorf("%s differs with %s processes", filepath.Base(name), processes)
			}
		}
	}
}
