package vmtest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// full: a disk whose file takes no more, since the host is full, fails the guest's
// writes. The machine neither ends nor stands still.
func (s *suite) full(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("who is not root makes no small file system: run it as root")
	}
	c := s.config(t)
	dir := filepath.Join(c.Dir, "test-full")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	room := fmt.Sprintf("size=%d", os.Getpagesize())
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, room); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	c.Disk = filepath.Join(dir, "disk")
	sparse(t, c.Disk, 1<<20)
	if err := os.WriteFile(filepath.Join(dir, "other"), make([]byte, os.Getpagesize()), 0o600); err != nil {
		t.Fatal(err)
	}
	g := s.start(t, c)
	g.say("write %s 0 %x", g.facts.Disks[0].Path, strings.Repeat("more", 1024))
	if got := g.line(); got == "ok" {
		t.Error("the guest is told that a disk has what its file has no room for")
	}
	g.ask("ok", "print goes-on")
	g.say("off")
	if err := g.Wait(); err != nil {
		t.Errorf("after power off: %v", err)
	}
}
