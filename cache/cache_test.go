package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ore"
	"ore/cache/flight"
	"ore/image"
)

func open(t *testing.T, dir string) *Cache {
	t.Helper()
	c, err := Open(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// made puts layers with the given contents into c and returns their manifest.
func made(t *testing.T, c *Cache, name string, layers ...string) image.Manifest {
	t.Helper()
	env := ore.Environment{Version: 1, Base: ore.Base{Distribution: "debian", Suite: "bookworm"}, Manual: []string{name}}
	m := image.Manifest{Version: image.ManifestVersion, Key: env.Key(), Environment: env, Tree: ore.DigestOf([]byte(name))}
	for _, l := range layers {
		d, err := c.PutBytes(context.Background(), []byte(l))
		if err != nil {
			t.Fatal(err)
		}
		m.Layers = append(m.Layers, image.Layer{Digest: d, Size: int64(len(l)), Compression: "zstd"})
	}
	return m
}

func register(t *testing.T, c *Cache, m image.Manifest, took time.Duration) {
	t.Helper()
	if _, err := c.Register(context.Background(), m, took); err != nil {
		t.Fatal(err)
	}
}

func TestFindGivesWhatWasRegistered(t *testing.T) {
	c := open(t, t.TempDir())
	m := made(t, c, "a", "base", "delta")
	if _, err := c.Find(context.Background(), m.Key); !errors.Is(err, image.ErrMissing) {
		t.Errorf("before: %v", err)
	}
	listed, err := c.Register(context.Background(), m, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if listed.Layers[0].Root == "" || listed.Layers[1].Root == "" {
		t.Errorf("layers are listed without roots: %v", listed.Layers)
	}
	got, err := c.Find(context.Background(), m.Key)
	if err != nil || got.Digest() != listed.Digest() || got.Tree != m.Tree || got.Layers[1].Digest != m.Layers[1].Digest {
		t.Errorf("got %s, %v", got.Digest(), err)
	}
}

func TestFindForgetsAnImageWhoseLayerIsGone(t *testing.T) {
	c := open(t, t.TempDir())
	m := made(t, c, "a", "base")
	register(t, c, m, 0)
	p, err := c.Path(m.Layers[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(p); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Find(context.Background(), m.Key); !errors.Is(err, image.ErrMissing) {
		t.Errorf("got %v", err)
	}
	if all, err := c.List(context.Background()); err != nil || len(all) != 0 {
		t.Errorf("still listed: %v, %v", all, err)
	}
}

// TestOnceBuildsOnce asks for one key through two caches on one folder, as two
// processes do, many times at once.
func TestOnceBuildsOnce(t *testing.T) {
	dir := t.TempDir()
	caches := []*Cache{open(t, dir), open(t, dir)}
	m := made(t, caches[0], "a", "base")
	var builds atomic.Int32
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			c := caches[i%2]
			_, err := c.Once(context.Background(), m.Key, func(ctx context.Context) (image.Manifest, error) {
				builds.Add(1)
				_, err := c.Register(ctx, m, 0)
				return m, err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := builds.Load(); n != 1 {
		t.Errorf("%d builds", n)
	}
}

func TestOnceHandsOverWhenTheBuilderFails(t *testing.T) {
	c := open(t, t.TempDir())
	m := made(t, c, "a", "base")
	stop := errors.New("stop")
	if _, err := c.Once(context.Background(), m.Key, func(context.Context) (image.Manifest, error) { return m, stop }); !errors.Is(err, stop) {
		t.Fatal(err)
	}
	got, err := c.Once(context.Background(), m.Key, func(ctx context.Context) (image.Manifest, error) {
		_, err := c.Register(ctx, m, 0)
		return m, err
	})
	if err != nil || got.Key != m.Key {
		t.Errorf("second try: %v", err)
	}
}

func TestOnceStopsWaitingWhenItsContextEnds(t *testing.T) {
	c := open(t, t.TempDir())
	m := made(t, c, "a", "base")
	held, err := flight.Try(filepath.Join(c.dir, "locks", string(m.Key)))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := c.Once(ctx, m.Key, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestForgetKeepsSharedLayersAndRefusesHeldOnes(t *testing.T) {
	c, ctx := open(t, t.TempDir()), context.Background()
	a, b := made(t, c, "a", "base", "aaa"), made(t, c, "b", "base", "bbb")
	register(t, c, a, 0)
	register(t, c, b, 0)
	release, err := c.Hold(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Forget(ctx, a.Key); err == nil {
		t.Error("an image in use was removed")
	}
	release()
	freed, err := c.Forget(ctx, a.Key)
	if err != nil || freed != 3 {
		t.Errorf("freed %d, %v", freed, err)
	}
	if _, err := c.Find(ctx, b.Key); err != nil {
		t.Errorf("the other image is damaged: %v", err)
	}
	if _, err := c.Path(a.Layers[1].Digest); !errors.Is(err, image.ErrMissing) {
		t.Errorf("the image's own layer is still there: %v", err)
	}
}

func TestPruneTakesTheLeastValuableFirst(t *testing.T) {
	c, ctx := open(t, t.TempDir()), context.Background()
	layer := func(name string) string { return name + string(make([]byte, 100<<10)) }
	often, once, cheap := made(t, c, "often", "base", layer("o")), made(t, c, "once", "base", layer("1")), made(t, c, "cheap", "base", layer("c"))
	pinned := made(t, c, "pinned", "base", layer("p"))
	register(t, c, often, time.Minute)
	register(t, c, once, time.Minute)
	register(t, c, cheap, time.Second)
	register(t, c, pinned, time.Millisecond)
	if err := c.Pin(ctx, pinned.Key, true); err != nil {
		t.Fatal(err)
	}
	for _, m := range []image.Manifest{often, once, cheap, often, often} {
		if err := c.Touch(ctx, m.Key); err != nil {
			t.Fatal(err)
		}
	}
	keys := func(fates []Fate) (all []ore.Key) {
		for _, f := range fates {
			if f.Evict {
				all = append(all, f.Entry.Key)
			}
			if f.Why == "" {
				t.Errorf("%v: no reason", f)
			}
		}
		return all
	}
	got, err := c.Fates(ctx, 250<<10)
	if err != nil || !slices.Equal(keys(got), []ore.Key{cheap.Key, once.Key}) {
		t.Errorf("would evict %v, %v", keys(got), err)
	}
	if got, err := c.Fates(ctx, 1<<30); err != nil || len(keys(got)) != 0 {
		t.Errorf("all fit, and yet %v, %v", keys(got), err)
	}
	freed, err := c.Prune(ctx, 1)
	if want := int64(3 * (100<<10 + 1)); err != nil || freed != want {
		t.Errorf("freed %d, not %d: %v", freed, want, err)
	}
	all, err := c.List(ctx)
	if err != nil || len(all) != 1 || all[0].Key != pinned.Key {
		t.Errorf("left: %v, %v", all, err)
	}
	if _, err := c.Find(ctx, pinned.Key); err != nil {
		t.Errorf("the pinned image: %v", err)
	}
}

// TestAcquireWhileItIsEvicted acquires an image again and again while another
// process evicts and registers it: what is acquired stays whole.
func TestAcquireWhileItIsEvicted(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	c, other := open(t, dir), open(t, dir)
	m := made(t, c, "a", "base", "delta")
	register(t, c, m, time.Second)
	over := make(chan struct{})
	defer func() { <-over }()
	go func() {
		defer close(over)
		for range 30 {
			if _, err := other.Forget(ctx, m.Key); err != nil && !errors.Is(err, ErrInUse) {
				t.Error(err)
			}
			again := made(t, other, "a", "base", "delta")
			// The layers may be deleted between putting and listing: that is told.
			if _, err := other.Register(ctx, again, time.Second); err != nil && !errors.Is(err, image.ErrMissing) {
				t.Error(err)
			}
		}
	}()
	got := 0
	for going := true; going; {
		select {
		case <-over:
			going = false // once more, now that nobody evicts
		default:
		}
		m, release, err := c.Acquire(ctx, m.Key)
		if errors.Is(err, image.ErrMissing) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got++
		for _, l := range m.Layers {
			if err := c.Store.Verify(ctx, l.Digest); err != nil {
				t.Errorf("what is held: %v", err)
			}
		}
		release()
	}
	if got == 0 {
		t.Error("it was never acquired: nothing was tested")
	}
}

func TestMatch(t *testing.T) {
	c := open(t, t.TempDir())
	m := made(t, c, "a", "base")
	register(t, c, m, 0)
	if e, err := c.Match(context.Background(), string(m.Key[:8])); err != nil || e.Key != m.Key {
		t.Errorf("got %v, %v", e.Key, err)
	}
	if _, err := c.Match(context.Background(), "zzzz"); !errors.Is(err, image.ErrMissing) {
		t.Errorf("got %v", err)
	}
}
