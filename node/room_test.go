package node

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ore/image"
	"ore/node/installing"
)

// A machine whose disk fails because the host is full is not told to have a broken one
// alone; where there is room, nothing is added.
func TestRoomless(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("who is not root makes no small file system: run it as root")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4m"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, 0)
	said := &installing.Error{Stage: "base", Text: "the disk is broken or full"}
	if err := roomless(dir, said); err != said {
		t.Errorf("with room: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "disk"), make([]byte, 4<<20-leastRoom/2), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := roomless(dir, nil); err != nil {
		t.Errorf("of no error: %v", err)
	}
	err := roomless(dir, said)
	var same *installing.Error
	if !errors.As(err, &same) || !errors.Is(err, image.ErrFull) || !strings.Contains(err.Error(), "no room for its disk in "+dir) {
		t.Errorf("without room: %v", err)
	}
}
