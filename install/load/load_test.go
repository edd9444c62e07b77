package load

import (
	"context"
	"errors"
	"testing"
	"time"

	"ore"
	"ore/install/dpkg"
	"ore/install/pack"
	"ore/squashfs"
)

// A package without a .deb and without a pack cannot be loaded: the error ends
// all that waits.
func TestNothingToLoad(t *testing.T) {
	packs, err := pack.Open(t.TempDir(), squashfs.Options{BlockSize: 128 << 10, Compression: squashfs.Zstd, Level: 1}, nil)
	if err != nil {
		t.Fatal(err)
	}
	lost := ore.Package{Name: "x", Digest: ore.DigestOf([]byte("x"))}
	l, err := New(Options{
		Packages: []ore.Package{{Name: "skipped", Base: true}, lost}, Debs: make([]string, 2),
		Skip: func(p ore.Package) bool { return p.Base }, Packs: packs, Dir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if len(l.All) != 1 || len(l.Base) != 0 || l.Get("x") != l.Rest[0] || l.Get("skipped") != nil || l.Rest[0].Rank != 1 {
		t.Errorf("it loads %v", l.Names())
	}
	if err := l.Run(t.Context()); err == nil {
		t.Error("a package that is not there was loaded")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := Wait(ctx, l.Rest...); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for what failed: %v", err)
	}
	if err := Wait(ctx, &Package{Package: &dpkg.Package{}}); err != nil {
		t.Errorf("waiting for what is loaded: %v", err)
	}
}
