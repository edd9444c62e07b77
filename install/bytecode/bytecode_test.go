package bytecode

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ore"
	"ore/install/sandbox/instead"
)

const script311 = "#!/bin/sh\nif true; then\n\t/usr/bin/python3.11 -E -S /usr/lib/python3.11/py_compile.py $files\nfi\n"

// A Python is found by its package, and only the call that is known is made.
func TestFind(t *testing.T) {
	p := Find([]string{"libc6", "python3-minimal", "python3.11-minimal", "python3.12-minimal"})
	if p != "python3.11" || Find([]string{"python3", "libpython3.11-minimal"}) != "" {
		t.Errorf("found %q", p)
	}
	if !p.Asks([]byte(script311)) || p.Asks([]byte(strings.ReplaceAll(script311, "-S", "-S -O"))) {
		t.Error("the call is not told from others")
	}
	got := p.Modules([]string{"usr/lib/python3.11/os.py", "usr/lib/python3.11/x.so", "etc/python3.11/sitecustomize.py", "usr/lib/python3.11/a/b.py"})
	if strings.Join(got, " ") != "/usr/lib/python3.11/os.py /usr/lib/python3.11/a/b.py" {
		t.Errorf("modules %v", got)
	}
}

// compiled makes two calls by a compiler that writes a file for each module, and
// in the first call for one of the second's, as an import would.
func compiled(t *testing.T) []Call {
	t.Helper()
	root := t.TempDir()
	cache := filepath.Join(root, "usr/lib/python3.11/__pycache__")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	write := func(name, content string) error {
		return os.WriteFile(filepath.Join(cache, name+".pyc"), []byte(content), 0o644)
	}
	calls := []Call{{Files: []string{"/a.py"}}, {Files: []string{"/b.py", "/c.py"}}}
	err := Make(t.Context(), root, calls, func(_ context.Context, files []string) error {
		if len(files) == 1 {
			return errors.Join(write("a", "A"), write("b", "imported"))
		}
		return errors.Join(write("b", "B"), write("c", "C"))
	})
	if err != nil {
		t.Fatal(err)
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

// A call's results are all the files that it made or changed; they are kept.
func TestMake(t *testing.T) {
	calls := compiled(t)
	s := Store(filepath.Join(t.TempDir(), "compiled"))
	if _, err := s.Get("k"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty store: %v", err)
	}
	if err := s.Put("k", calls); err != nil {
		t.Fatal(err)
	}
	kept, err := s.Get("k")
	if err != nil || len(kept) != 2 {
		t.Fatalf("%d calls, %v", len(kept), err)
	}
	const dir = "usr/lib/python3.11/__pycache__/"
	for i, want := range []string{dir + "a.pyc=A " + dir + "b.pyc=imported", dir + "b.pyc=B " + dir + "c.pyc=C"} {
		if made(kept[i]) != want || made(calls[i]) != want {
			t.Errorf("call %d: %q, want %q", i, made(kept[i]), want)
		}
	}
	if err := os.WriteFile(s.path("broken"), []byte("no"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ore.Key("broken")); err == nil {
		t.Error("a broken file was read")
	}
}

// The stand-in copies what a known call made, waits for it, and starts the
// interpreter itself for everything else, under its own name.
func TestStandIn(t *testing.T) {
	root := t.TempDir()
	lent, own := filepath.Join(root, "lent"), filepath.Join(root, "own")
	calls := compiled(t)
	p, lock, err := Python("python3.11").StandIn(filepath.Join(root, "bin"), lent)
	if err != nil {
		t.Fatal(err)
	}
	if err := Lay(lent, calls); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(p.Host)
	if err != nil {
		t.Fatal(err)
	}
	moved := strings.NewReplacer(instead.LentDir, lent, instead.OwnDir, own, `/made/." /`, `/made/." `+root).Replace(string(text))
	if err := errors.Join(os.WriteFile(p.Host, []byte(moved), 0o755), os.Mkdir(own, 0o755),
		os.WriteFile(filepath.Join(own, "python3.11"), []byte("#!/bin/sh\necho own \"$@\"\n"), 0o755)); err != nil {
		t.Fatal(err)
	}
	call := func(args ...string) *exec.Cmd { return exec.Command(p.Host, args...) }
	out, err := call("-c", "print 1").CombinedOutput() // does not wait
	if err != nil || string(out) != "own -c print 1\n" {
		t.Errorf("another call: %q, %v", out, err)
	}
	known := call(Python("python3.11").Command(calls[1].Files)[1:]...)
	if err := known.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "usr")); err == nil {
		t.Error("it did not wait")
	}
	if err := errors.Join(lock.Close(), known.Wait()); err != nil {
		t.Fatal(err)
	}
	for _, f := range calls[1].Made {
		if b, err := os.ReadFile(filepath.Join(root, f.Path)); err != nil || string(b) != string(f.Content) {
			t.Errorf("%s: %q, %v", f.Path, b, err)
		}
	}
	out, err = call(Python("python3.11").Command([]string{"/b.py"})[1:]...).CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "own -E -S") {
		t.Errorf("a call with other files: %q, %v", out, err)
	}
}
