package chunk_test

import (
	"bytes"
	"testing"

	"ore/image/chunk"
)

// Roots are signed: how a blob is cut must not change without another version of
// the list.
func TestRootsStayWhatTheyAre(t *testing.T) {
	b := text(1_000_000, 7)
	l, err := chunk.Make(t.Context(), bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	const want = "sha256:ececa7728a161c7b7ffee8c148bc5281f1379233e1187a77300258d1231f0cfe"
	if got := string(l.Root()); got != want {
		t.Errorf("the root of %d chunks is %s, not %s", len(l.Chunks), got, want)
	}
}
