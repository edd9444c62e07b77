package machine

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"ore/image"
	"ore/install/recipe"
)

// roomless says whether an error comes of a full file system: one of a program's says so
// in words alone.
func roomless(err error) bool {
	return errors.Is(err, unix.ENOSPC) || strings.Contains(strings.ToLower(err.Error()), unix.ENOSPC.Error())
}

// fullError is what came of a full file system, in words that say what to do here.
type fullError struct {
	text  string
	cause error
}

// Error returns the words.
func (e *fullError) Error() string { return e.text }

// Unwrap returns the cause.
func (e *fullError) Unwrap() error { return e.cause }

// fullest returns the file system which was full, from after that: of which less than a
// tenth is left or, where what was written is gone by now, which an error names; else /.
func (m *mounts) fullest(err error) (on string) {
	least := uint64(1) // tenths of it that are left
	named := 0
	for i, at := range m.done {
		if strings.Contains(err.Error(), at) { // what is mounted below comes after
			named = i
		}
		var st unix.Statfs_t
		if unix.Statfs(at, &st) != nil || st.Blocks == 0 {
			continue
		}
		left := st.Bavail * 10 / st.Blocks
		if st.Files > 0 {
			left = min(left, st.Ffree*10/st.Files)
		}
		if left < least {
			least, on = left, m.name(i)
		}
	}
	if on == "" && named < len(m.done) {
		on = m.name(named)
	}
	return on
}

// name is where a file system will be mounted, and what it is on.
func (m *mounts) name(i int) string {
	return "/" + strings.Trim(strings.TrimPrefix(m.done[i], m.target), "/") + " on " + m.from[i]
}

// full says what to do about a file system of the machine that is full, in place of what
// is advised about a host's.
func (m *mounts) full(err error) error {
	text := strings.ReplaceAll(err.Error(), ": "+image.ErrFull.Error(), "")
	return recipe.Fault{Err: &fullError{fmt.Sprintf("%s: %s is full: give it more of the disk, or use a larger one (--disk)", text, m.fullest(err)), err}}
}
