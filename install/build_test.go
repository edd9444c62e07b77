package install

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ore"
	"ore/deb"
	"ore/image"
	"ore/install/sandbox"
	"ore/squashfs"
)

// cacheDir keeps indexes and .debs between runs of the tests.
func cacheDir(t testing.TB) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	return filepath.Join(dir, "ore-test")
}

// lock resolves packages on the host's mirror.
func lock(t testing.TB, suite string, packages ...string) (ore.Environment, *deb.Archive) {
	t.Helper()
	ctx := context.Background()
	a, err := deb.Open(ctx, deb.Config{
		Dir: cacheDir(t), Base: ore.Base{Distribution: "debian", Suite: suite}, MaxAge: 24 * time.Hour,
		Mirror: os.Getenv("ORE_MIRROR"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close() })
	w := ore.Wants{Base: ore.Base{Distribution: "debian", Suite: suite}}
	for _, p := range packages {
		w.Packages = append(w.Packages, ore.Wish{Name: p})
	}
	env, err := a.Resolve(ctx, w)
	if err != nil {
		t.Fatal(err)
	}
	return env, a
}

// testOptions are those of ordinary layers.
var testOptions = squashfs.Options{BlockSize: 128 << 10, Compression: "zstd", Level: 3}

func builder(t testing.TB, dir string, debs deb.Fetcher) *Builder {
	t.Helper()
	store, err := image.OpenStore(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	return &Builder{
		Dir: dir, Store: store, Debs: debs, Tier: sandbox.Root, Args: []string{workerWord},
		Options: testOptions,
		Watch: func(e ore.Event) {
			if testing.Verbose() {
				t.Logf("%s %s: %s", time.Now().Format("05.000"), e.Stage, e.Text)
			}
		},
	}
}

// The same lock built again, with the base at hand and without, has the same
// layers; only what is needed is decoded.
func TestBuildAgain(t *testing.T) {
	env, a := lock(t, "bookworm", "netcat-openbsd")
	dir := t.TempDir() // of its own: at the end all that is kept is taken away
	b := builder(t, dir, a)
	start := time.Now()
	first, err := b.Build(t.Context(), Request{Environment: env})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d packages in %v, %d entries, %d bytes", len(env.Packages), time.Since(start), first.Files, first.Bytes)
	b.Debs = noDebs{}
	start = time.Now()
	second, err := b.Build(t.Context(), Request{Environment: env})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("again in %v", time.Since(start))
	if first.Digest() != second.Digest() {
		t.Errorf("first %+v, then %+v", first.Layers, second.Layers)
	}
	base := env.BaseOnly()
	third, err := b.Build(t.Context(), Request{Environment: base})
	if err != nil {
		t.Fatal(err)
	}
	if len(third.Layers) != 1 || third.Layers[0] != first.Layers[0] || third.Key != base.Key() {
		t.Errorf("the base alone: %+v", third.Layers)
	}
	freed, err := b.Prune(t.Context(), "", 0)
	if err != nil || freed.Packs != len(env.Packages) || freed.Left != 0 {
		t.Fatalf("prune: %+v, %v", freed, err)
	}
	b.Debs = a
	fourth, err := b.Build(t.Context(), Request{Environment: env})
	if err != nil || fourth.Digest() != first.Digest() {
		t.Errorf("after pruning: %+v, %v, at first %+v", fourth.Layers, err, first.Layers)
	}
}

// BenchmarkBuild measures a build whose .debs are at hand: from nothing, and
// with all packages decoded and the base made before.
func BenchmarkBuild(b *testing.B) {
	env, a := lock(b, "bookworm", "ncbi-blast+")
	if err := a.FetchAll(b.Context(), env.Packages, nil); err != nil {
		b.Fatal(err)
	}
	build := func(b *testing.B, dir string) {
		if _, err := builder(b, dir, a).Build(b.Context(), Request{Environment: env}); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("cold", func(b *testing.B) {
		for b.Loop() {
			build(b, b.TempDir())
		}
	})
	b.Run("seen", func(b *testing.B) {
		dir := b.TempDir()
		build(b, dir)
		for b.Loop() {
			build(b, dir)
		}
	})
}
