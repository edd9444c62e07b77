package pour

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ore"
	"ore/image"
	"ore/install/pour/blob"
	"ore/squashfs"
)

// What is in the folder before is not written to, and no link in it is followed.
func TestWhatIsThereIsLeft(t *testing.T) {
	root(t)
	layer := pack(t, small, []entry{
		{Entry: squashfs.Entry{Path: ".", Mode: fs.ModeDir | 0o755}},
		{Entry: squashfs.Entry{Path: "a", Mode: fs.ModeDir | 0o755}},
		{Entry: squashfs.Entry{Path: "a/b", Mode: 0o644}, data: []byte("new")},
	})
	s := serve(t, nil, layer)
	t.Run("a folder is one for us", func(t *testing.T) {
		o := order(t, [][]byte{layer}, s)
		if err := os.MkdirAll(filepath.Join(o.Target, "a", "lost+found"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := Pour(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if st, err := os.Stat(filepath.Join(o.Target, "a")); err != nil || st.Mode().Perm() != 0o755 {
			t.Errorf("the folder has %v, %v", st.Mode(), err)
		}
	})
	t.Run("a link is none", func(t *testing.T) {
		o, elsewhere := order(t, [][]byte{layer}, s), t.TempDir()
		if err := os.Symlink(elsewhere, filepath.Join(o.Target, "a")); err != nil {
			t.Fatal(err)
		}
		if err := Pour(t.Context(), o); err == nil {
			t.Error("a link stands for a folder")
		}
		if _, err := os.Lstat(filepath.Join(elsewhere, "b")); err == nil {
			t.Error("the link was followed")
		}
	})
	t.Run("a file is in the way", func(t *testing.T) {
		o := order(t, [][]byte{layer}, s)
		name := filepath.Join(o.Target, "a", "b")
		if err := errors.Join(os.Mkdir(filepath.Dir(name), 0o755), os.WriteFile(name, []byte("old"), 0o600)); err != nil {
			t.Fatal(err)
		}
		if err := Pour(t.Context(), o); !errors.Is(err, fs.ErrExist) {
			t.Errorf("a file in the way: %v", err)
		}
		if b, err := os.ReadFile(name); err != nil || string(b) != "old" {
			t.Errorf("it now has %q, %v", b, err)
		}
	})
}

// Names of one file on several file systems are files of their own.
func TestLinkAcrossFileSystems(t *testing.T) {
	root(t)
	entries := []entry{
		{Entry: squashfs.Entry{Path: ".", Mode: fs.ModeDir | 0o755}},
		{Entry: squashfs.Entry{Path: "a", Mode: fs.ModeDir | 0o755}},
		{Entry: squashfs.Entry{Path: "a/f", Mode: 0o640, UID: 1, GID: 2, ModTime: 77}, data: []byte("content")},
		{Entry: squashfs.Entry{Path: "a/p", Mode: fs.ModeNamedPipe | 0o600, ModTime: 78}},
		{Entry: squashfs.Entry{Path: "b", Mode: fs.ModeDir | 0o755}},
		{Entry: squashfs.Entry{Path: "b/f", Hardlink: "a/f"}},
		{Entry: squashfs.Entry{Path: "b/p", Hardlink: "a/p"}},
	}
	layer := pack(t, small, entries)
	o := order(t, [][]byte{layer}, serve(t, nil, layer))
	mount := filepath.Join(o.Target, "b")
	if err := os.Mkdir(mount, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("memory", mount, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(mount, 0) })
	want := model{}
	want.lay(0, entries)
	for _, name := range []string{"b/f", "b/p"} {
		f := want[name]
		f.id, f.capability = name, []byte{1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
		if name == "b/p" {
			f.capability = nil
		} else {
			o.Manifest.Capabilities = []image.Capability{{Path: "a/f", Value: f.capability}, {Path: name, Value: f.capability}}
			first := want["a/f"]
			first.capability = f.capability
			want["a/f"] = first
		}
		want[name] = f
	}
	if err := Pour(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	text, _ := read(t, o.Target).listing(t)
	if wanted, _ := want.listing(t); text != wanted {
		t.Errorf("the tree is %q, want %q", text, wanted)
	}
}

// Progress goes up to the size of the layers and ends there; what is cancelled
// ends at once and leaves no file open.
func TestProgressAndCancel(t *testing.T) {
	root(t)
	_, layer := some(t)
	o := order(t, [][]byte{layer}, serve(t, nil, layer))
	var last ore.Event
	o.Watch = func(e ore.Event) {
		if e.Done < last.Done || e.Total != int64(len(layer)) || last.Final {
			t.Errorf("after %+v came %+v", last, e)
		}
		last = e
	}
	if err := Pour(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if !last.Final || last.Done != last.Total {
		t.Errorf("the last was %+v", last)
	}
	ctx, cancel := context.WithCancel(t.Context())
	o.Target, o.Watch = t.TempDir(), func(ore.Event) { cancel() }
	if err := Pour(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if open, err := filepath.Glob("/proc/self/fd/*"); err != nil || holds(open, o.Target) {
		t.Errorf("files in the folder are still open, %v", err)
	}
}

// holds says whether one of these links leads into the folder.
func holds(links []string, dir string) bool {
	for _, l := range links {
		if to, err := os.Readlink(l); err == nil && strings.HasPrefix(to, dir) {
			return true
		}
	}
	return false
}

// A layer at hand, which is a file, is poured like one that comes.
func TestFromAFile(t *testing.T) {
	root(t)
	want, layer := some(t)
	name := filepath.Join(t.TempDir(), "layer")
	if err := os.WriteFile(name, layer, 0o600); err != nil {
		t.Fatal(err)
	}
	o := order(t, [][]byte{layer})
	o.From[ore.DigestOf(layer)] = []string{name}
	if err := Pour(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	compare(t, o.Target, want)
	if err := os.WriteFile(name, layer[:1000], 0o600); err != nil {
		t.Fatal(err)
	}
	o.Target = t.TempDir()
	if err := Pour(t.Context(), o); err == nil || !strings.Contains(err.Error(), "it has 1000 bytes, not") {
		t.Errorf("a short file: %v", err)
	}
}

// FuzzLayer opens what may be a layer and finds out where its files are.
func FuzzLayer(f *testing.F) {
	entries := []entry{
		{Entry: squashfs.Entry{Path: ".", Mode: fs.ModeDir | 0o755}},
		{Entry: squashfs.Entry{Path: "a", Mode: 0o644}, data: bytes.Repeat([]byte("abc"), 3000)},
		{Entry: squashfs.Entry{Path: "b", Mode: 0o644}, data: []byte("short")},
		{Entry: squashfs.Entry{Path: "c", Mode: 0o644, Hardlink: "b"}},
	}
	f.Add(pack(f, small, entries))
	f.Add(pack(f, squashfs.Options{BlockSize: 8 << 10, Compression: squashfs.None}, entries))
	f.Fuzz(func(t *testing.T, b []byte) {
		name := filepath.Join(t.TempDir(), "layer")
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		d := ore.DigestOf(b)
		o := Options{From: map[ore.Digest][]string{d: {name}}}
		l, err := openLayer(t.Context(), &o.Client, blob.Blob{Digest: d, Size: int64(len(b)), From: o.From[d]}, &meter{})
		if err != nil {
			return
		}
		m := merge([]*layer{l, l})
		w, err := l.worker()
		if err != nil {
			t.Fatalf("a second reader does not open: %v", err)
		}
		list, err := l.locate(t.Context(), []*worker{w}, m.content(1))
		if err != nil {
			return
		}
		in := bytes.NewReader(b)
		for _, x := range list {
			x.stored = make([]byte, x.n)
			if _, err := in.ReadAt(x.stored, x.at); err != nil && err != io.EOF {
				t.Fatalf("a block at %d of %d: %v", x.at, len(b), err)
			}
			w.near.at, w.near.block = x.at, x.stored
			for _, p := range x.parts {
				if _, err := w.content(p.node, p.index); errors.Is(err, errFar) {
					t.Fatalf("block %d of %s is not where it was", p.index, p.node.Path)
				}
			}
		}
	})
}
