package recheck_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ore"
	"ore/cache"
	"ore/image"
	"ore/install/exact"
	"ore/site/recheck"
)

// world has a cache with one image that was built from another, and a builder
// that gives what the test says.
type world struct {
	*recheck.Checker
	cache *cache.Cache
	made  image.Manifest
	clean image.Manifest
	err   error
	built int
}

func start(t *testing.T) *world {
	t.Helper()
	c, err := cache.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	w := &world{cache: c}
	w.Checker = &recheck.Checker{Book: recheck.Book{Dir: t.TempDir()}, Cache: c, Idle: func() bool { return true },
		Build: func(ctx context.Context, env ore.Environment) (image.Manifest, error) {
			w.built++
			if env.Key() != w.made.Key {
				t.Errorf("built %s", env.Key())
			}
			return w.clean, errors.Join(w.err, ctx.Err())
		}}
	w.made = w.image(t, "base", "partial")
	if _, err := c.Register(t.Context(), w.made, time.Second); err != nil {
		t.Fatal(err)
	}
	w.clean = w.image(t, "base", "rest")
	if err := w.Book.Note(w.made.Environment, relied()); err != nil {
		t.Fatal(err)
	}
	return w
}

func relied() exact.Memory {
	return exact.Memory{ore.DigestOf([]byte("scripts")): {Add: true, Package: "odd"}}
}

// image makes an image of layers with these contents.
func (w *world) image(t *testing.T, layers ...string) image.Manifest {
	t.Helper()
	env := ore.Environment{Version: 1, Base: ore.Base{Distribution: "debian", Suite: "bookworm"}, Arch: "amd64",
		Packages: []ore.Package{{Name: "a", Version: "1", Arch: "amd64", Digest: ore.DigestOf([]byte("a"))}}}
	m := image.Manifest{Version: image.ManifestVersion, Environment: env, Key: env.Key(), Tree: ore.DigestOf([]byte("tree"))}
	for _, l := range layers {
		d, err := w.cache.PutBytes(t.Context(), []byte(l))
		if err != nil {
			t.Fatal(err)
		}
		m.Layers = append(m.Layers, image.Layer{Digest: d, Size: int64(len(l)), Key: env.Key()})
	}
	return m
}

func (w *world) listed(t *testing.T) image.Manifest {
	t.Helper()
	m, err := w.cache.Find(t.Context(), w.made.Key)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (w *world) left(t *testing.T) int {
	t.Helper()
	all, err := w.Book.Partials()
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestAlikeIsRemembered(t *testing.T) {
	w := start(t)
	all, err := w.All(t.Context(), time.Minute)
	if err != nil || len(all) != 1 || !all[0].Same || !strings.Contains(all[0].String(), "as one built from nothing") {
		t.Fatalf("%v, %v", all, err)
	}
	if m := w.listed(t); m.Layers[len(m.Layers)-1].Digest != w.clean.Layers[len(w.clean.Layers)-1].Digest {
		t.Errorf("listed is %v", m.Layers)
	}
	seen, err := w.Book.Seen()
	if v := seen[ore.DigestOf([]byte("scripts"))]; err != nil || !v.Add || v.Broken || v.Package != "odd" {
		t.Errorf("seen %v, %v", seen, err)
	}
	if again, err := w.All(t.Context(), time.Minute); err != nil || len(again) != 0 || w.built != 1 {
		t.Errorf("again: %v, %v, %d builds", again, err, w.built)
	}
}

func TestDifferenceIsTold(t *testing.T) {
	w := start(t)
	w.clean.Tree = ore.DigestOf([]byte("another"))
	o, err := w.One(t.Context(), w.made.Key)
	if err != nil || o.Same || !strings.Contains(o.String(), "replaced") {
		t.Fatalf("%v, %v", o, err)
	}
	if m := w.listed(t); m.Tree != w.clean.Tree {
		t.Errorf("the wrong image is listed still")
	}
	if _, err := w.cache.Path(w.made.Layers[1].Digest); !errors.Is(err, image.ErrMissing) {
		t.Errorf("its layer is there still: %v", err)
	}
	seen, err := w.Book.Seen()
	if v := seen[ore.DigestOf([]byte("scripts"))]; err != nil || !v.Broken {
		t.Errorf("seen %v, %v", seen, err)
	}
}

func TestWhatCannotBeCompared(t *testing.T) {
	w := start(t)
	w.err = errors.New("its package is gone from the mirror")
	o, err := w.One(t.Context(), w.made.Key)
	if err != nil || !strings.Contains(o.String(), "gone from the mirror") || w.left(t) != 0 {
		t.Errorf("%v, %v, %d left", o, err, w.left(t))
	}
	if m := w.listed(t); m.Layers[len(m.Layers)-1].Digest != w.made.Layers[len(w.made.Layers)-1].Digest {
		t.Error("the image was replaced")
	}
	if o, err := w.One(t.Context(), ore.Key(strings.Repeat("0", 64))); err != nil || !strings.HasPrefix(o.Why, "it is gone") {
		t.Errorf("%v, %v", o, err)
	}
	env := w.made.Environment
	env.Steps = []ore.Step{{Name: "x", Run: "date >/now"}}
	if err := w.Book.Note(env, relied()); err != nil || w.left(t) != 0 {
		t.Errorf("an image with steps is noted: %v", err)
	}
	w = start(t)
	if all, err := w.All(t.Context(), 0); err != nil || len(all) != 0 || w.left(t) != 1 {
		t.Errorf("without a budget: %v, %v", all, err)
	}
	w.Idle = func() bool { return false }
	if all, err := w.All(t.Context(), time.Minute); err != nil || len(all) != 0 || w.left(t) != 1 {
		t.Errorf("on a busy host: %v, %v", all, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.One(ctx, w.made.Key); !errors.Is(err, context.Canceled) || w.left(t) != 1 {
		t.Errorf("cancelled: %v", err)
	}
}

// Another image, which nobody uses, does not go to make room for comparing.
func TestComparingKeepsTheQuota(t *testing.T) {
	w := start(t)
	other := w.made
	other.Environment.Manual = []string{"other"}
	other.Key = other.Environment.Key()
	other.Layers = w.image(t, "what takes more room than comparing does").Layers
	if _, err := w.cache.Register(t.Context(), other, time.Second); err != nil {
		t.Fatal(err)
	}
	used, err := w.cache.Used(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, full := range []bool{true, false} {
		quota := used + w.made.Size()
		if full {
			quota--
		}
		c, err := cache.Config{Quota: quota}.Open(t.Context(), w.cache.Dir())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		w.Checker.Cache = c
		o, err := w.One(t.Context(), w.made.Key)
		if err != nil || (o.Why != "") != full || (w.left(t) == 1) != full {
			t.Errorf("no room %t: %v, %v, %d left", full, o, err, w.left(t))
		}
		if _, err := c.Find(t.Context(), other.Key); err != nil {
			t.Errorf("no room %t: the other image: %v", full, err)
		}
	}
}

func TestDamagedFiles(t *testing.T) {
	w := start(t)
	if err := os.WriteFile(filepath.Join(w.Book.Dir, "partials.jsonl"), []byte("{\n[]\n{\"Key\":\"x\"}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := w.left(t); n != 1 {
		t.Errorf("%d lines are read", n)
	}
	if err := os.WriteFile(filepath.Join(w.Book.Dir, "packages.txt"), []byte("x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Book.Seen(); err == nil || !strings.Contains(err.Error(), "delete it") {
		t.Errorf("a damaged memory: %v", err)
	}
}
