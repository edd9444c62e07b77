package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"ore"
	"ore/deb"
	"ore/image"
	"ore/install/bases"
)

// noBase is a fetcher that has no package of a base.
type noBase struct{ deb.Fetcher }

func (n noBase) Fetch(ctx context.Context, p ore.Package) (string, error) {
	if p.Base {
		return "", fmt.Errorf("%s of the base is asked for", p.Name)
	}
	return n.Fetcher.Fetch(ctx, p)
}

// A base that was made elsewhere is as good as one made here: what is built over
// it is the same to the byte, and none of its packages is needed. What is not
// the base that it is said to be is refused.
func TestAdoptABase(t *testing.T) {
	env, a := lock(t, "bookworm", "netcat-openbsd")
	there := builder(t, t.TempDir(), a)
	var base image.Manifest
	made, err := there.Build(t.Context(), Request{Environment: env, Based: func(m image.Manifest) { base = m }})
	if err != nil {
		t.Fatal(err)
	}
	if base.Key != env.BaseOnly().Key() || len(base.Layers) != 1 || base.Layers[0] != made.Layers[0] {
		t.Fatalf("the base's image has key %s and the layers %v", base.Key, base.Layers)
	}
	if alone, err := there.Build(t.Context(), Request{Environment: env.BaseOnly()}); err != nil || alone.Digest() != base.Digest() {
		t.Errorf("built alone, the base is %s, not %s: %v", alone.Digest(), base.Digest(), err)
	}
	here := builder(t, t.TempDir(), noBase{a})
	if err := here.Adopt(t.Context(), base); !errors.Is(err, image.ErrMissing) {
		t.Errorf("a base without its layer is adopted: %v", err)
	}
	bring(t, there.Store, here.Store, base.Layers[0].Digest)
	for what, change := range map[string]func(*image.Manifest){
		"tree":       func(m *image.Manifest) { m.Tree = made.Tree },
		"capability": func(m *image.Manifest) { m.Capabilities = []image.Capability{{Path: "bin/none", Value: []byte{1}}} },
		"image":      func(m *image.Manifest) { *m = made },
	} {
		other := base
		change(&other)
		if err := here.Adopt(t.Context(), other); !errors.Is(err, bases.ErrOther) {
			t.Errorf("a base with another %s: %v", what, err)
		}
	}
	if err := here.Adopt(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	if have, err := here.Have(env); err != nil || have.Base == nil || *have.Base != base.Layers[0] || have.Tree {
		t.Errorf("it has the base %v, unpacked: %v, %v", have.Base, have.Tree, err)
	}
	over, err := here.Build(t.Context(), Request{Environment: env})
	if err != nil {
		t.Fatal(err)
	}
	if over.Digest() != made.Digest() {
		now, then := readImage(t, here.Store, over), readImage(t, there.Store, made)
		t.Errorf("over the adopted base: image %s, from nothing %s; they differ in %s", over.Digest(), made.Digest(), strings.Join(compare(now, then), " "))
	}
}

// bring copies a blob.
func bring(t *testing.T, from, to *image.Store, d ore.Digest) {
	t.Helper()
	name, err := from.Path(d)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := to.Put(t.Context(), func(f *os.File) error {
		in, err := os.Open(name)
		if err != nil {
			return err
		}
		defer in.Close()
		_, err = io.Copy(f, in)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
