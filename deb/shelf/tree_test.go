package shelf

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ore"
)

// stock is an archive of packages that a test makes with dpkg-deb.
type stock struct {
	Dir      string
	Packages []ore.Package
}

// add makes a package. Values of files that begin with "->" are symbolic links.
func (s *stock) add(t *testing.T, name, depends string, files map[string]string) {
	t.Helper()
	tree := t.TempDir()
	control := fmt.Sprintf("Package: %s\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: d\n", name)
	if depends != "" {
		control += "Depends: " + depends + "\n"
	}
	for path, content := range map[string]string{"DEBIAN/control": control, "usr/share/doc/" + name + "/copyright": "c"} {
		put(t, filepath.Join(tree, path), content)
	}
	for path, content := range files {
		put(t, filepath.Join(tree, path), content)
	}
	deb := filepath.Join(s.Dir, name+".deb")
	if out, err := exec.Command("dpkg-deb", "-Zgzip", "-b", tree, deb).CombinedOutput(); err != nil {
		t.Fatalf("dpkg-deb: %v: %s", err, out)
	}
	b, err := os.ReadFile(deb)
	if err != nil {
		t.Fatal(err)
	}
	s.Packages = append(s.Packages, ore.Package{Name: name, Version: "1", Arch: "all", Size: int64(len(b)), Digest: ore.NewDigest(sha256.Sum256(b))})
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	to, link := strings.CutPrefix(content, "->")
	err := error(nil)
	if link {
		err = os.Symlink(to, path)
	} else {
		err = os.WriteFile(path, []byte(content), 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// source offers the stock. Every fetch adds a line to the file fetched.
func (s *stock) source() Source {
	return Source{
		State:   "one",
		Resolve: func(context.Context, ...string) ([]ore.Package, error) { return s.Packages, nil },
		Fetch: func(_ context.Context, p ore.Package) (string, error) {
			f, err := os.OpenFile(filepath.Join(s.Dir, "fetched"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
			if err != nil {
				return "", err
			}
			_, err = fmt.Fprintln(f, p.Name)
			return filepath.Join(s.Dir, p.Name+".deb"), errors.Join(err, f.Close())
		},
	}
}

// fetched returns what was fetched, in order.
func (s *stock) fetched(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.Dir, "fetched"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(b)), " ")
}

func mustOpen(t *testing.T, dir string, s Source) *Shelf {
	t.Helper()
	sh, err := Open(dir, s)
	if err != nil {
		t.Fatal(err)
	}
	return sh
}

// left lists what a shelf has under new/.
func left(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(dir, newDir))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

func TestTree(t *testing.T) {
	st := &stock{Dir: t.TempDir()}
	st.add(t, "meta", "data (= 1) | other, absent", nil)
	st.add(t, "data", "unneeded", map[string]string{
		"lib/x/file": "content", "usr/lib/x/abs": "->/lib/x/file", "lib/x/rel": "->../../usr/lib/x/file", "etc/out": "->../../../../etc/passwd",
	})
	st.add(t, "unneeded", "", map[string]string{"usr/lib/y": "y"})
	dir := t.TempDir()
	s := mustOpen(t, dir, st.source())
	tree, err := s.Tree(t.Context(), "meta")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"usr/lib/x/file", "lib/x/file", "usr/lib/x/abs"} {
		p, err := tree.Path(name)
		if err != nil {
			t.Error(err)
			continue
		}
		if b, err := os.ReadFile(p); string(b) != "content" {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if p, err := tree.Path("etc/out"); err == nil {
		t.Errorf("a link out of the tree leads to %s", p)
	}
	if _, err := tree.Path("../../chosen"); err == nil {
		t.Error("a path out of the tree was found")
	}
	if _, err := os.Stat(filepath.Join(tree.Dir, "usr/share/doc")); err == nil {
		t.Error("documentation was unpacked")
	}
	if got := st.fetched(t); got != "meta data" {
		t.Errorf("fetched %q", got)
	}
	// Known already: by name in this state, by content in another.
	again, err := mustOpen(t, dir, st.source()).Tree(t.Context(), "meta")
	if err != nil || again.Dir != tree.Dir {
		t.Errorf("%v, %v", again, err)
	}
	other := st.source()
	other.State = "two"
	again, err = mustOpen(t, dir, other).Tree(t.Context(), "meta")
	if err != nil || again.Dir != tree.Dir {
		t.Errorf("%v, %v", again, err)
	}
	if got := st.fetched(t); got != "meta data" {
		t.Errorf("fetched again: %q", got)
	}
	if l := left(t, dir); l != nil {
		t.Errorf("left behind: %v", l)
	}
}

func TestTreeRefused(t *testing.T) {
	st := &stock{Dir: t.TempDir()}
	st.add(t, "good", "", map[string]string{"usr/f": "f"})
	st.add(t, "empty", "", nil)
	self, err := os.ReadFile("/bin/true") // wants libc.so.6, which nobody here has
	if err != nil {
		t.Fatal(err)
	}
	st.add(t, "lonely", "good", map[string]string{"usr/bin/true": string(self)})
	st.add(t, "wrong", "", map[string]string{"usr/f": "f"})
	st.Packages[3].Digest = st.Packages[0].Digest
	dir := t.TempDir()
	s := mustOpen(t, dir, st.source())
	for pkg, want := range map[string]string{
		"absent": "does not hold it", "empty": "bring no files", "lonely": "libc.so.6", "wrong": "has digest",
	} {
		if _, err := s.Tree(t.Context(), pkg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", pkg, err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Tree(ctx, "good"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	trees, err := os.ReadDir(filepath.Join(dir, treesDir))
	if err != nil || len(trees) > 0 || left(t, dir) != nil {
		t.Errorf("left behind: %v, %v (%v)", trees, left(t, dir), err)
	}
}

func TestPrune(t *testing.T) {
	st := &stock{Dir: t.TempDir()}
	st.add(t, "a", "", map[string]string{"usr/a": "a"})
	st.add(t, "b", "", map[string]string{"usr/b": "b"})
	dir := t.TempDir()
	s := mustOpen(t, dir, st.source())
	for _, n := range []string{"a", "b"} {
		if _, err := s.Tree(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	a := s.chosen("a")
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(a.Dir, manifestName), old, old); err != nil {
		t.Fatal(err)
	}
	if err := s.Prune(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	if s.chosen("a") != nil || s.chosen("b") == nil || left(t, dir) != nil {
		t.Errorf("a: %v, b: %v, left: %v", s.chosen("a"), s.chosen("b"), left(t, dir))
	}
}

// TestOneBuilder has several processes ask for the same tree at once.
func TestOneBuilder(t *testing.T) {
	st := &stock{Dir: t.TempDir()}
	st.add(t, "big", "", map[string]string{"usr/big": strings.Repeat("0123456789", 1<<20)})
	args, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var procs []*exec.Cmd
	var outs []*bytes.Buffer
	for range 6 {
		c := exec.Command("/proc/self/exe", "-test.run", "^TestBuilderProcess$", "-test.v")
		c.Env = append(os.Environ(), "SHELF_DIR="+dir, "SHELF_STOCK="+string(args))
		out := new(bytes.Buffer)
		c.Stdout, c.Stderr = out, out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		procs, outs = append(procs, c), append(outs, out)
	}
	for i, c := range procs {
		if err := c.Wait(); err != nil {
			t.Errorf("%v: %s", err, outs[i])
		}
	}
	if got := st.fetched(t); got != "big" {
		t.Errorf("fetched %q", got)
	}
}

// TestBuilderProcess is what TestOneBuilder and TestKilledBuilder start.
func TestBuilderProcess(t *testing.T) {
	dir := os.Getenv("SHELF_DIR")
	if dir == "" {
		t.Skip("only a part of TestOneBuilder")
	}
	var st stock
	if err := json.Unmarshal([]byte(os.Getenv("SHELF_STOCK")), &st); err != nil {
		t.Fatal(err)
	}
	source := st.source()
	if os.Getenv("SHELF_HANG") != "" {
		fetch := source.Fetch
		source.Fetch = func(ctx context.Context, p ore.Package) (string, error) {
			if p.Name == "second" {
				fmt.Println("hanging")
				select {}
			}
			return fetch(ctx, p)
		}
	}
	tree, err := mustOpen(t, dir, source).Tree(t.Context(), st.Packages[0].Name)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(filepath.Join(tree.Dir, "usr/big")); err != nil || info.Size() != 10<<20 {
		t.Errorf("%v, %v", info, err)
	}
}

// TestKilledBuilder kills a process in the middle of a tree: nothing of it may
// be seen, and the next to open the shelf removes what is left.
func TestKilledBuilder(t *testing.T) {
	st := &stock{Dir: t.TempDir()}
	st.add(t, "first", "second", nil)
	st.add(t, "second", "", map[string]string{"usr/big": "b"})
	args, err := json.Marshal(st)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c := exec.Command("/proc/self/exe", "-test.run", "^TestBuilderProcess$", "-test.v")
	c.Env = append(os.Environ(), "SHELF_DIR="+dir, "SHELF_STOCK="+string(args), "SHELF_HANG=1")
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for seen := []byte(nil); !bytes.Contains(seen, []byte("hanging")); {
		b := make([]byte, 256)
		n, err := out.Read(b)
		if err != nil {
			t.Fatalf("%v: %s", err, seen)
		}
		seen = append(seen, b[:n]...)
	}
	if l := left(t, dir); len(l) != 1 {
		t.Errorf("under new/ while a builder works: %v", l)
	}
	s := mustOpen(t, dir, st.source())
	if l := left(t, dir); len(l) != 1 {
		t.Errorf("a living builder's folder was swept: %v", l)
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait() // killed, as it should be
	if s.chosen("first") != nil {
		t.Error("half a tree is visible")
	}
	s = mustOpen(t, dir, st.source())
	if l := left(t, dir); l != nil {
		t.Errorf("left behind: %v", l)
	}
	if _, err := s.Tree(t.Context(), "first"); err != nil {
		t.Error(err)
	}
}

func TestDependencies(t *testing.T) {
	got := dependencies([]byte("Package: x\nPre-Depends: a:any (>= 1)\nSuggests: no\nDepends: b, c | d(<< 2),\n e\n , f\nDescription: Depends: g\n Depends: h\n"))
	if want := []string{"a", "b", "c", "d", "e", "f"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// FuzzInterpreter sees that no file makes the reader of programs panic.
func FuzzInterpreter(f *testing.F) {
	self, err := os.ReadFile("/bin/true")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(self[:4096])
	f.Fuzz(func(t *testing.T, b []byte) {
		interp, header, err := interpreter(bytes.NewReader(b))
		if interp != "" && (err != nil || header <= 0 || header > int64(len(b))) {
			t.Errorf("%q at %d, %v", interp, header, err)
		}
	})
}
