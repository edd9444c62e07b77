package agent

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// TestLivesBeginAtOnce has agents of several hosts start at the same moment on one
// folder, as they do where homes are shared: none takes another for dead.
func TestLivesBeginAtOnce(t *testing.T) {
	for range 20 {
		dir := t.TempDir()
		var begun sync.WaitGroup
		lives := make([]*life, 16)
		for i := range lives {
			begun.Go(func() {
				var err error
				if lives[i], err = begin(dir); err != nil {
					t.Error(err)
				}
			})
		}
		begun.Wait()
		for _, l := range lives {
			if l == nil {
				continue
			}
			for _, d := range []string{l.chain(), l.jobs()} {
				if st, err := os.Stat(d); err != nil || !st.IsDir() {
					t.Errorf("a life that goes on: %v", err)
				}
			}
			if err := l.end(); err != nil {
				t.Error(err)
			}
		}
		if left, err := os.ReadDir(filepath.Join(dir, "lives")); err != nil || len(left) > 0 {
			t.Fatalf("%v, %v: want that nothing is left", left, err)
		}
	}
}

// TestTheDeadAreInherited has a life find what two others left: one that was whole,
// and one whose process was killed while it began.
func TestTheDeadAreInherited(t *testing.T) {
	dir := t.TempDir()
	dead, err := begin(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dead.chain(), "blob.part"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	dead.lock.Close() // as the kernel does
	lives := filepath.Join(dir, "lives")
	old, young := filepath.Join(lives, unborn+"old"), filepath.Join(lives, unborn+"young")
	for _, d := range []string{old, young} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	past := time.Now().Add(-2 * bornWithin)
	if err := os.Chtimes(old, past, past); err != nil {
		t.Fatal(err)
	}
	l, err := begin(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.end()
	if b, err := os.ReadFile(filepath.Join(l.chain(), "blob.part")); err != nil || string(b) != "half" {
		t.Errorf("%q, %v: want what the dead one had", b, err)
	}
	for path, want := range map[string]bool{dead.dir: false, old: false, young: true} {
		if _, err := os.Lstat(path); (err == nil) != want {
			t.Errorf("%s: %v, want that it is there: %v", path, err, want)
		}
	}
}
