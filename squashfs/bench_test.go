package squashfs

import (
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// treeLimit is how much of the host's own files the benchmarks take when
// ORE_BENCH_TREE names no tree: about as much as a small Debian system.
const treeLimit = 300 << 20

// benchTree finds the files that the benchmarks write: those of ORE_BENCH_TREE,
// or some of the host's.
func benchTree(b *testing.B) (root string, entries []Entry, size int64) {
	b.Helper()
	if root = os.Getenv("ORE_BENCH_TREE"); root != "" {
		entries, size = benchFolder(b, root, root, math.MaxInt64)
		return root, entries, size
	}
	root = "/usr"
	e, _, err := stat(root, root)
	if err != nil {
		b.Fatal(err)
	}
	entries = []Entry{e}
	for _, dir := range []string{"/usr/bin", "/usr/lib", "/usr/share"} {
		more, n := benchFolder(b, root, dir, treeLimit/3)
		entries, size = append(entries, more...), size+n
	}
	return root, entries, size
}

// benchFolder lists a folder, up to a limit of content.
func benchFolder(b *testing.B, root, dir string, limit int64) (entries []Entry, size int64) {
	b.Helper()
	err := filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		e, _, err := stat(root, p)
		if err != nil {
			return err
		}
		if size += e.Size; size > limit {
			return fs.SkipAll
		}
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	return entries, size
}

// cpu returns the processor time of this process so far.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // cannot fail with these arguments
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func writeTree(b *testing.B, to string, root string, entries []Entry, o Options) int64 {
	b.Helper()
	f, err := os.Create(to)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	w, err := NewWriter(f, o)
	if err != nil {
		b.Fatal(err)
	}
	defer w.Abort()
	for _, e := range entries {
		if err := addFile(w, root, e); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return w.Size()
}

func addFile(w *Writer, root string, e Entry) error {
	if !e.Mode.IsRegular() {
		return w.Add(e, nil)
	}
	f, err := os.Open(filepath.Join(root, e.Path))
	if err != nil {
		return err
	}
	defer f.Close()
	return w.Add(e, f)
}

// BenchmarkWrite writes a real tree with several options.
func BenchmarkWrite(b *testing.B) {
	root, entries, size := benchTree(b)
	to := filepath.Join(b.TempDir(), "image")
	for _, o := range []Options{
		{}, {Jobs: 1}, {Level: 3}, {Level: 6}, {BlockSize: 128 << 10}, {BlockSize: 512 << 10}, {BlockSize: 1 << 20},
		{Compression: LZ4}, {Compression: None},
	} {
		c, err := o.complete()
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("%s-%d", c.name(), c.Jobs), func(b *testing.B) {
			b.SetBytes(size)
			b.ReportAllocs()
			before, n := cpu(), int64(0)
			for b.Loop() {
				n = writeTree(b, to, root, entries, o)
			}
			b.ReportMetric((cpu()-before).Seconds()/float64(b.N), "cpu-s/op")
			b.ReportMetric(float64(n)/1e6, "image-MB")
		})
	}
}

// BenchmarkAddFrom writes an image from the blocks of another one.
func BenchmarkAddFrom(b *testing.B) {
	root, entries, size := benchTree(b)
	dir := b.TempDir()
	from := filepath.Join(dir, "from")
	writeTree(b, from, root, entries, Options{})
	f, err := os.Open(from)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size)
	before := cpu()
	for b.Loop() {
		r, err := NewReader(f, info.Size())
		if err != nil {
			b.Fatal(err)
		}
		copyImage(b, filepath.Join(dir, "to"), r)
	}
	b.ReportMetric((cpu()-before).Seconds()/float64(b.N), "cpu-s/op")
}

func copyImage(b *testing.B, to string, r *Reader) {
	b.Helper()
	f, err := os.Create(to)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	w, err := NewWriter(f, Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Abort()
	for e := range r.Entries() {
		if e.Mode.IsRegular() && e.Hardlink == "" {
			err = w.AddFrom(e, r, e.Path)
		} else {
			err = w.Add(e, nil)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkNewReader opens an image of a real tree.
func BenchmarkNewReader(b *testing.B) {
	root, entries, _ := benchTree(b)
	p := filepath.Join(b.TempDir(), "image")
	size := writeTree(b, p, root, entries, Options{})
	f, err := os.Open(p)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for b.Loop() {
		if _, err := NewReader(f, size); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(entries)), "entries")
}

// BenchmarkRead reads all content of an image of a real tree.
func BenchmarkRead(b *testing.B) {
	root, entries, size := benchTree(b)
	p := filepath.Join(b.TempDir(), "image")
	n := writeTree(b, p, root, entries, Options{})
	f, err := os.Open(p)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	b.SetBytes(size)
	for b.Loop() {
		r, err := NewReader(f, n)
		if err != nil {
			b.Fatal(err)
		}
		readAll(b, r)
	}
}

func readAll(b *testing.B, r *Reader) {
	b.Helper()
	for e := range r.Entries() {
		if !e.Mode.IsRegular() {
			continue
		}
		f, err := r.Open(e.Path)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, f); err != nil {
			b.Fatal(err)
		}
	}
}
