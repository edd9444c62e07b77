package delta_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"

	"ore/image/chunk/delta"
)

// table makes a table of positions as an image's inodes are: the same but for
// numbers that all moved.
func table(n, shift int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b []byte
	for i := range n {
		b = binary.LittleEndian.AppendUint32(b, uint32(i*977+shift))
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return b
}

func noise(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestRoundTrips(t *testing.T) {
	same := noise(100_000, 7)
	inserted := bytes.Join([][]byte{same[:30_000], noise(500, 8), same[30_000:60_000], same[10_000:20_000], same[61_000:]}, nil)
	for _, c := range []struct {
		summary   string
		old, next []byte
		most      int // bytes that the delta may take
	}{
		{"nothing from nothing", nil, nil, 40},
		{"nothing from something", same, nil, 40},
		{"noise from nothing", nil, same, len(same) + 100},
		{"the same", same, same, 100},
		{"zeros", make([]byte, 1000), make([]byte, 1<<20), 300},
		{"inserted, repeated and removed", same, inserted, 700},
		{"numbers that moved", table(5000, 0), table(5000, 123_456), 2000},
		{"short", []byte("abc"), []byte("abd"), 50},
	} {
		t.Run(c.summary, func(t *testing.T) {
			p, err := delta.Encode(c.old, c.next)
			if err != nil {
				t.Fatal(err)
			}
			if len(p) > c.most {
				t.Errorf("the delta has %d bytes, more than %d", len(p), c.most)
			}
			got, err := delta.Decode(c.old, p, len(c.next))
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, c.next) {
				t.Fatal("what was decoded differs")
			}
		})
	}
}

func TestRefusesMoreThanTheLimit(t *testing.T) {
	p, err := delta.Encode(nil, make([]byte, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := delta.Decode(nil, p, 1<<20-1); !errors.Is(err, delta.ErrCorrupt) {
		t.Fatalf("a bomb was not refused: %v", err)
	}
}

func TestEveryTruncationIsAnError(t *testing.T) {
	old := noise(3000, 1)
	next := append(noise(100, 2), old[50:2000]...)
	p, err := delta.Encode(old, next)
	if err != nil {
		t.Fatal(err)
	}
	for n := range p {
		if _, err := delta.Decode(old, p[:n], len(next)); !errors.Is(err, delta.ErrCorrupt) {
			t.Fatalf("%d of %d bytes: %v", n, len(p), err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	old := noise(3000, 1)
	p, _ := delta.Encode(old, append(noise(100, 2), old[50:2000]...))
	f.Add(old, p)
	f.Add([]byte{}, []byte{1})
	f.Fuzz(func(t *testing.T, old, patch []byte) {
		const limit = 1 << 16
		if out, err := delta.Decode(old, patch, limit); err == nil && len(out) > limit {
			t.Fatalf("%d bytes, more than %d", len(out), limit)
		}
	})
}

func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("the old text, which is not short at all"), []byte("the new text, which is not short at all, but"))
	f.Fuzz(func(t *testing.T, old, next []byte) {
		p, err := delta.Encode(old, next)
		if err != nil {
			t.Fatal(err)
		}
		got, err := delta.Decode(old, p, len(next))
		if err != nil || !bytes.Equal(got, next) {
			t.Fatalf("not what went in: %v", err)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	old, next := table(50_000, 0), table(50_000, 4242)
	b.SetBytes(int64(len(next)))
	for b.Loop() {
		if _, err := delta.Encode(old, next); err != nil {
			b.Fatal(err)
		}
	}
}
