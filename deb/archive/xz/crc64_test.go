package xz

import (
	"hash/crc64"
	"math/rand/v2"
	"testing"
)

// TestCRC64 compares with hash/crc64 at every small length and alignment, and
// over many writes.
func TestCRC64(t *testing.T) {
	b := make([]byte, 70<<10)
	rng := rand.New(rand.NewPCG(5, 6))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	table := crc64.MakeTable(crc64.ECMA)
	check := func(parts ...[]byte) {
		t.Helper()
		got, want := new(ecma), crc64.New(table)
		for _, p := range parts {
			got.Write(p)
			want.Write(p)
		}
		if got.crc != want.Sum64() {
			t.Fatalf("%x for %d parts, the first of %d bytes: want %x", got.crc, len(parts), len(parts[0]), want.Sum64())
		}
	}
	for n := range 1200 {
		check(b[n%17:][:n])
	}
	for range 300 {
		i, j := rng.IntN(len(b)), rng.IntN(len(b))
		i, j = min(i, j), max(i, j)
		check(b[:i], b[i:j], b[j:])
	}
}

func BenchmarkCRC64(b *testing.B) {
	in := make([]byte, 64<<10)
	b.SetBytes(int64(len(in)))
	h := new(ecma)
	for b.Loop() {
		h.Write(in)
	}
}
