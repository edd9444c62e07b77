package chunk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"ore"
	"ore/image/chunk"
	"ore/squashfs"
)

// text makes content that compresses to about a half, and differs by seed.
func text(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, n)
	for i := range b {
		b[i] = "0123456789abcdef"[r.Uint32()%16]
	}
	return b
}

// pkg is a package's files: small ones and a large one.
type pkg struct {
	name string
	seed uint64
	add  int // bytes more in one file than others have
}

// layer writes an image of packages and opens it.
func layer(t testing.TB, o squashfs.Options, set ...pkg) (*os.File, chunk.Blob) {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "layer"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	w, err := squashfs.NewWriter(f, o)
	if err != nil {
		t.Fatal(err)
	}
	add := func(e squashfs.Entry, b []byte) {
		t.Helper()
		e.Size = int64(len(b))
		if err := w.Add(e, bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
	}
	add(squashfs.Entry{Path: ".", Mode: fs.ModeDir | 0o755}, nil)
	for _, p := range set {
		add(squashfs.Entry{Path: p.name, Mode: fs.ModeDir | 0o755}, nil)
		for i := range 40 {
			add(squashfs.Entry{Path: fmt.Sprintf("%s/f%d", p.name, i), Mode: 0o644}, text(3000+i*17, p.seed*1000+uint64(i)))
		}
		big := text(900_000+p.add, p.seed)
		add(squashfs.Entry{Path: p.name + "/big", Mode: 0o755}, big)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return f, blob(t, f)
}

func blob(t testing.TB, f *os.File) chunk.Blob {
	t.Helper()
	b, err := os.ReadFile(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	return chunk.Blob{ReaderAt: f, Digest: ore.DigestOf(b), Size: int64(len(b))}
}

func list(t testing.TB, b chunk.Blob) chunk.List {
	t.Helper()
	l, err := chunk.Make(t.Context(), b, b.Size)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// pair is two images of which one package differs by a few bytes.
func pair(t testing.TB, o squashfs.Options) (old *os.File, a chunk.Blob, next *os.File, b chunk.Blob) {
	set := []pkg{{"apt", 1, 0}, {"bash", 2, 0}, {"curl", 3, 0}, {"dash", 4, 0}}
	old, a = layer(t, o, set...)
	set = slices.Clone(set)
	set[1].add = 100
	next, b = layer(t, o, set...)
	return
}

func TestListIsTheBlobInPieces(t *testing.T) {
	_, a, _, b := pair(t, squashfs.Options{})
	la, lb := list(t, a), list(t, b)
	at := int64(0)
	for _, c := range lb.Chunks {
		data := make([]byte, c.Size)
		if _, err := b.ReadAt(data, c.Offset); err != nil || c.Offset != at || ore.DigestOf(data) != c.Digest {
			t.Fatalf("chunk at %d: not what is there (%v)", c.Offset, err)
		}
		at += c.Size
	}
	if at != b.Size || lb.Blob != b.Digest {
		t.Fatalf("%d bytes of %s, not %d of %s", at, lb.Blob, b.Size, b.Digest)
	}
	if missing := lb.Size - lb.Shared(la); missing > lb.Size/4+20_000 {
		t.Errorf("one package of four changed, and %d of %d bytes are new", missing, lb.Size)
	}
	got, err := chunk.Decode(lb.Encode())
	if err != nil || got.Root() != lb.Root() || !slices.Equal(got.Chunks, lb.Chunks) {
		t.Fatalf("the list did not come back: %v", err)
	}
}

func TestAnyChunkIsProvedAlone(t *testing.T) {
	_, a := layer(t, squashfs.Options{BlockSize: 4096}, pkg{"apt", 1, 0})
	full := list(t, a)
	for _, n := range []int{1, 2, 3, 7, len(full.Chunks)} {
		l := chunk.List{Blob: full.Blob, Size: full.Size, Chunks: full.Chunks[:n]}
		root := l.Root()
		for i, c := range l.Chunks {
			data := make([]byte, c.Size)
			if _, err := a.ReadAt(data, c.Offset); err != nil {
				t.Fatal(err)
			}
			p := l.Prove(i)
			if err := p.Verify(root, data); err != nil {
				t.Fatalf("chunk %d of %d: %v", i, n, err)
			}
			data[0]++
			if err := p.Verify(root, data); !errors.Is(err, chunk.ErrProof) {
				t.Fatalf("changed chunk %d of %d was taken: %v", i, n, err)
			}
			data[0]--
			p.Index = (i + 1) % n
			if err := p.Verify(root, data); n > 1 && !errors.Is(err, chunk.ErrProof) {
				t.Fatalf("chunk %d of %d was taken for another: %v", i, n, err)
			}
		}
	}
}

func TestPatchMakesTheNewImage(t *testing.T) {
	for _, c := range []struct {
		summary string
		options squashfs.Options
		most    int64 // bytes of the patch
	}{
		{"as layers are", squashfs.Options{}, 3000},
		{"small blocks", squashfs.Options{BlockSize: 16 << 10}, 4000},
		{"another level", squashfs.Options{Level: 9}, 3000},
		{"stored as is", squashfs.Options{Compression: squashfs.None}, 4000},
		{"another compressor", squashfs.Options{Compression: squashfs.LZ4}, 1 << 20},
	} {
		t.Run(c.summary, func(t *testing.T) {
			old, a, _, b := pair(t, c.options)
			p, err := chunk.Diff(t.Context(), a, b)
			if err != nil {
				t.Fatal(err)
			}
			enc := p.Encode()
			if int64(len(enc)) > c.most {
				t.Errorf("the patch has %d bytes, more than %d", len(enc), c.most)
			}
			q, err := chunk.DecodePatch(enc)
			if err != nil {
				t.Fatal(err)
			}
			out, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			if err := q.Apply(t.Context(), old, out); err != nil {
				t.Fatal(err)
			}
			if got := blob(t, out); got.Digest != b.Digest || q.To != b.Digest || q.From != a.Digest {
				t.Fatal("the patch makes another image")
			}
		})
	}
}

func TestPatchOfWhatIsNoImage(t *testing.T) {
	old, next := text(200_000, 1), slices.Concat(text(10, 2), text(200_000, 1))
	write := func(b []byte) (*os.File, chunk.Blob) {
		f, err := os.Create(filepath.Join(t.TempDir(), "blob"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		if _, err := f.Write(b); err != nil {
			t.Fatal(err)
		}
		return f, blob(t, f)
	}
	f, a := write(old)
	_, b := write(next)
	p, err := chunk.Diff(t.Context(), a, b)
	if err != nil {
		t.Fatal(err)
	}
	out, _ := write(nil)
	if err := p.Apply(t.Context(), f, out); err != nil {
		t.Fatal(err)
	}
	if blob(t, out).Digest != b.Digest || len(p.Encode()) > 400 {
		t.Fatalf("%d bytes, and the right blob: %v", len(p.Encode()), blob(t, out).Digest == b.Digest)
	}
}

// fetcher serves ranges of a blob and counts.
func fetcher(b chunk.Blob, n *atomic.Int64) chunk.Fetch {
	return func(_ context.Context, offset, size int64) (io.ReadCloser, error) {
		n.Add(size)
		return io.NopCloser(io.NewSectionReader(b, offset, size)), nil
	}
}

func TestAssembleFetchesWhatIsMissing(t *testing.T) {
	old, a, _, b := pair(t, squashfs.Options{})
	la, lb := list(t, a), list(t, b)
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	var n atomic.Int64
	taken, err := chunk.Assemble(t.Context(), out, lb, []chunk.Source{{File: old, List: la}}, fetcher(b, &n))
	if err != nil {
		t.Fatal(err)
	}
	if blob(t, out).Digest != b.Digest {
		t.Fatal("another blob")
	}
	if missing := lb.Size - lb.Shared(la); taken.Fetched != missing || n.Load() > missing+20_000 {
		t.Errorf("%d bytes fetched by %d, %d are missing", taken.Fetched, n.Load(), missing)
	}
}

func TestAssembleGoesOnAfterAnInterruption(t *testing.T) {
	_, b := layer(t, squashfs.Options{BlockSize: 64 << 10}, pkg{"apt", 1, 0}, pkg{"bash", 2, 0}, pkg{"curl", 3, 0},
		pkg{"d", 4, 0}, pkg{"e", 5, 0}, pkg{"f", 6, 0}, pkg{"g", 7, 0}, pkg{"h", 8, 0}, pkg{"i", 9, 0}, pkg{"j", 10, 0})
	l := list(t, b)
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	broken := errors.New("the line is cut")
	var first atomic.Int64
	_, err = chunk.Assemble(t.Context(), out, l, nil, func(_ context.Context, offset, size int64) (io.ReadCloser, error) {
		if offset > 0 {
			return nil, broken
		}
		first.Add(size)
		return io.NopCloser(io.NewSectionReader(b, offset, size)), nil
	})
	if !errors.Is(err, broken) {
		t.Fatalf("not interrupted: %v", err)
	}
	var second atomic.Int64
	taken, err := chunk.Assemble(t.Context(), out, l, nil, fetcher(b, &second))
	if err != nil {
		t.Fatal(err)
	}
	if blob(t, out).Digest != b.Digest || taken.Kept+taken.Fetched != b.Size || taken.Kept == 0 {
		t.Errorf("kept %d and fetched %d of %d", taken.Kept, taken.Fetched, b.Size)
	}
}

func TestAssembleTakesNothingThatDoesNotMatch(t *testing.T) {
	old, a, _, b := pair(t, squashfs.Options{})
	la, lb := list(t, a), list(t, b)
	lie := func(_ context.Context, _, size int64) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(make([]byte, size))), nil
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := chunk.Assemble(t.Context(), out, lb, nil, lie); !errors.Is(err, chunk.ErrProof) {
		t.Fatalf("zeros were taken: %v", err)
	}
	// A source that has rotted gives nothing: its chunks are fetched.
	if err := os.Chmod(old.Name(), 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(old.Name(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 4096), a.Size/2); err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	if _, err := chunk.Assemble(t.Context(), out, lb, []chunk.Source{{File: f, List: la}}, fetcher(b, &n)); err != nil {
		t.Fatal(err)
	}
	if blob(t, out).Digest != b.Digest {
		t.Fatal("rotten bytes were taken")
	}
}
