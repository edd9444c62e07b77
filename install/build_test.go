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

func TestBuild(t *testing.T) {
	env, a := lock(t, "bookworm", "ncbi-blast+")
	if err := a.FetchAll(t.Context(), env.Packages, nil); err != nil {
		t.Fatal(err)
	}
	dir := testDir(t)
	b := builder(t, dir, a)
	start := time.Now()
	m, err := b.Build(t.Context(), Request{Environment: env})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("built in %v: %d packages, tree %s, %d files, %d bytes, layers %v", time.Since(start), len(env.Packages), m.Tree, m.Files, m.Bytes, m.Layers)
}
