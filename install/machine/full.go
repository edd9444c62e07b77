package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"ore/deb/fetch"
	"ore/image"
	"ore/install/recipe"
)

// fullBelow is the part of a file system below which that is left it is full: ext4 keeps
// a fiftieth that not even root gets, and who finds no room removes what it began.
const fullBelow = 1.0 / 20

// fullError is what came of a full file system, in words that say what to do here.
type fullError struct {
	text  string
	cause error
}

// Error returns the words.
func (e *fullError) Error() string { return e.text }

// Unwrap returns the cause.
func (e *fullError) Unwrap() error { return e.cause }

// full says what to do about a file system of the machine that is full, in place of what
// is advised about a host's. An error of which it is not known that one was stays as it
// is: of other limits, and of other machines' disks, the words are the same.
func (m *mounts) full(err error) error {
	i := m.fullest(err)
	if i < 0 {
		return err
	}
	text := strings.ReplaceAll(err.Error(), ": "+image.ErrFull.Error(), "")
	return recipe.Fault{Err: &fullError{fmt.Sprintf("%s: %s is full: give it more of the disk, or use a larger one (--disk)", text, m.name(i)), err}}
}

// fullest returns which file system had no room for what an error tells of, -1 if none is
// known to: that in which a write of ours failed, whatever became of it since; else one
// that is full now, of several the one that is named, or has the least part left.
func (m *mounts) fullest(err error) int {
	path, ok := roomless(said(err))
	if !ok {
		return -1
	}
	named, ours := m.holder(path)
	if ours && noRoom(err) {
		return named
	}
	found, least := -1, fullBelow
	for i, at := range m.done {
		left := left(at)
		if left < fullBelow && i == named {
			return i
		}
		if left < least {
			found, least = i, left
		}
	}
	return found
}

// said returns what an error says without what servers do, which is of their own disks.
func said(err error) string {
	text := err.Error()
	for _, e := range parts(err) {
		if s, ok := e.(*fetch.StatusError); ok {
			text = strings.ReplaceAll(text, s.Error(), "")
		}
	}
	return text
}

// parts returns an error and all that it is made of.
func parts(err error) []error {
	all := []error{err}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		if in := e.Unwrap(); in != nil {
			all = append(all, parts(in)...)
		}
	case interface{ Unwrap() []error }:
		for _, in := range e.Unwrap() {
			all = append(all, parts(in)...)
		}
	}
	return all
}

// noRoom says whether an error comes of a system call of this program that found no room
// in a file system: that of one which starts a process is another limit's (clone(2)).
func noRoom(err error) bool {
	var path *fs.PathError
	return errors.Is(err, unix.ENOSPC) && (!errors.As(err, &path) || path.Op != "fork/exec")
}

// absolute finds absolute paths in what programs say.
var absolute = regexp.MustCompile("(?:^|[\\s'\"`(‘“])(/[^\\s'\"`:’”)]*)")

// roomless says whether a text says that there is no room, and the path before that, ""
// if there is none.
func roomless(text string) (path string, ok bool) {
	for line := range strings.Lines(text) {
		at := strings.Index(strings.ToLower(line), unix.ENOSPC.Error())
		if at < 0 {
			continue
		}
		ok = true
		if all := absolute.FindAllStringSubmatch(line[:at], -1); len(all) > 0 {
			return all[len(all)-1][1], true
		}
	}
	return "", ok
}

// holder returns the file system that a path is on, -1 for no path, and whether the path
// is one of here: else it may be the machine's own.
func (m *mounts) holder(path string) (i int, here bool) {
	if path == "" {
		return -1, false
	}
	below := func(at string) bool { return path == at || strings.HasPrefix(path, at+"/") }
	if here = below(filepath.Clean(m.target)); !here {
		path = filepath.Join(m.target, path)
	}
	i = -1
	for j, at := range m.done { // what is mounted below comes after
		if below(at) {
			i = j
		}
	}
	return i, here && i >= 0
}

// left returns the part of a file system that root has left, of its bytes or of its files;
// 1 if that is not known.
func left(at string) float64 {
	var st unix.Statfs_t
	if unix.Statfs(at, &st) != nil || st.Blocks == 0 {
		return 1
	}
	part := float64(st.Bfree) / float64(st.Blocks)
	if st.Files > 0 {
		part = min(part, float64(st.Ffree)/float64(st.Files))
	}
	return part
}

// name is where a file system will be mounted, and what it is on.
func (m *mounts) name(i int) string {
	return "/" + strings.Trim(strings.TrimPrefix(m.done[i], m.target), "/") + " on " + m.from[i]
}
