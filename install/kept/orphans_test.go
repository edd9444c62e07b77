package kept

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ore"
)

// Trees of layers that are gone go with what is beside them; those of bases
// that have a layer of any options stay, and what steps did.
func TestOrphans(t *testing.T) {
	f := Below(t.TempDir())
	here, gone := ore.DigestOf([]byte("here")), ore.DigestOf([]byte("gone"))
	write := func(name, text string) {
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tree := range []string{"layer-" + here.Hex(), "layer-" + gone.Hex(), "step-x", "kept", "odd", "lost", "nowhere"} {
		write(filepath.Join(f.Trees, "v1", tree, "file"), "0123456789")
	}
	write(filepath.Join(f.Trees, "v1", "lost"+OwnersSuffix), "0123456789")
	write(filepath.Join(f.Bases, "zstd", "kept.json"), `{"Digest":"`+string(gone)+`"}`)
	write(filepath.Join(f.Bases, "lz4", "kept.json"), `{"Digest":"`+string(here)+`"}`)
	write(filepath.Join(f.Bases, "lz4", "odd.json"), `{"Dig`)
	write(filepath.Join(f.Bases, "lz4", "lost.json"), `{"Digest":"`+string(gone)+`"}`)
	exists := func(d ore.Digest) bool { return d == here }

	release, err := Use(f.Lock)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Orphans(t.Context(), exists); !errors.Is(err, ErrBusy) {
		t.Errorf("while a build runs: %v", err)
	}
	release()
	freed, err := f.Orphans(t.Context(), exists)
	if err != nil || freed.Trees != 3 || freed.Bytes != 40 {
		t.Errorf("freed %+v, %v", freed, err)
	}
	names, err := filepath.Glob(filepath.Join(f.Trees, "*/*"))
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range names {
		names[i] = strings.TrimPrefix(n, f.Trees+"/v1/")
	}
	if want := []string{"kept", "layer-" + here.Hex(), "odd", "step-x"}; !slices.Equal(names, want) {
		t.Errorf("left: %v, want %v", names, want)
	}
	if work, err := os.ReadDir(f.Work); err != nil || len(work) != 0 {
		t.Errorf("left in the work folder: %v, %v", work, err)
	}
}
