package inputs

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"ore"
)

// Listing is what a host file or folder looks like from outside.
type Listing struct {
	Top     string // without symbolic links
	Entries []Entry
	Stamp   ore.Digest // changes when anything in it does
	Bytes   int64      // of regular files
	settled bool       // nothing has changed within a tick of being looked at
}

// Entry is one name of a listing, in the order of filepath.WalkDir.
type Entry struct {
	Path string // relative to the top; "." for the top itself
	Mode fs.FileMode
	Size int64
	Link string // of a symbolic link
	id   [2]uint64
	many bool // it has further names
}

// Ticks are how far apart two changes must be to have different times: a tick of
// the slowest kernel clock (CONFIG_HZ=100, twice), or, where times are whole
// seconds, those of the coarsest file systems.
const (
	tick       = 20 * time.Millisecond
	coarseTick = 2 * time.Second
)

// Look lists the file or folder at path. Symbolic links at the top are followed;
// below, links stay links. What is neither file, folder nor link is refused.
func Look(path string) (Listing, error) { return look(path, time.Now()) }

// look is Look at a time.
func look(path string, now time.Time) (Listing, error) {
	l := Listing{settled: true}
	var err error
	if l.Top, err = filepath.EvalSymlinks(path); err != nil {
		return l, err
	}
	sum := sha256.New()
	w := bufio.NewWriterSize(sum, 64<<10)
	err = filepath.WalkDir(l.Top, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		e, st, err := lookAt(l.Top, p)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "%s\x00%s\x00%o %d %d.%d %d.%d %d %d\n", e.Path, e.Link, st.Mode, st.Size,
			st.Mtim.Sec, st.Mtim.Nsec, st.Ctim.Sec, st.Ctim.Nsec, st.Dev, st.Ino)
		l.settled = l.settled && settledAt(st, now)
		if e.Mode.IsRegular() {
			l.Bytes += e.Size
		}
		l.Entries = append(l.Entries, e)
		return nil
	})
	if err != nil {
		return l, err
	}
	if err := w.Flush(); err != nil {
		return l, err
	}
	l.Stamp = ore.NewDigest([sha256.Size]byte(sum.Sum(nil)))
	return l, nil
}

func lookAt(top, p string) (Entry, *syscall.Stat_t, error) {
	var e Entry
	info, err := os.Lstat(p)
	if err != nil {
		return e, nil, err
	}
	if e.Path, err = filepath.Rel(top, p); err != nil {
		return e, nil, err
	}
	e.Mode = info.Mode()
	switch {
	case e.Mode&fs.ModeSymlink != 0:
		if e.Link, err = os.Readlink(p); err != nil {
			return e, nil, err
		}
	case !e.Mode.IsRegular() && !e.Mode.IsDir():
		return e, nil, fmt.Errorf("%s: a %s: only files, folders and links can be given", p, e.Mode.Type())
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return e, nil, fmt.Errorf("%s: no inode", p)
	}
	e.Size, e.id, e.many = info.Size(), [2]uint64{uint64(st.Dev), st.Ino}, st.Nlink > 1 && e.Mode.IsRegular()
	return e, st, nil
}

// settledAt says whether a change after now would show in the times.
func settledAt(st *syscall.Stat_t, now time.Time) bool {
	wait := tick
	if st.Ctim.Nsec == 0 {
		wait = coarseTick
	}
	return time.Unix(st.Ctim.Unix()).Add(wait).Before(now)
}
