package kept

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A run of a step is told from another in a folder with the same inode, whether or not
// the file system knows when that was born, and stays the same while it is used.
func TestRuns(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a")
	left := func() unix.Timespec {
		t.Helper()
		var st unix.Stat_t
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := unix.Lstat(name, &st); err != nil {
			t.Fatal(err)
		}
		return st.Ctim
	}
	known := func(birth int64) unix.Statx_t {
		return unix.Statx_t{Mask: unix.STATX_BTIME, Ino: 1, Btime: unix.StatxTimestamp{Sec: birth}}
	}
	of := func(st unix.Statx_t) string {
		t.Helper()
		id, err := run(dir, st)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	// What the kernel fills in where it does not know is nobody's birth.
	unknown := unix.Statx_t{Ino: 1, Btime: unix.StatxTimestamp{Sec: 5}}
	empty := of(unknown)
	first := left()
	once := of(unknown)
	if once == empty {
		t.Error("a folder with a file is taken for one without")
	}
	then := time.Unix(1, 0)
	if err := os.Chtimes(dir, then, then); err != nil {
		t.Fatal(err)
	}
	Touch(dir)
	if got := of(unknown); got != once {
		t.Errorf("once it was used it is %q and no more %q", got, once)
	}
	for { // until the kernel's clock has gone on; the file may get the same inode
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		if left() != first {
			break
		}
	}
	if of(unknown) == once {
		t.Error("what another run left is taken for the same")
	}
	if of(known(5)) == of(known(6)) || of(known(5)) != of(known(5)) {
		t.Error("folders are not told apart by their birth")
	}
}

// The step's path changes with the folders that it ran over.
func TestStepOverAnother(t *testing.T) {
	dir := t.TempDir()
	alone, err := Step(dir, "x", nil)
	if err != nil {
		t.Fatal(err)
	}
	over, err := Step(dir, "x", []string{dir})
	if err != nil || over == alone {
		t.Errorf("over another: %s, %v", over, err)
	}
	if _, err := Step(dir, "x", []string{filepath.Join(dir, "gone")}); err == nil {
		t.Error("over what is gone")
	}
}
