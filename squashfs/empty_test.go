package squashfs

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestEmptyTree holds an image of nothing but its root, such as a package
// without files makes.
func TestEmptyTree(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "empty"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := NewWriter(f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(Entry{Path: ".", Mode: fs.ModeDir | 0o755}, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := NewReader(f, w.Size())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, err := range r.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if n != 1 {
		t.Errorf("%d entries, want the root alone", n)
	}
}
