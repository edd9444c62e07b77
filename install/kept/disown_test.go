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

// A base that is disowned leaves neither its notes, of whatever options, nor a tree
// that its layer was unpacked to; others stay as they are. While a build runs,
// nothing goes: half of it would be taken for another base.
func TestDisown(t *testing.T) {
	f := Below(t.TempDir())
	theirs, ours := ore.DigestOf([]byte("theirs")), ore.DigestOf([]byte("ours"))
	for name, text := range map[string]string{
		filepath.Join(f.Trees, "v1", "base", "file"):                   "0123456789",
		filepath.Join(f.Trees, "v2", "base", "file"):                   "0123456789",
		filepath.Join(f.Trees, "v1", "base"+OwnersSuffix):              "0123456789",
		filepath.Join(f.Trees, "v1", "other", "file"):                  "0123456789",
		filepath.Join(f.Trees, "v1", LayerPrefix+theirs.Hex(), "file"): "0123456789",
		filepath.Join(f.Trees, "v1", LayerPrefix+ours.Hex(), "file"):   "0123456789",
		filepath.Join(f.Trees, "v1", StepPrefix+"x", "file"):           "0123456789",
		filepath.Join(f.Bases, "zstd", "base.json"):                    `{"Digest":"` + string(theirs) + `"}`,
		filepath.Join(f.Bases, "lz4", "base.json"):                     `{"Digest":"` + string(theirs) + `"}`,
		filepath.Join(f.Bases, "lz4", "other.json"):                    `{"Digest":"` + string(ours) + `"}`,
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	left := func() (all []string) {
		for _, dir := range []string{f.Trees, f.Bases} {
			names, err := filepath.Glob(filepath.Join(dir, "*/*"))
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range names {
				all = append(all, strings.TrimPrefix(n, dir+"/"))
			}
		}
		return all
	}
	before := left()

	release, err := Use(f.Lock)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Disown(t.Context(), "base", theirs); !errors.Is(err, ErrBusy) {
		t.Errorf("while a build runs: %v", err)
	}
	if now := left(); !slices.Equal(now, before) {
		t.Errorf("while a build runs %v are left of %v", now, before)
	}
	release()
	for range 2 { // what is gone already is no error
		if err := f.Disown(t.Context(), "base", theirs); err != nil {
			t.Fatal(err)
		}
		want := []string{"v1/" + LayerPrefix + ours.Hex(), "v1/other", "v1/step-x", "lz4/other.json"}
		if now := left(); !slices.Equal(now, want) {
			t.Errorf("left: %v, want %v", now, want)
		}
	}
}
