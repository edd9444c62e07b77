package squashfs

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// listing says for each path all that an image keeps of it, as text. Names of
// one file carry the first of its paths.
type listing map[string]string

func (l listing) add(e Entry, first string, sum [sha256.Size]byte) {
	path := e.Path
	e.Path, e.Hardlink = first, ""
	l[path] = fmt.Sprintf("%+v %x", e, sum)
}

// ofSamples lists what was written.
func ofSamples(all []sample) listing {
	first := map[string]string{}
	content := map[string]sample{}
	for _, s := range all {
		target := s.Path
		if s.Hardlink != "" {
			target = s.Hardlink
		} else {
			content[s.Path] = s
		}
		if old, ok := first[target]; !ok || comparePaths(s.Path, old) < 0 {
			first[target] = s.Path
		}
	}
	l := listing{}
	for _, s := range all {
		target := s.Path
		if s.Hardlink != "" {
			target = s.Hardlink
		}
		e := content[target].Entry
		e.Path = s.Path
		l.add(e, first[target], sha256.Sum256(content[target].content))
	}
	return l
}

// ofReader lists an image as the Reader sees it.
func ofReader(t testing.TB, r *Reader) listing {
	t.Helper()
	l := listing{}
	for e, err := range r.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		path, first := e.Path, e.Path
		if e.Hardlink != "" {
			first = e.Hardlink
			if e, err = r.Lookup(first); err != nil {
				t.Fatal(err)
			}
			e.Path = path
		}
		sum := sha256.Sum256(nil)
		if e.Mode.IsRegular() {
			f, err := r.Open(e.Path)
			if err != nil {
				t.Fatal(err)
			}
			h := sha256.New()
			if _, err := io.Copy(h, f); err != nil {
				t.Fatal(err)
			}
			sum = [sha256.Size]byte(h.Sum(nil))
		}
		l.add(e, first, sum)
	}
	return l
}

// ofTree lists a tree on disk. Paths are visited in their order.
func ofTree(t testing.TB, root string) listing {
	t.Helper()
	var paths []string
	err := filepath.WalkDir(root, func(p string, _ fs.DirEntry, err error) error {
		paths = append(paths, p)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(paths)
	l := listing{}
	first := map[[2]uint64]string{}
	for _, p := range paths {
		e, st, err := stat(root, p)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256(nil)
		if e.Mode.IsRegular() {
			if sum, err = hashFile(p); err != nil {
				t.Fatal(err)
			}
		}
		id := [2]uint64{st.Dev, st.Ino}
		if first[id] == "" || st.Nlink == 1 || e.Mode.IsDir() {
			first[id] = e.Path
		}
		l.add(e, first[id], sum)
	}
	return l
}

func hashFile(p string) (sum [sha256.Size]byte, err error) {
	f, err := os.Open(p)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return [sha256.Size]byte(h.Sum(nil)), err
}

// stat returns the entry of a path on disk.
func stat(root, p string) (Entry, *syscall.Stat_t, error) {
	info, err := os.Lstat(p)
	if err != nil {
		return Entry{}, nil, err
	}
	rel, err := filepath.Rel(root, p)
	if err != nil {
		return Entry{}, nil, err
	}
	st := info.Sys().(*syscall.Stat_t)
	e := Entry{Path: rel, Mode: info.Mode(), UID: st.Uid, GID: st.Gid, ModTime: info.ModTime().Unix()}
	switch {
	case info.Mode().IsRegular():
		e.Size = info.Size()
	case info.Mode()&fs.ModeSymlink != 0:
		e.Link, err = os.Readlink(p)
	case info.Mode()&fs.ModeDevice != 0:
		// The C library's form of a device number, gnu_dev_major(3).
		e.Major = uint32(st.Rdev>>8&0xfff | st.Rdev>>32&^0xfff)
		e.Minor = uint32(st.Rdev&0xff | st.Rdev>>12&^0xff)
	}
	return e, st, err
}

func compare(t *testing.T, what string, got, want listing) {
	t.Helper()
	wrong := 0
	for _, p := range slices.Sorted(maps.Keys(want)) {
		if got[p] != want[p] {
			if wrong++; wrong < 10 {
				t.Errorf("%s: %.80q:\ngot  %.300s\nwant %.300s", what, p, got[p], want[p])
			}
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d paths, want %d", what, len(got), len(want))
	}
}

// needRoot skips where the kernel cannot be the judge.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can mount images and make device nodes")
	}
}

func run(t testing.TB, args ...string) []byte {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	return out
}

// mount mounts an image through a loop device.
func mount(t testing.TB, image string) string {
	t.Helper()
	needRoot(t)
	at := t.TempDir()
	run(t, "mount", "-t", "squashfs", "-o", "loop,ro", image, at)
	t.Cleanup(func() { run(t, "umount", at) })
	return at
}

// saved writes an image to a file, for other programs.
func saved(t testing.TB, image []byte) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(p, image, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestJudges has the kernel and unsquashfs read what the Writer writes.
func TestJudges(t *testing.T) {
	needRoot(t)
	for _, o := range variants() {
		o, err := o.complete()
		if err != nil {
			t.Fatal(err)
		}
		t.Run(o.name(), func(t *testing.T) {
			all := everything(o.BlockSize)
			want := ofSamples(all)
			image := write(t, o, all...)
			compare(t, "reader", ofReader(t, openImage(t, image)), want)
			p := saved(t, image)
			compare(t, "kernel", ofTree(t, mount(t, p)), want)
			to := filepath.Join(t.TempDir(), "tree")
			run(t, "unsquashfs", "-d", to, p)
			compare(t, "unsquashfs", ofTree(t, to), want)
		})
	}
}

// makeTree makes the samples on disk.
func makeTree(t testing.TB, root string, all []sample) {
	t.Helper()
	for _, s := range all {
		p := filepath.Join(root, s.Path)
		var err error
		switch {
		case s.Path == ".":
		case s.Hardlink != "":
			err = os.Link(filepath.Join(root, s.Hardlink), p)
		case s.Mode.IsDir():
			err = os.Mkdir(p, 0o700)
		case s.Mode.IsRegular():
			err = writeSparse(p, s.content)
		case s.Mode&fs.ModeSymlink != 0:
			err = os.Symlink(s.Link, p)
		default:
			kind := map[fs.FileMode]uint32{
				fs.ModeDevice: syscall.S_IFBLK, fs.ModeDevice | fs.ModeCharDevice: syscall.S_IFCHR,
				fs.ModeNamedPipe: syscall.S_IFIFO, fs.ModeSocket: syscall.S_IFSOCK,
			}[s.Mode.Type()]
			dev := int(s.Minor&0xff | s.Major<<8 | s.Minor&^0xff<<12)
			err = syscall.Mknod(p, kind, dev)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range slices.Backward(all) { // a folder's time comes after what is in it
		if s.Hardlink == "" {
			setMeta(t, filepath.Join(root, s.Path), s.Entry)
		}
	}
}

func setMeta(t testing.TB, p string, e Entry) {
	t.Helper()
	if err := os.Lchown(p, int(e.UID), int(e.GID)); err != nil {
		t.Fatal(err)
	}
	if e.Mode&fs.ModeSymlink == 0 {
		if err := os.Chmod(p, e.Mode); err != nil {
			t.Fatal(err)
		}
	}
	if e.Mode&fs.ModeSymlink != 0 { // which os.Chtimes would follow
		run(t, "touch", "-h", "-d", fmt.Sprintf("@%d", e.ModTime), p)
	} else if err := os.Chtimes(p, time.Time{}, time.Unix(e.ModTime, 0)); err != nil {
		t.Fatal(err)
	}
}

// writeSparse leaves zeros out, so that mksquashfs sees holes.
func writeSparse(p string, b []byte) error {
	f, err := os.Create(p)
	if err != nil {
		return err
	}
	const part = 4096
	for off := 0; off < len(b); off += part {
		if x := b[off:min(off+part, len(b))]; !allZero(x) {
			if _, err := f.WriteAt(x, int64(off)); err != nil {
				return err
			}
		}
	}
	if err := f.Truncate(int64(len(b))); err != nil {
		return err
	}
	return f.Close()
}

// TestMksquashfs reads what mksquashfs writes.
func TestMksquashfs(t *testing.T) {
	needRoot(t)
	const block = 16 << 10
	all := everything(block)
	for i := range 600 { // enough for an index of a folder
		all = append(all, file(fmt.Sprintf("a/b/file with a long name, number %d", i), []byte{byte(i)}))
	}
	root := t.TempDir()
	makeTree(t, root, all)
	for _, args := range [][]string{
		{"-comp", "gzip"}, {"-comp", "xz"}, {"-comp", "lz4", "-Xhc"},
		{"-comp", "zstd", "-always-use-fragments"}, {"-comp", "zstd", "-no-fragments", "-no-exports"},
		{"-noI", "-noD", "-noF", "-noX"}, {"-comp", "gzip", "-b", "128K"},
		{"-comp", "zstd", "-no-sparse", "-no-duplicates"}, {"-comp", "zstd", "-noI", "-noId"}, {"-comp", "xz", "-b", "1M"},
	} {
		t.Run(fmt.Sprint(args), func(t *testing.T) {
			p := filepath.Join(t.TempDir(), "image")
			run(t, append([]string{"mksquashfs", root, p, "-no-progress", "-quiet", "-b", "16K"}, args...)...)
			b, err := os.ReadFile(p)
			if err != nil {
				t.Fatal(err)
			}
			r := openImage(t, b)
			// The kernel's view, not root: mksquashfs loses hard links of
			// symbolic links.
			compare(t, "reader", ofReader(t, r), ofTree(t, mount(t, p)))
			checkBlocks(t, r, b)
		})
	}
}

// checkBlocks checks that the blocks are sorted and lie apart from each other
// between superblock and tables.
func checkBlocks(t *testing.T, r *Reader, image []byte) {
	t.Helper()
	at := int64(superblockSize)
	for _, b := range r.Blocks() {
		if b.Offset < at || b.Length <= 0 {
			t.Errorf("block %+v begins before %d", b, at)
		}
		at = b.Offset + b.Length
	}
	if at > int64(len(image)) {
		t.Errorf("last block ends at %d of %d", at, len(image))
	}
}

// TestBlocks checks that Blocks covers all data of an image, without gaps.
func TestBlocks(t *testing.T) {
	image := write(t, Options{}, everything(defaultBlockSize)...)
	r := openImage(t, image)
	at := int64(superblockSize)
	for _, b := range r.Blocks() {
		if b.Offset != at {
			t.Errorf("block at %d, the one before ends at %d", b.Offset, at)
		}
		at = b.Offset + b.Length
	}
	if at != int64(r.super.InodeTable) || !bytes.HasPrefix(image, []byte("hsqs")) {
		t.Errorf("blocks end at %d, inodes begin at %d", at, r.super.InodeTable)
	}
}
