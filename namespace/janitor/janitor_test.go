package janitor

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
	j, err := Watch(Folder{Path: dir})
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
		j, err := Watch(Folder{Path: dir})
		if err != nil {
			t.Fatal(err)
		}
		if killed {
			j.say.Close() // as the end of this process does
			err = j.cmd.Wait()
		} else {
			err = j.Dismiss()
		}
		if err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(dir); (err == nil) == killed {
			t.Errorf("killed %v: %v", killed, err)
		}
	}
}

// What the shell may not remove, the program does; the lock goes last.
func TestJanitorWithAProgram(t *testing.T) {
	parent := t.TempDir()
	dir, lock := filepath.Join(parent, "build-1"), filepath.Join(parent, "build-1.lock")
	for _, d := range []string{filepath.Join(dir, "in"), filepath.Join(parent, "away")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(lock, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	// A rm that may do nothing: what is not this user's.
	if err := os.WriteFile(filepath.Join(parent, "away", "rm"), []byte("#!/bin/sh\ncase $2 in --) case $1 in -f) exec /bin/rm -f -- \"$3\";; esac;; esac\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	env := append(os.Environ(), "PATH="+filepath.Join(parent, "away")+":"+os.Getenv("PATH"), removeVariable+"="+dir)
	j, err := Watch(Folder{Path: dir, Lock: lock, Environ: env})
	if err != nil {
		t.Fatal(err)
	}
	j.say.Close()
	if err := j.cmd.Wait(); err != nil {
		t.Error(err)
	}
	for _, name := range []string{dir, lock} {
		if _, err := os.Stat(name); err == nil {
			t.Errorf("%s is left", name)
		}
	}
}

// removeVariable makes this test's executable remove a folder.
const removeVariable = "ORE_TEST_REMOVE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(removeVariable); dir != "" {
		if os.RemoveAll(dir) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
