package squashfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// parts are three packages' trees, which together make one.
func parts(block int) [][]sample {
	return [][]sample{
		everything(block),
		{dir("."), dir("usr"), file("usr/big", text(11, 5*block+1)), file("usr/b", text(12, 100)), file("usr/a", noise(9, 300))},
		{dir("."), dir("usr"), file("usr/c", text(13, block)), file("usr/d", text(14, block-1)), file("usr/e", text(15, block/2))},
	}
}

// compose makes an image of others by AddFrom, and of some files by Add.
func compose(t testing.TB, o Options, readers ...*Reader) []byte {
	t.Helper()
	var m memFile
	w, err := NewWriter(&m, o)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	seen := map[string]bool{}
	add := func(e Entry, r *Reader) error {
		if e.Mode.IsRegular() && e.Hardlink == "" {
			return w.AddFrom(e, r, e.Path)
		}
		return w.Add(e, nil)
	}
	for i, r := range readers {
		for e := range r.Entries() {
			if seen[e.Path] {
				continue
			}
			seen[e.Path] = true
			if err := add(e, r); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range extra(o.BlockSize)[i] {
			if err := w.Add(s.Entry, bytes.NewReader(s.content)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return m.b
}

// extra is what compose adds itself after each image.
func extra(block int) [][]sample {
	return [][]sample{
		{dir("new"), file("new/small", text(20, 50)), file("new/large", text(21, 3*block))},
		{file("new/small2", text(22, 60))},
		{file("new/large2", noise(23, block+5))},
	}
}

func TestAddFrom(t *testing.T) {
	for _, o := range variants() {
		o, err := o.complete()
		if err != nil {
			t.Fatal(err)
		}
		t.Run(o.name(), func(t *testing.T) {
			var readers []*Reader
			var all []sample
			for i, p := range parts(o.BlockSize) {
				readers = append(readers, openImage(t, write(t, o, p...)))
				if i > 0 { // the root is there already, and so is usr
					p = p[i:]
				}
				all = append(all, p...)
				all = append(all, extra(o.BlockSize)[i]...)
			}
			want := ofSamples(all)
			var first []byte
			for _, jobs := range []int{1, 4} {
				o.Jobs = jobs
				image := compose(t, o, readers...)
				r := openImage(t, image)
				compare(t, "reader", ofReader(t, r), want)
				checkCopied(t, image, r, readers)
				if first == nil {
					first = image
				}
				if !bytes.Equal(first, image) {
					t.Errorf("%d jobs give other bytes than 1", jobs)
				}
			}
			compare(t, "kernel", ofTree(t, mount(t, saved(t, first))), want)
		})
	}
}

// checkCopied checks that each block of the sources is in image as it was.
func checkCopied(t *testing.T, image []byte, r *Reader, sources []*Reader) {
	t.Helper()
	have := map[string]bool{}
	for _, b := range r.Blocks() {
		have[string(image[b.Offset:][:b.Length])] = true
	}
	for i, s := range sources {
		for _, b := range s.Blocks() {
			block := make([]byte, b.Length)
			if err := s.readAt(block, b.Offset); err != nil {
				t.Fatal(err)
			}
			if !have[string(block)] {
				t.Errorf("source %d: block %+v was not copied", i, b)
			}
		}
	}
}

func TestAddFromOtherOptions(t *testing.T) {
	all := everything(16 << 10)
	want := ofSamples(all)
	plain := write(t, Options{Compression: None}, all...)
	for _, from := range variants() {
		r := openImage(t, write(t, from, all...))
		to, err := Options{Compression: None}.complete()
		if err != nil {
			t.Fatal(err)
		}
		var m memFile
		w, err := NewWriter(&m, to)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range all {
			if s.Mode.IsRegular() && s.Hardlink == "" {
				err = w.AddFrom(s.Entry, r, s.Path)
			} else {
				err = w.Add(s.Entry, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		compare(t, "reader", ofReader(t, openImage(t, m.b)), want)
		if !bytes.Equal(m.b, plain) {
			t.Errorf("from %+v: not the same as made by Add", from)
		}
	}
}

func TestAddFromErrors(t *testing.T) {
	image := write(t, Options{}, dir("."), file("a", text(1, 1000)), file("big", text(1, 1<<20)))
	for _, c := range []struct {
		summary string
		e       Entry
		path    string
		want    string
	}{
		{"missing", Entry{Path: "a"}, "b", "not exist"},
		{"folder", Entry{Path: "a"}, ".", "not a regular file"},
		{"size", Entry{Path: "a", Size: 7}, "a", "size 7: the source has 1000"},
		{"type", Entry{Path: "a", Mode: fs.ModeDir}, "a", "not a regular file"},
		{"path", Entry{Path: "/a", Size: 1000}, "a", "clean"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			w, err := NewWriter(&memFile{}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			err = w.AddFrom(c.e, openImage(t, image), c.path)
			if err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(w.Close(), err) {
				t.Errorf("error %v: should contain %q", err, c.want)
			}
		})
	}
}

// TestAddFromTruncated has the source lose its data after it was opened.
func TestAddFromTruncated(t *testing.T) {
	image := write(t, Options{}, dir("."), file("big", noise(1, 1<<20)))
	src := &shrinking{Reader: bytes.NewReader(image)}
	r, err := NewReader(src, int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWriter(&memFile{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(dir(".").Entry, nil); err != nil {
		t.Fatal(err)
	}
	e, err := r.Lookup("big")
	if err != nil {
		t.Fatal(err)
	}
	src.Reader = bytes.NewReader(image[:1000])
	_ = w.AddFrom(e, r, "big") // finds it perhaps, Close surely
	if err := w.Close(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v although the source is gone", err)
	}
}

type shrinking struct{ *bytes.Reader }

// TestManyReaders checks that open images cost little memory, since a layer
// can be made of hundreds.
func TestManyReaders(t *testing.T) {
	image := write(t, Options{}, everything(4096)...)
	const n = 200
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	readers := make([]*Reader, n)
	for i := range readers {
		readers[i] = openImage(t, image)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n
	t.Logf("%d bytes each", each)
	if each > 256<<10 {
		t.Errorf("an open image of %d bytes takes %d bytes", len(image), each)
	}
	if slices.Contains(readers, nil) {
		t.Error("nil reader")
	}
}
