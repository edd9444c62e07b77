package host

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// The state is the same until something changes that decides, here the limit of
// processes and the file system; files in the folder do not.
func TestState(t *testing.T) {
	dir := t.TempDir()
	was := state(dir)
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if state(dir) != was {
		t.Error("a file in the folder makes a difference")
	}
	if state("/proc") == state("/dev") {
		t.Error("another file system makes none")
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NPROC, &limit); err != nil {
		t.Fatal(err)
	}
	less := limit
	less.Cur--
	if err := unix.Setrlimit(unix.RLIMIT_NPROC, &less); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Setrlimit(unix.RLIMIT_NPROC, &limit) })
	if state(dir) == was {
		t.Error("a limit makes none")
	}
}

// A note is found until it is doubted, and one that is damaged is none.
func TestNote(t *testing.T) {
	dir := t.TempDir()
	if got := Noted(dir); got != "" {
		t.Errorf("an empty folder says %q", got)
	}
	if err := Note(dir, "this"); err != nil {
		t.Fatal(err)
	}
	if got := Noted(dir); got != "this" {
		t.Errorf("noted is %q", got)
	}
	b, err := os.ReadFile(place(dir))
	if err != nil {
		t.Fatal(err)
	}
	for n := range b {
		if err := os.WriteFile(place(dir), b[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if got := Noted(dir); got != "" {
			t.Fatalf("%d bytes of the note say %q", n, got)
		}
	}
	if err := Note(dir, "that"); err != nil || Noted(dir) != "that" {
		t.Errorf("noted is %q, %v", Noted(dir), err)
	}
	Doubt(dir)
	if list, err := os.ReadDir(dir); err != nil || len(list) != 0 || Noted(dir) != "" {
		t.Errorf("left are %v, %v", list, err)
	}
	if err := Note(filepath.Join(dir, "none"), "x"); err == nil {
		t.Error("a note in a folder that is not there was kept")
	}
}
