package rpm

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// What is cheapest to have again goes first, of that what was not used for longest;
// no more goes than has to, and nothing while somebody uses it.
func TestPrune(t *testing.T) {
	if freed, left, err := Prune(t.Context(), filepath.Join(t.TempDir(), "none"), 0); freed != 0 || left != 0 || err != nil {
		t.Errorf("nothing is there: %d, %d, %v", freed, left, err)
	}
	m := maker(t, t.TempDir())
	if err := m.folders(); err != nil {
		t.Fatal(err)
	}
	for name, used := range map[string]int{"packages/old.rpm": 1, "packages/new.rpm": 2, "indexes/one": 3, "tools/trees/key/usr/dnf": 4} {
		path, at := m.path(name), time.Unix(int64(used)*60, 0)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, 100), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	release, err := m.use()
	if err != nil {
		t.Fatal(err)
	}
	if freed, left, err := Prune(t.Context(), m.Dir, 0); freed != 0 || left != 0 || err != nil {
		t.Errorf("while it is used: %d, %d, %v", freed, left, err)
	}
	release()
	gone := []string{"tools/trees/key", "indexes/one", "packages/old.rpm", "packages/new.rpm"}
	for i, limit := range []int64{399, 200, 100, 99} {
		if freed, left, err := Prune(t.Context(), m.Dir, limit); freed != 100 || left != int64(300-100*i) || err != nil {
			t.Errorf("no more than %d: %d, %d, %v", limit, freed, left, err)
		}
		there := slices.DeleteFunc(slices.Clone(gone), func(name string) bool { _, err := os.Lstat(m.path(name)); return err != nil })
		if !slices.Equal(there, gone[i+1:]) {
			t.Errorf("no more than %d leaves %q", limit, there)
		}
	}
}
