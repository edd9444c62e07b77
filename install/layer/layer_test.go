package layer

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ore/install/sandbox"
	"ore/install/tree"
	"ore/squashfs"
)

func dir(name string) Source {
	return Source{Node: tree.Node{Entry: squashfs.Entry{Path: name, Mode: fs.ModeDir | 0o755}}}
}

func file(name, sum string) Source {
	s := Source{Node: tree.Node{Entry: squashfs.Entry{Path: name, Mode: 0o644}}}
	copy(s.Node.Sum[:], sum)
	return s
}

func gone(name string) Source { return Whiteout(name, 1) }

// base returns a sealed tree with /a/x, /a/y and /b.
func base() *Tree {
	t := New()
	var nodes []tree.Node
	for _, s := range []Source{dir("."), dir("a"), file("a/x", "1"), file("a/y", "2"), file("b", "3")} {
		nodes = append(nodes, s.Node)
	}
	t.Lay(nodes)
	return t
}

// says lists sources as text.
func says(list []Source) string {
	var out []string
	for _, s := range list {
		mark := ""
		switch {
		case s.Node.Whiteout():
			mark = "-"
		case s.Node.Mode.IsDir():
			mark = "/"
		}
		out = append(out, mark+s.Node.Path)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestSeal(t *testing.T) {
	for _, c := range []struct {
		summary string
		changes []Source
		want    string
	}{
		{"nothing", nil, ""},
		{"the same again", []Source{file("b", "3")}, ""},
		{"changed and back", []Source{file("b", "4"), file("b", "3")}, ""},
		{"a file", []Source{file("a/x", "9")}, "/. /a a/x"},
		{"a removed file", []Source{gone("b")}, "-b /."},
		{"a removed folder", []Source{gone("a")}, "-a /."},
		{"a folder emptied by hand", []Source{gone("a/x"), gone("a/y")}, "-a/x -a/y /. /a"},
		{"a folder that comes again", []Source{gone("a"), dir("a"), file("a/new", "5")}, "-a/x -a/y /. /a a/new"},
		{"a folder that comes again with a file as it was", []Source{gone("a"), dir("a"), file("a/x", "1")}, "-a/y /. /a"},
		{"a file in place of a folder", []Source{file("a", "5")}, "/. a"},
		{"made and removed", []Source{file("new", "5"), gone("new")}, ""},
		{"a folder in place of a file", []Source{gone("b"), dir("b"), file("b/c", "1")}, "/. /b b/c"},
	} {
		x := base()
		for _, s := range c.changes {
			x.Put(s)
		}
		if got := says(x.Seal()); got != c.want {
			t.Errorf("%s: %q, want %q", c.summary, got, c.want)
		}
		if got := says(x.Seal()); got != "" {
			t.Errorf("%s: sealed twice: %q", c.summary, got)
		}
	}
}

func TestCollide(t *testing.T) {
	for _, c := range []struct {
		summary string
		a, b    Changes
		want    bool
	}{
		{"different files", Changes{file("x", "1")}, Changes{file("y", "1")}, false},
		{"the same file", Changes{file("x", "1")}, Changes{file("x", "2")}, true},
		{"the same file alike", Changes{file("x", "1")}, Changes{file("x", "1")}, false},
		{"removed and changed", Changes{gone("x")}, Changes{file("x", "1")}, true},
		{"both removed", Changes{gone("x")}, Changes{gone("x")}, false},
		{"a file in a removed folder", Changes{gone("d")}, Changes{file("d/x", "1")}, true},
		{"removed in a removed folder", Changes{gone("d")}, Changes{gone("d/x")}, false},
		{"a file in a folder that became a file", Changes{file("d", "1")}, Changes{file("d/e/x", "1")}, true},
		{"files in a new folder", Changes{dir("d"), file("d/x", "1")}, Changes{dir("d"), file("d/y", "1")}, false},
	} {
		if got := Collide(c.a, c.b) != ""; got != c.want {
			t.Errorf("%s: %v", c.summary, got)
		}
		if got := Collide(c.b, c.a) != ""; got != c.want {
			t.Errorf("%s, the other way round: %v", c.summary, got)
		}
	}
}

// Names of one file become links to the first that is left; a layer of it reads
// as it was meant.
func TestWriteLinks(t *testing.T) {
	host := filepath.Join(t.TempDir(), "host")
	if err := os.WriteFile(host, []byte("content"), 0o644); err != nil {
		t.Fatal(err)
	}
	sources := []Source{dir("."), file("z", "1"), file("a", "1")}
	for i := range sources[1:] {
		s := &sources[i+1]
		s.Host, s.Inode, s.Node.Size = host, Inode{1, 2}, 7
	}
	Link(sources)
	name := filepath.Join(t.TempDir(), "layer")
	if err := Write(t.Context(), name, sources, squashfs.Options{BlockSize: 128 << 10, Compression: "zstd", Level: 3}); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r, err := squashfs.NewReader(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	if e, err := r.Lookup("z"); err != nil || e.Hardlink != "a" {
		t.Errorf("z is %+v, %v", e, err)
	}
}

func TestOutcome(t *testing.T) {
	x, y := base(), base()
	x.Put(file("c", "1"))
	y.Put(file("c", "2"))
	a, errA := x.Outcome()
	b, errB := y.Outcome()
	if errA != nil || errB != nil || a.Tree == b.Tree || a.Files != 6 {
		t.Fatalf("%+v %v, %+v %v", a, errA, b, errB)
	}
	y.Put(file("c", "1"))
	if b, errB = y.Outcome(); errB != nil || a.Tree != b.Tree {
		t.Errorf("%s and %s, %v", a.Tree, b.Tree, errB)
	}
}

// plainOwners tells of files what the host does.
type plainOwners struct{ tree.Owners }

func (plainOwners) Owner(name string) (sandbox.Stat, error) {
	st, err := os.Lstat(name)
	if err != nil {
		return sandbox.Stat{}, err
	}
	return sandbox.Stat{Mode: st.Mode()}, nil
}

// What is found in an upper folder gets the times of the layer: the epoch, or that of
// the entry below if it is as that one.
func TestTimesAreTheLayers(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"new", "b"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "dir"), 0o755), os.Symlink("new", filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	below := file("b", "")
	below.Node.ModTime, below.Node.Sum = 300, sha256.Sum256([]byte("b"))
	tr := New()
	tr.Lay([]tree.Node{{Entry: squashfs.Entry{Path: ".", Mode: fs.ModeDir | 0o755}}, below.Node})
	u := Upper{Dir: dir, Owners: plainOwners{}, Epoch: 500}
	if _, err := u.Changes(tr); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int64{"new": 500, "dir": 500, "link": 500, "b": 300} {
		st, err := os.Lstat(filepath.Join(dir, name))
		if err != nil || st.ModTime().Unix() != want {
			t.Errorf("%s: %v, %v, want %d", name, st.ModTime().Unix(), err, want)
		}
	}
}
