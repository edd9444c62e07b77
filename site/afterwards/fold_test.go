package afterwards

import (
	"fmt"
	"io/fs"
	"os"
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

// register lists an image of so many layers, which is told from others by n.
func register(t *testing.T, c *cache.Cache, n, layers int) ore.Key {
	t.Helper()
	env := ore.Environment{Version: ore.EnvironmentVersion, Manual: []string{fmt.Sprint(n), fmt.Sprint(layers)}}
	m := image.Manifest{Version: image.ManifestVersion, Key: env.Key(), Environment: env, Tree: ore.DigestOf([]byte("tree"))}
	for i := range layers {
		m.Layers = append(m.Layers, layer(t, c, fmt.Sprintf("file%d-%d", n, i)))
	}
	if _, err := c.Register(t.Context(), m, time.Second); err != nil {
		t.Fatal(err)
	}
	return m.Key
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
