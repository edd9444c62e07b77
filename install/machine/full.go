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

// fullest returns the file system of which the least part is left, and whether it is full:
// after an error for which it was, at most a tenth is left of it. A disk that takes no
// more is none.
func (m *mounts) fullest() (on string, full bool) {
	least := uint64(10) // tenths of it that are left
	for i, at := range m.done {
		var st unix.Statfs_t
		if unix.Statfs(at, &st) != nil || st.Blocks == 0 {
			continue
		}
		left := st.Bavail * 10 / st.Blocks
		if st.Files > 0 {
			left = min(left, st.Ffree*10/st.Files)
		}
		if left < least {
			least, on = left, "/"+strings.Trim(strings.TrimPrefix(at, m.target), "/")+" on "+m.from[i]
		}
	}
	return on, least == 0
}

// full says what to do about a file system of the machine that is full, in place of what
// is advised about a host's. It is nil where none is.
func (m *mounts) full(err error) error {
	on, full := m.fullest()
	if !full {
		return nil
	}
	text := strings.ReplaceAll(err.Error(), ": "+image.ErrFull.Error(), "")
	return recipe.Fault{Err: &fullError{fmt.Sprintf("%s: %s is full: give it more of the disk, or use a larger one (--disk)", text, on), err}}
}
