package serve_test

import (
	"testing"

	"ore/cache/serve"
	"ore/image"
)

// BenchmarkFetch brings an image of 64 MB to a host that has nothing like it.
func BenchmarkFetch(b *testing.B) {
	w := start(b, serve.Config{})
	c := w.client("a", "lab", true)
	s := store(b)
	m := made(b, s, 16<<20, 1, 2, 3, 4, 5, 6, 7, 8)
	push(b, c, s, m)
	b.SetBytes(m.Size())
	for b.Loop() {
		if _, err := c.Fetch(b.Context(), m, store(b), nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkUpdate brings it to a host that has all but one part of eight, with a
// patch that the server has at hand.
func BenchmarkUpdate(b *testing.B) {
	w := start(b, serve.Config{})
	c := w.client("a", "lab", true)
	s := store(b)
	old, next := made(b, s, 16<<20, 1, 2, 3, 4, 5, 6, 7, 8), made(b, s, 16<<20, 1, 2, 3, 4, 5, 6, 7, 9)
	push(b, c, s, old)
	push(b, c, s, next)
	b.SetBytes(next.Size())
	for b.Loop() {
		host := store(b)
		if _, err := c.Fetch(b.Context(), old, host, nil); err != nil {
			b.Fatal(err)
		}
		if _, err := c.Fetch(b.Context(), next, host, []image.Manifest{old}); err != nil {
			b.Fatal(err)
		}
	}
}
