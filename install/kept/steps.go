package kept

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Step is the path, in a folder of trees, of what the step with a key did over what
// others did, which over lists: folders that exist. Two runs of one step may differ, so
// that the path says which runs of the others were seen. Where one of these is taken away
// and run again, nobody finds any more what was done over it.
func Step(trees, key string, over []string) (string, error) {
	name := StepPrefix + key
	if len(over) > 0 {
		h := sha256.New()
		for _, dir := range over {
			var st unix.Statx_t
			if err := unix.Statx(unix.AT_FDCWD, dir, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
				return "", fmt.Errorf("look at what a step did: %s: %w: build again", dir, err)
			}
			of, err := run(dir, st)
			if err != nil {
				return "", fmt.Errorf("look at what a step did: %w: build again", err)
			}
			io.WriteString(h, of)
		}
		name += "-" + hex.EncodeToString(h.Sum(nil))
	}
	return filepath.Join(trees, name), nil
}

// run says by which run of a step a folder was left, given what the file system says of
// it: its inode, and when it was born. Where that is not known, the first name in it
// stands for the folder, whose own times change whenever it is used ([Touch]): nobody
// changes what is in there. Of runs that left nothing, any may stand for another.
func run(dir string, st unix.Statx_t) (string, error) {
	if st.Mask&unix.STATX_BTIME != 0 {
		return fmt.Sprintln(st.Ino, st.Btime.Sec, st.Btime.Nsec), nil
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) == 0 {
		return fmt.Sprintln(st.Ino), err
	}
	var first unix.Stat_t
	if err := unix.Lstat(filepath.Join(dir, names[0].Name()), &first); err != nil {
		return "", fmt.Errorf("%s: %w", filepath.Join(dir, names[0].Name()), err)
	}
	return fmt.Sprintln(st.Ino, first.Ino, first.Ctim.Sec, first.Ctim.Nsec), nil
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
