// Package instead shows a program that runs in a tree others than the tree's own
// programs in their places. Nothing in the tree changes: all is mounts, in a mount
// namespace that ends with what runs there.
package instead

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Where a tree sees what is not its own. Being below /dev, it is in no tree.
const (
	OwnDir  = "/dev/ore/own"  // the programs for which others stand in, under their names
	LentDir = "/dev/ore/lent" // the folder that was lent
)

// Program is a program of a tree for which another one stands in. If the tree
// does not have it, nothing stands in for it.
type Program struct {
	Path string // of the program, relative to the tree
	Host string // of the file that is seen there
}

// Set is all that is seen in a tree instead of its own. The zero value is nothing.
type Set struct {
	Programs []Program
	Lend     string // a folder of the host that is seen as LentDir; "" for none
}

// Mount mounts the set in the tree root, which has a /dev of its own.
func (s Set) Mount(root string) error {
	if s.Lend == "" && len(s.Programs) == 0 {
		return nil
	}
	own, lent := filepath.Join(root, OwnDir), filepath.Join(root, LentDir)
	for _, d := range []string{own, lent} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("stand in: %w", err)
		}
	}
	if s.Lend != "" {
		if err := unix.Mount(s.Lend, lent, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("lend %s: %w", s.Lend, err)
		}
	}
	for _, p := range s.Programs {
		if err := p.mount(root, own); err != nil {
			return fmt.Errorf("stand in for %s: %w", p.Path, err)
		}
	}
	return nil
}

// mount shows the tree's own program in the folder own and the other in its
// place. Links on the way are followed as if the tree were "/".
func (p Program) mount(root, own string) error {
	fd, err := unix.Open(root, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	at, err := unix.Openat2(fd, p.Path, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT,
	})
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(at)
	place, aside := fmt.Sprintf("/proc/self/fd/%d", at), filepath.Join(own, path.Base(p.Path))
	if err := os.WriteFile(aside, nil, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(place, aside, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	return unix.Mount(p.Host, place, "", unix.MS_BIND, "")
}
