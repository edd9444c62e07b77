package node

import (
	"fmt"

	"golang.org/x/sys/unix"

	"ore/image"
)

// leastRoom is what is left, at least, of a file system that still takes what a machine
// writes at once.
const leastRoom = 1 << 20

// roomless adds to the error of a machine that its host has no room for its disk, if
// that is so: a disk is a sparse file in dir, and to the machine one that cannot grow is
// a broken one.
func roomless(dir string, err error) error {
	var st unix.Statfs_t
	if err == nil || unix.Statfs(dir, &st) != nil || int64(st.Bavail)*st.Bsize >= leastRoom {
		return err
	}
	return fmt.Errorf("%w: there is no room for its disk in %s: %w", err, dir, image.ErrFull)
}
