package kept

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// fill makes a folder with things of 100 bytes each, used at the given minutes.
func fill(t *testing.T) (Folders, func() []string) {
	t.Helper()
	dir := t.TempDir()
	for name, used := range map[string]int{
		"trees/v1/a/file": 0, "trees/v1/b/file": 0, "trees/v1/a.owners": 0,
		"packs/v1/old.gob": 1, "packs/v1/old.squashfs": 9, "packs/v1/new.gob": 5, "packs/v1/new.squashfs": 0,
		"compiled/v1/x.gob": 3, "debs/d.deb": 0, "debs/e.deb": 2, "debs/partial": 0,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, 100), 0o644); err != nil {
			t.Fatal(err)
		}
		at := time.Unix(int64(used)*60, 0)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	for i, tree := range []string{"b", "a"} {
		at := time.Unix(int64(i)*60, 0)
		if err := os.Chtimes(filepath.Join(dir, "trees/v1", tree), at, at); err != nil {
			t.Fatal(err)
		}
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	f := Folders{Trees: in("trees"), Packs: in("packs"), Compiled: in("compiled"), Debs: in("debs"), Lock: in("lock"), Work: in("work")}
	return f, func() []string {
		var left []string
		for _, p := range []string{"trees/*/*", "packs/*/*", "compiled/*/*", "debs/*", "work/*"} {
			names, err := filepath.Glob(in(p))
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range names {
				rel, _ := filepath.Rel(dir, n)
				left = append(left, rel)
			}
		}
		return left
	}
}

// What is cheapest to make again goes first, and of that what was used longest
// ago; pairs of files go together; nothing more goes than has to.
func TestPrune(t *testing.T) {
	f, left := fill(t)
	freed, err := f.Prune(t.Context(), 1e6)
	if err != nil || freed != (Freed{Left: 1000}) {
		t.Fatalf("nothing to do: %+v, %v", freed, err)
	}
	for _, c := range []struct {
		limit int64
		want  Freed
		gone  []string
	}{
		{950, Freed{Trees: 1, Bytes: 100, Left: 900}, []string{"trees/v1/b"}},
		{600, Freed{Trees: 1, Packs: 1, Bytes: 400, Left: 500}, []string{"trees/v1/a", "trees/v1/a.owners", "packs/v1/old.gob", "packs/v1/old.squashfs"}},
		{400, Freed{Compiled: 1, Bytes: 100, Left: 400}, []string{"compiled/v1/x.gob"}},
		{100, Freed{Packs: 1, Debs: 1, Bytes: 300, Left: 100}, []string{"packs/v1/new.gob", "packs/v1/new.squashfs", "debs/d.deb"}},
		{0, Freed{Debs: 1, Bytes: 100}, []string{"debs/e.deb"}},
	} {
		want := slices.DeleteFunc(left(), func(n string) bool { return slices.Contains(c.gone, n) })
		freed, err := f.Prune(t.Context(), c.limit)
		if err != nil || freed != c.want {
			t.Errorf("to %d: %+v, %v, want %+v", c.limit, freed, err, c.want)
		}
		if got := left(); !slices.Equal(got, want) {
			t.Errorf("to %d: left %v, want %v", c.limit, got, want)
		}
	}
}

// Nothing goes while a build uses it, and what was touched goes later.
func TestUse(t *testing.T) {
	f, left := fill(t)
	release, err := Use(f.Lock)
	if err != nil {
		t.Fatal(err)
	}
	before := left()
	if _, err := f.Prune(t.Context(), 0); !errors.Is(err, ErrBusy) {
		t.Errorf("error %v", err)
	}
	if got := left(); !slices.Equal(got, before) {
		t.Errorf("left %v", got)
	}
	release()
	Touch(filepath.Join(f.Trees, "v1/b"))
	if _, err := f.Prune(t.Context(), 900); err != nil {
		t.Fatal(err)
	}
	if got := left(); slices.Contains(got, "trees/v1/a") || !slices.Contains(got, "trees/v1/b") {
		t.Errorf("left %v", got)
	}
}
