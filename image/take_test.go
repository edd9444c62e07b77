package image

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"ore"
)

// A file that is taken is moved and not copied, and needs no reading afterwards.
func TestTake(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	content, path := []byte("what came over a network"), filepath.Join(dir, "came")
	d := ore.DigestOf(content)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Take(t.Context(), d, path); err != nil {
		t.Fatal(err)
	}
	p, err := s.Path(d)
	if err != nil {
		t.Fatal(err)
	}
	after, err := os.Stat(p)
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the blob is another file than the one that was taken: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file is still where it was: %v", err)
	}
	now, err := stampOf(p)
	if seen, rerr := os.ReadFile(s.stamp(d)); err != nil || rerr != nil || string(seen) != now {
		t.Errorf("the blob counts as unread: stamp %q, file %q: %v, %v", seen, now, err, rerr)
	}
}

// A file of other bytes is neither kept nor left.
func TestTakeOthers(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	path, d := filepath.Join(dir, "came"), ore.DigestOf([]byte("the right bytes"))
	if err := os.WriteFile(path, []byte("the wrong bytes"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Take(t.Context(), d, path); !errors.Is(err, ErrRotten) {
		t.Errorf("took other bytes: %v", err)
	}
	if _, err := s.Path(d); !errors.Is(err, ErrMissing) {
		t.Errorf("the store has it: %v", err)
	}
	list, err := os.ReadDir(s.partial())
	if _, serr := os.Stat(path); err != nil || len(list) > 0 || !errors.Is(serr, os.ErrNotExist) {
		t.Errorf("left: %v, %v, %v", list, err, serr)
	}
}

// What could not be taken is where it was.
func TestTakeFails(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	content, path := []byte("bytes"), filepath.Join(dir, "came")
	if err := errors.Join(os.WriteFile(path, content, 0o600), os.RemoveAll(filepath.Join(dir, "blobs"))); err != nil {
		t.Fatal(err)
	}
	if err := s.Take(t.Context(), ore.DigestOf(content), path); err == nil {
		t.Fatal("it was stored in a folder that is not there")
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != string(content) {
		t.Errorf("the file is gone: %q, %v", b, err)
	}
}

// A file of any content is adopted: moved, known by its digest, and with its root at
// hand. Where it lies in another file system it is copied.
func TestAdopt(t *testing.T) {
	dir := t.TempDir()
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	other, err := os.MkdirTemp("/dev/shm", "ore-adopt-*")
	if err != nil {
		t.Skipf("no second file system: %v", err)
	}
	defer os.RemoveAll(other)
	for _, place := range []string{dir, other} {
		content, path := []byte("a layer in "+place), filepath.Join(place, "layer")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		before, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		d, n, err := s.Adopt(t.Context(), path)
		if err != nil || d != ore.DigestOf(content) || n != int64(len(content)) {
			t.Fatalf("%s: %s, %d bytes: %v", place, d, n, err)
		}
		if err := s.Verify(t.Context(), d); err != nil {
			t.Error(err)
		}
		p, err := s.Path(d)
		if err != nil {
			t.Fatal(err)
		}
		after, err := os.Stat(p)
		if err != nil || os.SameFile(before, after) != (place == dir) {
			t.Errorf("%s: moved: %t, %v", place, os.SameFile(before, after), err)
		}
		if _, err := os.Stat(s.stamp(d) + rootSuffix); (err == nil) != (place == dir) {
			t.Errorf("%s: its root: %v", place, err)
		}
	}
	if _, _, err := s.Adopt(t.Context(), filepath.Join(dir, "nothing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("adopted what is not there: %v", err)
	}
}
