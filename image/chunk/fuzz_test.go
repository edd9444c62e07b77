package chunk_test

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"ore/image/chunk"
	"ore/squashfs"
)

func FuzzDecode(f *testing.F) {
	_, a := layer(f, squashfs.Options{}, pkg{"apt", 1, 0})
	l, err := chunk.Make(f.Context(), a, a.Size)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(l.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := chunk.Decode(b)
		if err != nil {
			return
		}
		at := int64(0)
		for _, c := range l.Chunks {
			if c.Offset != at || c.Size <= 0 || c.Size > chunk.MaxChunk || c.Digest.Hex() == "" {
				t.Fatalf("chunk %+v at %d", c, at)
			}
			at += c.Size
		}
		if at != l.Size {
			t.Fatalf("%d bytes in chunks, %d in all", at, l.Size)
		}
		if again, err := chunk.Decode(l.Encode()); err != nil || again.Root() != l.Root() {
			t.Fatalf("does not come back: %v", err)
		}
	})
}

// maxFuzzed bounds what a patch of the fuzzer writes to the disk.
const maxFuzzed = 1 << 22

func FuzzPatch(f *testing.F) {
	old, a, _, b := pair(f, squashfs.Options{})
	p, err := chunk.Diff(f.Context(), a, b)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(p.Encode())
	f.Fuzz(func(t *testing.T, enc []byte) {
		p, err := chunk.DecodePatch(enc)
		if err != nil || p.Size > maxFuzzed {
			return
		}
		out, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		if err := p.Apply(t.Context(), old, out); err != nil {
			return
		}
		if n, _ := out.Seek(0, io.SeekEnd); n != p.Size {
			t.Fatalf("%d bytes, not %d", n, p.Size)
		}
	})
}
