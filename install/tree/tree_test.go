package tree

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ore/install/sandbox"
	"ore/squashfs"
)

// recorded are owners kept in a map, as a sandbox keeps them for a user who
// cannot give files away.
type recorded map[string][2]int

func (r recorded) Chown(path string, uid, gid int) error {
	r[path] = [2]int{uid, gid}
	return nil
}

func (r recorded) Mknod(path string, mode, _, _ uint32) error {
	return os.WriteFile(path, nil, fs.FileMode(mode&0o777))
}

func (r recorded) Owner(path string) (sandbox.Stat, error) {
	st, err := os.Lstat(path)
	if err != nil {
		return sandbox.Stat{}, err
	}
	return sandbox.Stat{Mode: st.Mode(), UID: uint32(r[path][0]), GID: uint32(r[path][1])}, nil
}

func node(path string, mode fs.FileMode, link string) *Node {
	return &Node{Entry: squashfs.Entry{Path: path, Mode: mode, Link: link, ModTime: 1e9}}
}

// put stages content and puts the node.
func put(t *testing.T, v *View, n *Node, content string) string {
	t.Helper()
	staged := filepath.Join(t.TempDir(), "staged")
	if n.Regular() && n.Hardlink == "" {
		w, err := Stage(staged, n)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	place, err := v.Put(n, staged)
	if err != nil {
		t.Fatal(err)
	}
	return place
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestPutFollowsTheTreesOwnLinks(t *testing.T) {
	dir := t.TempDir()
	v := NewView(recorded{}, dir)
	put(t, v, node("usr", fs.ModeDir|0o755, ""), "")
	put(t, v, node("usr/bin", fs.ModeDir|0o755, ""), "")
	put(t, v, node("bin", fs.ModeSymlink|0o777, "usr/bin"), "")
	put(t, v, node("evil", fs.ModeSymlink|0o777, "/../../usr"), "")
	if got := put(t, v, node("bin/sh", 0o755, ""), "shell"); got != "usr/bin/sh" {
		t.Errorf("place %q", got)
	}
	if got := put(t, v, node("evil/x", 0o644, ""), "x"); got != "usr/x" || read(t, dir+"/usr/x") != "x" {
		t.Errorf("a link to the host's root leads to %q", got)
	}
	put(t, v, node("bin", fs.ModeDir|0o700, ""), "")
	if st, err := os.Lstat(dir + "/bin"); err != nil || st.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("a folder replaced a link to a folder: %v %v", st, err)
	}
	if got := put(t, v, node("usr", fs.ModeSymlink|0o777, "x"), ""); got != "" {
		t.Errorf("a link replaced a folder at %q", got)
	}
	put(t, v, node("loop", fs.ModeSymlink|0o777, "loop"), "")
	if _, err := v.Put(node("loop/x", 0o644, ""), ""); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a loop of links: %v", err)
	}
}

func TestPutModesTimesOwnersAndLinks(t *testing.T) {
	dir, owners := t.TempDir(), recorded{}
	v := NewView(owners, dir)
	n := node("su", fs.ModeSetuid|0o755, "")
	n.UID, n.GID = 7, 8
	put(t, v, n, "old")
	h := node("su2", 0, "")
	h.Hardlink = "su"
	put(t, v, h, "")
	a, errA := os.Stat(dir + "/su")
	b, errB := os.Stat(dir + "/su2")
	if errA != nil || errB != nil || !os.SameFile(a, b) {
		t.Fatalf("hard link: %v %v", errA, errB)
	}
	if a.Mode() != fs.ModeSetuid|0o755 || a.ModTime().Unix() != 1e9 || owners[dir+"/su"] != [2]int{7, 8} {
		t.Errorf("mode %v, time %v, owner %v", a.Mode(), a.ModTime(), owners[dir+"/su"])
	}
	put(t, v, node("su", 0o644, ""), "new")
	if read(t, dir+"/su") != "new" || read(t, dir+"/su2") != "old" {
		t.Error("replacing one name changed the other")
	}
	put(t, v, node("dev/null", fs.ModeDevice|fs.ModeCharDevice|0o666, ""), "")
	if st, err := os.Stat(dir + "/dev"); err != nil || st.Mode().Perm() != 0o755 {
		t.Errorf("a folder that nobody brought: %v %v", st, err)
	}
}

func TestViewOverALowerTree(t *testing.T) {
	lower, upper := t.TempDir(), t.TempDir()
	owners := recorded{}
	l := NewView(owners, lower)
	dir := node("var/spool", fs.ModeDir|fs.ModeSticky|0o770, "")
	dir.GID = 12
	put(t, l, node("var", fs.ModeDir|0o755, ""), "")
	put(t, l, dir, "")
	put(t, l, node("spool", fs.ModeSymlink|0o777, "var/spool"), "")
	put(t, l, node("etc/x", 0o644, ""), "below")
	v := NewView(owners, upper, lower)
	put(t, v, node("spool/new", 0o644, ""), "n")
	st, err := os.Stat(upper + "/var/spool")
	if err != nil || st.Mode() != fs.ModeDir|fs.ModeSticky|0o770 || owners[upper+"/var/spool"] != [2]int{0, 12} {
		t.Errorf("the lifted folder: %v %v %v", st, err, owners[upper+"/var/spool"])
	}
	if b, err := v.ReadFile("etc/x"); err != nil || string(b) != "below" {
		t.Errorf("read through: %q %v", b, err)
	}
	if err := v.WriteFile("etc/x", 0o600, []byte("above")); err != nil {
		t.Fatal(err)
	}
	if b, err := v.ReadFile("etc/x"); err != nil || string(b) != "above" || read(t, lower+"/etc/x") != "below" {
		t.Errorf("written over: %q %v", b, err)
	}
	if b, err := v.ReadFile("etc/none"); err != nil || b != nil {
		t.Errorf("what is not there: %q %v", b, err)
	}
	found, err := Scan(upper, true)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range found {
		names = append(names, f.Path)
	}
	if got, want := strings.Join(names, " "), ". etc etc/x var var/spool var/spool/new"; got != want {
		t.Errorf("scan %q, want %q", got, want)
	}
	if !slices.IsSortedFunc(found, func(a, b Found) int { return ComparePaths(a.Path, b.Path) }) {
		t.Error("the scan is not sorted")
	}
}

func FuzzInside(f *testing.F) {
	f.Add("usr/bin", "../../../etc")
	f.Add(".", "/")
	f.Fuzz(func(t *testing.T, dir, target string) {
		got := Inside(dir, target)
		if got == "" || strings.HasPrefix(got, "/") || got == ".." || strings.HasPrefix(got, "../") {
			t.Fatalf("%q from %q leads to %q", target, dir, got)
		}
	})
}
