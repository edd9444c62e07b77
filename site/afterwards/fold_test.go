package afterwards

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"ore"
	"ore/cache"
	"ore/image"
	"ore/squashfs"
)

// TestFold has an image of as many layers as may be, and one of fewer.
func TestFold(t *testing.T) {
	c, err := cache.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	many, few := register(t, c, 0, image.MaxLayers), register(t, c, 0, 2)
	if n, err := Fold(t.Context(), c); n != 1 || err != nil {
		t.Fatalf("folded %d, %v", n, err)
	}
	for _, key := range []ore.Key{many, few} {
		if m, err := c.Find(t.Context(), key); err != nil || len(m.Layers) != 2 {
			t.Errorf("%s: %d layers, %v", key.Short(), len(m.Layers), err)
		}
	}
	if n, err := Fold(t.Context(), c); n != 0 || err != nil {
		t.Errorf("folded %d again, %v", n, err)
	}
}

// TestFoldKeepsTheQuota has no room for what an image is folded to while its own layers
// are still there: another image, which nobody uses, does not go for it.
func TestFoldKeepsTheQuota(t *testing.T) {
	dir := t.TempDir()
	c, err := cache.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	key := register(t, c, 0, image.MaxLayers)
	folding, err := c.Used(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other := register(t, c, 1, 3)
	used, err := c.Used(t.Context())
	if err != nil || c.Close() != nil {
		t.Fatal(err)
	}
	for _, full := range []bool{true, false} {
		quota := used + folding
		if full {
			quota--
		}
		c, err := cache.Config{Quota: quota}.Open(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, release, err := c.Acquire(t.Context(), key) // it is not what makes room
		if err != nil {
			t.Fatal(err)
		}
		defer release()
		if n, err := Fold(t.Context(), c); (n == 0) != full || err != nil {
			t.Errorf("no room %t: folded %d, %v", full, n, err)
		}
		if _, err := c.Find(t.Context(), other); err != nil {
			t.Errorf("no room %t: the other image: %v", full, err)
		}
	}
}

// TestFoldKeepsWhoseItIs folds an image that was made here on a layer of somebody
// who is then trusted no more.
func TestFoldKeepsWhoseItIs(t *testing.T) {
	ours, stranger := signer(t), signer(t)
	dir := t.TempDir()
	at := func(trusted image.Keys) *cache.Cache {
		c, err := cache.Config{Signer: ours, Trusted: trusted, Strict: true}.Open(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	c := at(image.Keys{stranger.Key(): "a stranger"})
	base := manifest(t, c, 0, 1)
	if _, err := c.RegisterSigned(t.Context(), base, stranger.Sign(base), time.Second); err != nil {
		t.Fatal(err)
	}
	many := manifest(t, c, 1, image.MaxLayers-1)
	many.Layers = slices.Insert(many.Layers, 1, base.Layers...) // one that is folded
	if _, err := c.Register(t.Context(), many, time.Second); err != nil {
		t.Fatal(err)
	}
	if n, err := Fold(t.Context(), c); n != 1 || err != nil {
		t.Fatalf("folded %d, %v", n, err)
	}
	if m, err := c.Find(t.Context(), many.Key); err != nil || len(m.Layers) == image.MaxLayers {
		t.Errorf("while the stranger is trusted: %d layers, %v", len(m.Layers), err)
	}
	if _, err := at(image.Keys{}).Find(t.Context(), many.Key); !errors.Is(err, image.ErrUntrusted) || !strings.Contains(err.Error(), stranger.Key()) {
		t.Errorf("when nobody is: %v", err)
	}
}

func signer(t *testing.T) *image.Signer {
	t.Helper()
	s, err := image.GenerateSigner()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// register lists an image of so many layers, which is told from others by n.
func register(t *testing.T, c *cache.Cache, n, layers int) ore.Key {
	t.Helper()
	m := manifest(t, c, n, layers)
	if _, err := c.Register(t.Context(), m, time.Second); err != nil {
		t.Fatal(err)
	}
	return m.Key
}

// manifest is of such an image, whose layers are there.
func manifest(t *testing.T, c *cache.Cache, n, layers int) image.Manifest {
	t.Helper()
	env := ore.Environment{Version: ore.EnvironmentVersion, Manual: []string{fmt.Sprint(n), fmt.Sprint(layers)}}
	m := image.Manifest{Version: image.ManifestVersion, Key: env.Key(), Environment: env, Tree: ore.DigestOf([]byte("tree"))}
	for i := range layers {
		m.Layers = append(m.Layers, layer(t, c, fmt.Sprintf("file%d-%d", n, i)))
	}
	return m
}

// layer puts a layer with one file.
func layer(t *testing.T, c *cache.Cache, name string) image.Layer {
	t.Helper()
	d, n, err := c.Put(t.Context(), func(f *os.File) error {
		w, err := squashfs.NewWriter(f, squashfs.Options{})
		if err != nil {
			return err
		}
		if err := w.Add(squashfs.Entry{Path: ".", Mode: fs.ModeDir | 0o755}, nil); err != nil {
			return err
		}
		if err := w.Add(squashfs.Entry{Path: name, Mode: 0o644, Size: int64(len(name))}, strings.NewReader(name)); err != nil {
			return err
		}
		return w.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	return image.Layer{Digest: d, Size: n, Compression: "zstd"}
}
