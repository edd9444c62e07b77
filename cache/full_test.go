package cache

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"ore/image"
)

// small mounts a file system of a few MiB.
func small(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=12m"); err != nil {
		t.Skipf("a small file system cannot be mounted (%v): root can", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// stuff writes until nothing more fits.
func stuff(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for piece := bytes.Repeat([]byte("x"), 4096); err == nil; {
		_, err = f.Write(piece)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}

// On a disk without a free byte images are listed and removed, also by one who has
// the list open while it fills; what needs more room is told what to do.
func TestFullDisk(t *testing.T) {
	dir := small(t)
	images, filler := filepath.Join(dir, "images"), filepath.Join(dir, "filler")
	c, err := Open(t.Context(), images)
	if err != nil {
		t.Fatal(err)
	}
	var all []image.Manifest
	for _, name := range []string{"a", "b", "c"} {
		m := made(t, c, name, big(name))
		register(t, c, m, 0)
		all = append(all, m)
	}
	stuff(t, filler)
	if freed, err := c.Forget(t.Context(), all[0].Key); err != nil || freed != all[0].Size() {
		t.Errorf("removed while it is open: %d bytes freed, %v", freed, err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}

	again, err := Open(t.Context(), images)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil { // the room is set aside again
		t.Fatal(err)
	}
	stuff(t, filler)
	full, err := Open(t.Context(), images)
	if err != nil {
		t.Fatalf("opened on a full disk: %v", err)
	}
	defer full.Close()
	if left, err := full.List(t.Context()); err != nil || len(left) != 2 {
		t.Errorf("listed on a full disk: %v, %v", left, err)
	}
	if freed, err := full.Prune(t.Context(), 0); err != nil || freed == 0 {
		t.Errorf("pruned on a full disk: %d bytes freed, %v", freed, err)
	}
}

// Where not even the spare room is left, the error says what to do.
func TestFullDiskWithoutSpareRoom(t *testing.T) {
	dir := small(t)
	images := filepath.Join(dir, "images")
	c, err := Open(t.Context(), images)
	if err != nil {
		t.Fatal(err)
	}
	register(t, c, made(t, c, "a", big("a")), 0)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(images, "spare")); err != nil {
		t.Fatal(err)
	}
	stuff(t, filepath.Join(dir, "filler"))
	full, err := Open(t.Context(), images) // nothing is written for that
	if err != nil {
		t.Fatal(err)
	}
	defer full.Close()
	if _, err := full.List(t.Context()); !errors.Is(err, image.ErrFull) {
		t.Errorf("the error is %v", err)
	}
}
