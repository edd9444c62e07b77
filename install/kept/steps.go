package kept

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Step is the path, in a folder of trees, of what the step with a key did over what
// others did, which over lists: folders that exist. Two runs of one step may differ, so
// that the path says which runs of the others were seen. Where one of these is taken away
// and run again, nobody finds any more what was done over it. A run is known by its
// folder's inode and time of birth.
func Step(trees, key string, over []string) (string, error) {
	name := StepPrefix + key
	if len(over) > 0 {
		h := sha256.New()
		for _, dir := range over {
			var st unix.Statx_t
			if err := unix.Statx(unix.AT_FDCWD, dir, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
				return "", fmt.Errorf("look at what a step did: %s: %w: build again", dir, err)
			}
			fmt.Fprintln(h, st.Ino, st.Btime.Sec, st.Btime.Nsec)
		}
		name += "-" + hex.EncodeToString(h.Sum(nil))
	}
	return filepath.Join(trees, name), nil
}

// Find returns the first path that a pattern matches, "" for none.
func Find(pattern string) string {
	found, _ := filepath.Glob(pattern) // its error is that of a bad pattern
	if len(found) == 0 {
		return ""
	}
	return found[0]
}

// FindStep is [Step] in the first of the folders of trees matching a pattern that has it,
// "" for none.
func FindStep(folders, key string, over []string) string {
	path, err := Step(folders, key, over)
	if err != nil {
		return ""
	}
	return Find(path)
}
