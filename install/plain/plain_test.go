package plain

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"ore/install/tree"
	"ore/squashfs"
)

func node(path string, mode fs.FileMode, change ...func(*tree.Node)) *tree.Node {
	n := &tree.Node{Entry: squashfs.Entry{Path: path, Mode: mode, UID: 3, GID: 4, ModTime: 1_000_000}}
	for _, f := range change {
		f(n)
	}
	return n
}

// write makes files in a folder, by name.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		name = filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
}

// build returns the folders of a build, topmost first, and the tree they make.
func build(t *testing.T) ([]string, Tree) {
	lower, upper := t.TempDir(), t.TempDir()
	write(t, lower, map[string]string{"a": "old", "gone": "x", "boot/k": "kernel", "dev/null": "leftover"})
	write(t, upper, map[string]string{"a": "new", "d/s": "suid"})
	if err := errors.Join(
		os.Link(filepath.Join(upper, "a"), filepath.Join(upper, "a2")),
		unix.Mknod(filepath.Join(upper, "gone"), unix.S_IFCHR, 0),
		unix.Setxattr(filepath.Join(upper, "a"), originMark, []byte("x"), 0),
	); err != nil {
		t.Fatal(err)
	}
	names := map[string]*tree.Node{}
	for _, n := range []*tree.Node{
		node(".", fs.ModeDir|0o755), node("a", 0o640), node("a2", 0o640), node("boot", fs.ModeDir|0o700), node("boot/k", 0o600),
		node("d", fs.ModeDir|fs.ModeSetgid|0o775), node("d/s", fs.ModeSetuid|0o755, func(n *tree.Node) {
			n.Capability = []byte{1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
		}),
		node("dev", fs.ModeDir|0o755), node("dev/null", fs.ModeDevice|fs.ModeCharDevice|0o666, func(n *tree.Node) { n.Major, n.Minor = 1, 3 }),
		node("l", fs.ModeSymlink|0o777, func(n *tree.Node) { n.Link = "/nowhere" }), node("p", fs.ModeNamedPipe|0o622),
	} {
		names[n.Path] = n
	}
	return []string{upper, lower}, Tree{Names: names, View: tree.NewView(nil, upper, lower)}
}

func TestMove(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("files get owners: run it as root")
	}
	layers, made := build(t)
	var before unix.Stat_t
	if err := unix.Lstat(layers[0]+"/a", &before); err != nil {
		t.Fatal(err)
	}
	target := t.TempDir()
	if err := os.Mkdir(target+"/boot", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("memory", target+"/boot", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(target+"/boot", 0) })
	if err := (Writer{target}).Move(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	found, err := tree.Scan(target, false)
	if err != nil || len(found) != len(made.Names) {
		t.Errorf("%d entries of %d, %v", len(found), len(made.Names), err)
	}
	for _, f := range found {
		n := made.Names[f.Path]
		if n == nil {
			t.Errorf("%s is too much", f.Path)
			continue
		}
		if f.Stat.Uid != n.UID || f.Stat.Gid != n.GID || f.Stat.Mtim.Sec != n.ModTime || f.Stat.Mode&0o7777 != tree.UnixMode(n.Mode) {
			t.Errorf("%s is %o of %d:%d, at %d", f.Path, f.Stat.Mode, f.Stat.Uid, f.Stat.Gid, f.Stat.Mtim.Sec)
		}
		if f.Path == "a" && (f.Stat.Ino != before.Ino || f.Stat.Nlink != 2) {
			t.Errorf("a was copied: inode %d, before %d, with %d names", f.Stat.Ino, before.Ino, f.Stat.Nlink)
		}
	}
	for name, want := range map[string]string{"a": "new", "a2": "new", "boot/k": "kernel", "d/s": "suid"} {
		if b, err := os.ReadFile(filepath.Join(target, name)); err != nil || string(b) != want {
			t.Errorf("%s has %q, %v", name, b, err)
		}
	}
	var null unix.Stat_t
	if err := unix.Lstat(target+"/dev/null", &null); err != nil || null.Mode&unix.S_IFMT != unix.S_IFCHR || null.Rdev != unix.Mkdev(1, 3) {
		t.Errorf("dev/null is %o %x, %v", null.Mode, null.Rdev, err)
	}
	if _, err := unix.Lgetxattr(target+"/a", originMark, make([]byte, 8)); !errors.Is(err, unix.ENODATA) {
		t.Errorf("overlayfs's mark is left: %v", err)
	}
	if k, err := unix.Lgetxattr(target+"/d/s", "security.capability", make([]byte, 64)); err != nil || k != 20 {
		t.Errorf("a capability of %d bytes, %v", k, err)
	}
}

// What is there before is not replaced.
func TestMoveReplacesNothing(t *testing.T) {
	for what, there := range map[string]string{"a file": "a", "a file in a folder": "d/s", "a file for a folder": "d", "a link": "l"} {
		_, made := build(t)
		target := t.TempDir()
		write(t, target, map[string]string{there: "mine"})
		if err := (Writer{target}).Move(t.Context(), made); !errors.Is(err, fs.ErrExist) && !errors.Is(err, unix.ENOTDIR) {
			t.Errorf("%s: %v", what, err)
		}
		if b, err := os.ReadFile(filepath.Join(target, there)); err != nil || string(b) != "mine" {
			t.Errorf("%s has %q, %v", what, b, err)
		}
	}
}
