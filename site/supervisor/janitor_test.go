package supervisor

import (
	"os"
	"path/filepath"
	"testing"
)

// A janitor whose folder was removed, and made anew by somebody else, leaves the
// new one alone.
func TestJanitorKeepsToItsFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "job")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	j, err := watchOver(dir)
	if err != nil {
		t.Fatal(err)
	}
	// Not the same inode again: the old one is held by the janitor.
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "machine-m0"), 0o700); err != nil {
		t.Fatal(err)
	}
	j.say.Close()
	if err := j.cmd.Wait(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "machine-m0")); err != nil {
		t.Error(err)
	}
}

// The janitor removes the folder of a job whose ore was killed, and only then.
func TestJanitor(t *testing.T) {
	for _, killed := range []bool{true, false} {
		dir := filepath.Join(t.TempDir(), "job")
		if err := os.MkdirAll(filepath.Join(dir, "machine-m0"), 0o700); err != nil {
			t.Fatal(err)
		}
		j, err := watchOver(dir)
		if err != nil {
			t.Fatal(err)
		}
		if killed {
			j.say.Close() // as the end of this process does
			err = j.cmd.Wait()
		} else {
			err = j.dismiss()
		}
		if err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(dir); (err == nil) == killed {
			t.Errorf("killed %v: %v", killed, err)
		}
	}
}
