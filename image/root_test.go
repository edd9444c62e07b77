package image

import (
	"errors"
	"os"
	"testing"

	"ore"
	"ore/image/chunk"
)

// Roots are those of the layers' lists, are kept, go with the layer, and change
// what is signed.
func TestRooted(t *testing.T) {
	s := store(t)
	m := manifest()
	m.Layers[0].Digest, m.Layers[0].Size = put(t, s, "some layer"), int64(len("some layer"))
	rooted, err := s.Rooted(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Path(m.Layers[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list, err := chunk.Make(t.Context(), f, m.Layers[0].Size)
	if err != nil {
		t.Fatal(err)
	}
	if rooted.Layers[0].Root != list.Root() || m.Layers[0].Root != "" {
		t.Errorf("the root is %s, not %s; before it was %q", rooted.Layers[0].Root, list.Root(), m.Layers[0].Root)
	}
	if again, err := s.Rooted(t.Context(), rooted); err != nil || again.Digest() != rooted.Digest() {
		t.Errorf("again it is %s, not %s: %v", again.Digest(), rooted.Digest(), err)
	}
	signer, err := GenerateSigner()
	if err != nil {
		t.Fatal(err)
	}
	lied := rooted
	lied.Layers = []Layer{rooted.Layers[0]}
	lied.Layers[0].Root = ore.DigestOf([]byte("lie"))
	if err := signer.Sign(rooted).Check(lied.Encode()); !errors.Is(err, ErrForged) {
		t.Errorf("another root under the signature: %v", err)
	}
	if err := lied.Layers[0].CheckList(list); !errors.Is(err, chunk.ErrList) {
		t.Errorf("another root than the list's: %v", err)
	}
	if err := rooted.Layers[0].CheckList(list); err != nil {
		t.Error(err)
	}
	if err := s.Remove(m.Layers[0].Digest); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Rooted(t.Context(), m); !errors.Is(err, ErrMissing) {
		t.Errorf("the root of a layer that is gone: %v", err)
	}
	// A blob that is not what its name says has no root.
	other := put(t, s, "an other layer")
	m.Layers[0].Digest, m.Layers[0].Size = other, int64(len("an other layer"))
	if err := os.WriteFile(s.blob(other), []byte("an Other layer"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Rooted(t.Context(), m); !errors.Is(err, ErrRotten) {
		t.Errorf("the root of a rotten layer: %v", err)
	}
	m.Layers[0].Size = maxRooted + 1
	if got, err := s.Rooted(t.Context(), m); err != nil || got.Layers[0].Root != "" {
		t.Errorf("a layer too large: %v, %v", got.Layers[0].Root, err)
	}
}
