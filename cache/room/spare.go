package room

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"ore/image"
)

// spareBytes is what the database needs to take images off its list: the log of
// what is written, which SQLite takes over at 1000 pages of 4 KiB, is the larger
// part, the index of that log 32 KiB (sqlite.org/wal.html).
const spareBytes = 4<<20 + 128<<10

// Spare is a file that takes room on the disk until the database needs it.
type Spare string

// In returns the spare file of a cache's folder.
func In(dir string) Spare { return Spare(filepath.Join(dir, "spare")) }

// Keep makes the file if it is not there. Where there is no room for it, or the
// file system cannot set room aside, there is none.
func (s Spare) Keep() {
	if _, err := os.Stat(string(s)); err == nil {
		return
	}
	f, err := os.OpenFile(string(s), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	if unix.Fallocate(int(f.Fd()), 0, 0, spareBytes) != nil {
		_ = os.Remove(string(s)) // empty, so that it does no harm if it stays
	}
}

// GiveUp frees its room for who met err, and says whether trying again may help:
// whether the disk was full and there was something to free.
func (s Spare) GiveUp(err error) bool { return full(err) && os.Remove(string(s)) == nil }

// full says whether an error comes of a disk without room.
func full(err error) bool {
	var e *sqlite.Error
	if errors.As(err, &e) {
		// The first two are of the index of the log, which has to have its room
		// before it is mapped.
		switch e.Code() {
		case sqlite3.SQLITE_IOERR_SHMSIZE, sqlite3.SQLITE_IOERR_SHMMAP, sqlite3.SQLITE_FULL:
			return true
		}
	}
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// Explain says what to do about an error of the database in file: a disk that is
// full, or a list that is none any more; without the list the images are not
// known, and are built again.
func Explain(err error, file string) error {
	var bad *sqlite.Error
	switch {
	case full(err) && !errors.Is(err, image.ErrFull):
		return fmt.Errorf("%w: %w", err, image.ErrFull)
	case errors.As(err, &bad) && (bad.Code() == sqlite3.SQLITE_NOTADB || bad.Code()&0xff == sqlite3.SQLITE_CORRUPT):
		return fmt.Errorf("%w: the list of images is corrupt: end all jobs and move it away: mv %s %s.bad", err, file, file)
	}
	return err
}
