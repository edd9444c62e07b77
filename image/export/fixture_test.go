package export

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"ore"
	"ore/image"
	"ore/squashfs"
)

// sample is an entry of a layer with its content.
type sample struct {
	squashfs.Entry
	content []byte
}

const epoch = 1_700_000_000

func folder(p string) sample {
	return sample{Entry: squashfs.Entry{Path: p, Mode: fs.ModeDir | 0o755, ModTime: epoch}}
}

func regular(p, content string) sample {
	return sample{squashfs.Entry{Path: p, Mode: 0o644, ModTime: epoch, Size: int64(len(content))}, []byte(content)}
}

func symlink(p, to string) sample {
	return sample{Entry: squashfs.Entry{Path: p, Mode: fs.ModeSymlink | 0o777, ModTime: epoch, Link: to}}
}

func device(p string, mode fs.FileMode, major, minor uint32) sample {
	return sample{Entry: squashfs.Entry{Path: p, Mode: mode | 0o660, ModTime: epoch, Major: major, Minor: minor, GID: 6}}
}

func hardlink(p, to string) sample {
	return sample{Entry: squashfs.Entry{Path: p, Hardlink: to}}
}

func whiteout(p string) sample {
	return sample{Entry: squashfs.Entry{Path: p, Mode: fs.ModeDevice | fs.ModeCharDevice, ModTime: epoch}}
}

func (s sample) with(change func(*squashfs.Entry)) sample {
	change(&s.Entry)
	return s
}

func noise(n int) string {
	r := rand.NewChaCha8([32]byte{1})
	b := make([]byte, n)
	r.Read(b)
	return string(b)
}

// capability is cap_net_raw+ep as revision 2 of struct vfs_cap_data has it.
func capability() []byte {
	return []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
}

// baseLayer has one of everything that a layer can hold.
func baseLayer() []sample {
	all := []sample{
		folder("."), folder("bin"), folder("dev"), folder("etc"), folder("many"), folder("gone"), folder("gone/deep"),
		folder("becomes-file"), folder("again"), folder("links"), folder("empty"),
		folder("tmp").with(func(e *squashfs.Entry) { e.Mode |= 0o777 | fs.ModeSticky }),
		regular("bin/ping", noise(70_000)).with(func(e *squashfs.Entry) { e.Mode = 0o755 }),
		hardlink("bin/ping6", "bin/ping"),
		regular("bin/old-ping", "with a capability that the delta's file does not have"),
		regular("bin/su", "setuid").with(func(e *squashfs.Entry) { e.Mode = 0o755 | fs.ModeSetuid }),
		regular("bin/wall", "setgid").with(func(e *squashfs.Entry) { e.Mode = 0o755 | fs.ModeSetgid; e.GID = 5 }),
		device("dev/null", fs.ModeDevice|fs.ModeCharDevice, 1, 3),
		device("dev/sda", fs.ModeDevice, 8, 0),
		device("dev/far", fs.ModeDevice, 259, 70_000),
		{Entry: squashfs.Entry{Path: "dev/pipe", Mode: fs.ModeNamedPipe | 0o600, ModTime: epoch}},
		regular("etc/passwd", "root:x:0:0\n"),
		regular("etc/removed", "x"),
		regular("etc/high", "owners beyond 16 bits").with(func(e *squashfs.Entry) { e.UID, e.GID = 1_000_000, 70_000 }),
		regular("etc/future", "after 2038").with(func(e *squashfs.Entry) { e.ModTime = 4_000_000_000 }),
		regular("etc/nothing", ""),
		symlink("etc/short", "passwd"),
		symlink("etc/59", strings.Repeat("s", 59)),
		symlink("etc/60", strings.Repeat("t", 60)),
		symlink("etc/long", strings.Repeat("long/", 200)),
		regular("big", noise(3<<20+123)),
		regular("holes", noise(5000)+strings.Repeat("\x00", 2<<20)+noise(300)),
		regular("gone/deep/file", "x"), regular("becomes-file/x", "x"), regular("becomes-folder", "x"),
		regular("again/hidden", "x"), regular("again/back", "old"),
		regular("links/a", "three names"), hardlink("links/b", "links/a"), hardlink("links/c", "links/a"),
		regular("ünïcode \x01 \xff\xfe", "any bytes"),
	}
	for i := range 900 {
		all = append(all, regular(fmt.Sprintf("many/file-with-a-rather-long-name-%d", i), fmt.Sprint("content ", i)))
	}
	return all
}

// deltaLayer changes, removes and replaces.
func deltaLayer() []sample {
	return []sample{
		folder("."), folder("etc"), folder("becomes-folder"), folder("again"), folder("links"), folder("new"), folder("bin"),
		regular("etc/passwd", "root:x:0:0\nuser:x:1:1\n"),
		regular("bin/old-ping", "changed"),
		whiteout("etc/removed"),
		whiteout("gone").with(func(e *squashfs.Entry) { e.UID = 3 }), whiteout("never-was"),
		regular("becomes-file", "now a file"), regular("becomes-folder/in", "now inside"),
		whiteout("again/hidden"), regular("again/back", "new"),
		whiteout("links/a"),
		regular("new/x", "fresh"), hardlink("new/y", "new/x"),
		folder("empty").with(func(e *squashfs.Entry) { e.Mode = fs.ModeDir | 0o700; e.UID = 7 }),
	}
}

// topLayer shows below a folder that the delta removed, and nothing of it.
func topLayer() []sample {
	return []sample{folder("."), folder("gone"), regular("gone/anew", "third layer"), hardlink("gone/anew2", "gone/anew")}
}

// built returns a store with an image of the three layers.
func built(t testing.TB) (*image.Store, image.Manifest) {
	t.Helper()
	s, err := image.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m := image.Manifest{Version: image.ManifestVersion}
	m.Environment = ore.Environment{Version: ore.EnvironmentVersion, Arch: "amd64", Base: ore.Base{Distribution: "debian", Suite: "bookworm"}}
	m.Key = m.Environment.Key()
	m.Tree = ore.DigestOf([]byte("a tree"))
	m.Capabilities = []image.Capability{{Path: "bin/ping", Value: capability()}}
	for _, l := range [][]sample{baseLayer(), deltaLayer(), topLayer()} {
		d, n, err := s.Put(context.Background(), func(f *os.File) error { return writeSquashfs(f, l) })
		if err != nil {
			t.Fatal(err)
		}
		m.Layers = append(m.Layers, image.Layer{Digest: d, Size: n, Compression: "zstd", Key: m.Key})
	}
	return s, m
}

func writeSquashfs(f *os.File, all []sample) error {
	w, err := squashfs.NewWriter(f, squashfs.Options{BlockSize: 64 << 10, Level: 1})
	if err != nil {
		return err
	}
	defer w.Abort()
	for _, s := range all {
		if err := w.Add(s.Entry, bytes.NewReader(s.content)); err != nil {
			return err
		}
	}
	return w.Close()
}

// exported writes the image in format f and returns the path.
func exported(t testing.TB, s *image.Store, m image.Manifest, f Format) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "image."+string(f))
	if err := Write(context.Background(), s, m, f, p); err != nil {
		t.Fatal(err)
	}
	return p
}

func run(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	return string(out)
}

// mounted mounts something until the test ends.
func mounted(t testing.TB, args ...string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root may mount what is compared")
	}
	at := t.TempDir()
	run(t, append(append([]string{"mount"}, args...), at)...)
	t.Cleanup(func() { run(t, "umount", at) })
	return at
}

// seen returns the merged tree as the kernel shows it: the layers mounted one
// above the other, as a machine does.
func seen(t testing.TB, s *image.Store, m image.Manifest) map[string]string {
	t.Helper()
	var lower []string
	for _, l := range slices.Backward(m.Layers) {
		p, err := s.Path(l.Digest)
		if err != nil {
			t.Fatal(err)
		}
		lower = append(lower, mounted(t, "-t", "squashfs", "-o", "loop,ro", p))
	}
	root := mounted(t, "-t", "overlay", "-o", "ro,lowerdir="+strings.Join(lower, ":"), "overlay")
	list := listed(t, root)
	for _, p := range []string{"bin/ping", "bin/ping6"} { // squashfs has none, the guest sets them
		list[p] += fmt.Sprintf(" %x", capability())
	}
	return list
}

// listed says for each path of a tree all that must be kept of it.
func listed(t testing.TB, root string) map[string]string {
	t.Helper()
	list := map[string]string{}
	first := map[[2]uint64]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, p)
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		what, id := "", [2]uint64{st.Dev, st.Ino}
		switch info.Mode().Type() {
		case 0:
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			what = fmt.Sprintf("%d %x", len(b), sha256.Sum256(b))
			if first[id] == "" {
				first[id] = rel
			}
			what += " = " + first[id]
		case fs.ModeSymlink:
			what, err = os.Readlink(p)
		case fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice:
			what = fmt.Sprint(st.Rdev)
		}
		value := make([]byte, 100)
		if n, xerr := syscall.Getxattr(p, "security.capability", value); xerr == nil && info.Mode().IsRegular() {
			what += fmt.Sprintf(" %x", value[:n])
		}
		list[rel] = fmt.Sprintf("%v %d:%d %d %s", info.Mode(), st.Uid, st.Gid, info.ModTime().Unix(), what)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// compare reports what differs between two trees.
func compare(t testing.TB, got, want map[string]string) {
	t.Helper()
	for p, w := range want {
		if got[p] != w {
			t.Errorf("%q:\n got %.300q\nwant %.300q", p, got[p], w)
		}
	}
	for p := range got {
		if _, ok := want[p]; !ok {
			t.Errorf("%q: must not be there", p)
		}
	}
}
