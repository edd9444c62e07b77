package squashfs

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestLargeFolder has a folder whose listing needs an index, and whose inodes
// are further apart than one header can say.
func TestLargeFolder(t *testing.T) {
	const n = 100_000
	all := []sample{dir("."), dir("big"), file("shared", []byte("x")), dir("zz")}
	for i := range n {
		all = append(all, sample{Entry: Entry{
			Path: fmt.Sprintf("big/%d-name-of-a-file", i*7919%n), Mode: 0o600, UID: uint32(i % 50), ModTime: int64(i),
		}})
	}
	for i := range 5000 { // other numbers amid the folder's own
		all = append(all, sample{Entry: Entry{Path: fmt.Sprintf("big/%d-other", i*19), Hardlink: "shared"}})
	}
	want := ofSamples(all)
	image := write(t, Options{}, all...)
	compare(t, "reader", ofReader(t, openImage(t, image)), want)
	p := saved(t, image)
	root := mount(t, p)
	names, err := os.ReadDir(filepath.Join(root, "big"))
	if err != nil || len(names) != n+5000 {
		t.Errorf("the kernel lists %d names, want %d, error %v", len(names), n+5000, err)
	}
	for range 300 { // the kernel needs the index for each, and some 0.2 ms
		x := names[rand.IntN(len(names))].Name()
		e, _, err := stat(root, filepath.Join(root, "big", x))
		if w := want["big/"+x]; err != nil || !strings.Contains(w, fmt.Sprintf("ModTime:%d ", e.ModTime)) {
			t.Errorf("%s: got %+v, error %v, want %s", x, e, err, w)
		}
		if _, err := os.Lstat(filepath.Join(root, "big", x+"-none")); !os.IsNotExist(err) {
			t.Errorf("%s-none: %v", x, err)
		}
	}
	if lines := bytes.Count(run(t, "unsquashfs", "-l", p), []byte("\n")); lines < len(all) {
		t.Errorf("unsquashfs lists %d lines, want %d", lines, len(all))
	}
}

// holes reads as zeros, with a mark at the beginning of some blocks.
type holes struct {
	size, pos, every int64
}

const holeMark = "not a hole"

func (h *holes) Read(b []byte) (int, error) {
	if h.pos >= h.size {
		return 0, io.EOF
	}
	n := min(int64(len(b)), h.size-h.pos, h.every-h.pos%h.every)
	b = b[:n]
	clear(b)
	if at := h.pos % h.every; at < int64(len(holeMark)) {
		copy(b, holeMark[at:])
	}
	h.pos += n
	return int(n), nil
}

// TestBeyond4GiB writes a file larger than 32 bits can say, mostly holes.
func TestBeyond4GiB(t *testing.T) {
	const size, every = 4<<30 + 12345, 1 << 30
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := NewWriter(f, Options{BlockSize: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	if err := w.Add(dir(".").Entry, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Add(Entry{Path: "huge", Mode: 0o644, Size: size}, &holes{size: size, every: every}); err != nil {
		t.Fatal(err)
	}
	if err := w.Add(Entry{Path: "more", Hardlink: "huge"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if w.Size() > 64<<10 {
		t.Errorf("image of %d bytes: the holes were stored", w.Size())
	}
	r, err := NewReader(f, w.Size())
	if err != nil {
		t.Fatal(err)
	}
	x, err := r.Open("more")
	if err != nil {
		t.Fatal(err)
	}
	k, err := os.Open(filepath.Join(mount(t, f.Name()), "huge"))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	for _, at := range []int64{0, every, 4 * every, size - 100, 3*every - 5} {
		want := make([]byte, 100)
		if _, err := io.ReadFull(&holes{size: size, every: every, pos: at}, want); err != nil {
			t.Fatal(err)
		}
		for what, f := range map[string]io.ReaderAt{"reader": x, "kernel": k} {
			got := make([]byte, 100)
			if _, err := f.ReadAt(got, at); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s at %d: %q, error %v, want %q", what, at, got, err, want)
			}
		}
	}
	if info, err := k.Stat(); err != nil || info.Size() != size || x.Size() != size {
		t.Errorf("kernel: %v %v, reader: %d", info.Size(), err, x.Size())
	}
}

// TestOverlay checks a layer that replaces and removes over another one.
func TestOverlay(t *testing.T) {
	whiteout := func(p string) sample {
		return sample{Entry: Entry{Path: p, Mode: fs.ModeDevice | fs.ModeCharDevice}}
	}
	base := mount(t, saved(t, write(t, Options{}, dir("."), dir("a"), file("a/x", []byte("old")), file("a/y", []byte("y")),
		dir("b"), file("b/x", nil), file("c", []byte("c")), dir("d"), file("d/x", nil))))
	delta := mount(t, saved(t, write(t, Options{}, dir("."), dir("a"), file("a/x", []byte("new")), whiteout("a/y"),
		file("b", []byte("a file now")), dir("c"), file("c/x", []byte("a folder now")), whiteout("d"))))
	at := t.TempDir()
	run(t, "mount", "-t", "overlay", "-o", "lowerdir="+delta+":"+base, "overlay", at)
	t.Cleanup(func() { run(t, "umount", at) })
	compare(t, "overlay", ofTree(t, at), ofSamples([]sample{dir("."), dir("a"), file("a/x", []byte("new")),
		file("b", []byte("a file now")), dir("c"), file("c/x", []byte("a folder now"))}))
}

// TestManyIDs has as many owners as an image can hold, and one more.
func TestManyIDs(t *testing.T) {
	all := []sample{dir(".")}
	for i := range maxIDs - 1 {
		all = append(all, sample{Entry: Entry{Path: fmt.Sprint(i), Mode: 0o600, UID: uint32(i) * 65537}})
	}
	compare(t, "reader", ofReader(t, openImage(t, write(t, Options{}, all...))), ofSamples(all))
	all = append(all, sample{Entry: Entry{Path: "more", UID: 3}}, sample{Entry: Entry{Path: "yet more", UID: 5}})
	w, err := NewWriter(&memFile{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all {
		if err := w.Add(s.Entry, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err == nil || !strings.Contains(err.Error(), "owners") {
		t.Errorf("Close: %v", err)
	}
}

// meter notes the most memory in use while it is read.
type meter struct {
	r    io.Reader
	most uint64
	left int
}

func (m *meter) Read(b []byte) (int, error) {
	if m.left -= len(b); m.left < 0 {
		m.left = 16 << 20
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		m.most = max(m.most, s.HeapAlloc)
	}
	return m.r.Read(b)
}

// discard is a place for images that nobody reads.
type discard struct{}

func (discard) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }

// TestMemory writes much more than the Writer may keep.
func TestMemory(t *testing.T) {
	const size, allowed = 256 << 20, 32 << 20
	w, err := NewWriter(discard{}, Options{Jobs: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	m := &meter{r: io.LimitReader(rand.NewChaCha8([32]byte{}), size)}
	if err := w.Add(Entry{Path: "a", Size: size}, m); err != nil {
		t.Fatal(err)
	}
	if grown := int64(m.most) - int64(s.HeapAlloc); grown > allowed {
		t.Errorf("%d bytes in use while writing, at most %d are allowed", grown, allowed)
	} else {
		t.Logf("%d bytes", grown)
	}
}
