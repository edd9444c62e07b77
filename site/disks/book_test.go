package disks

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ore"
	"ore/cache"
	"ore/image"
	"ore/squashfs"
)

func always() bool { return true }

// listed has a tree in the cache.
func listed(t *testing.T, c *cache.Cache) image.Manifest {
	t.Helper()
	d, n, err := c.Put(t.Context(), empty)
	if err != nil {
		t.Fatal(err)
	}
	env := ore.Environment{Version: ore.EnvironmentVersion, Arch: "amd64", Base: ore.Base{Distribution: "debian", Suite: "bookworm"}}
	m := image.Manifest{Version: image.ManifestVersion, Key: env.Key(), Environment: env, Tree: ore.DigestOf(nil),
		Layers: []image.Layer{{Digest: d, Size: n, Compression: string(squashfs.Zstd), Key: env.Key()}}}
	if m, err = c.Register(t.Context(), m, time.Second); err != nil {
		t.Fatal(err)
	}
	return m
}

// What comes twice within a season is made, once, when the host is idle; what came
// once is not, nor what came long ago.
func TestBook(t *testing.T) {
	c, err := cache.Config{}.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tree := listed(t, c)
	shape, err := Shape(machines())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1e9, 0)
	b := Book{Cache: c, Now: func() time.Time { return now }}
	noted := func(want bool) {
		t.Helper()
		if due, err := b.Note(tree.Key, shape); err != nil || due != want {
			t.Errorf("due %v, %v", due, err)
		}
	}
	makes := func(idle func() bool, want int, wantLeft bool) {
		t.Helper()
		if n, left, err := b.Make(t.Context(), idle); n != want || left != wantLeft || err != nil {
			t.Errorf("made %d, left %v, %v", n, left, err)
		}
	}
	makes(always, 0, false) // before there is anything
	noted(false)
	makes(always, 0, false)
	now = now.Add(season + time.Hour)
	noted(false) // the other was long ago
	noted(true)
	makes(func() bool { return false }, 0, true)
	if k := Kept(t.Context(), c, tree.Key, machines()); k == nil || k.Size != 0 {
		t.Fatalf("a busy host has made %+v", k)
	}
	makes(always, 1, false)
	if k := Kept(t.Context(), c, tree.Key, machines()); k == nil || k.Size == 0 {
		t.Errorf("%+v is kept", k)
	}
	makes(always, 0, false)
	if _, made, err := Make(t.Context(), c, tree, shape, nil); made || err != nil {
		t.Errorf("made again: %v, %v", made, err)
	}
}

// What nobody waits for takes the room of no image, as what somebody waits for does.
func TestBookTakesSpareRoom(t *testing.T) {
	full := func(string) (int64, error) { return 0, nil }
	c, err := cache.Config{Capacity: full}.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tree := listed(t, c)
	tree.Bytes = 1 << 20
	shape, err := Shape(machines())
	if err != nil {
		t.Fatal(err)
	}
	var asked []string
	room := func(_ context.Context, bytes int64, _ string) (*cache.Reservation, error) {
		asked = append(asked, fmt.Sprint(bytes))
		return nil, cache.ErrNoSpace
	}
	if _, _, err := (source{tree, shape}).make(t.Context(), c, room, nil); !errors.Is(err, cache.ErrNoSpace) || len(asked) != 1 {
		t.Errorf("without room: %v, asked %v", err, asked)
	}
	b := Book{Cache: c}
	for range again {
		if _, err := b.Note(tree.Key, shape); err != nil {
			t.Fatal(err)
		}
	}
	if n, left, err := b.Make(t.Context(), always); n != 0 || left || err != nil {
		t.Errorf("made %d, left %v, %v", n, left, err)
	}
	if k := Kept(t.Context(), c, tree.Key, machines()); k != nil && k.Size != 0 {
		t.Errorf("%+v is kept", k)
	}
}

// Of a tree that is gone nothing is made, and it is not tried again; a file that is
// none is removed.
func TestBookOfWhatIsGone(t *testing.T) {
	c, err := cache.Config{}.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	shape, err := Shape(machines())
	if err != nil {
		t.Fatal(err)
	}
	b := Book{Cache: c}
	for range again {
		if _, err := b.Note(ore.Environment{}.Key(), shape); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(b.dir(), "bad"+suffix), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, left, err := b.Make(t.Context(), always); n != 0 || left || err != nil {
		t.Errorf("made %d, left %v, %v", n, left, err)
	}
	if list, err := os.ReadDir(b.dir()); err != nil || len(list) != 0 {
		t.Errorf("%v are left, %v", list, err)
	}
}
