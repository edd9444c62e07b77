package results

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"ore/image"
)

// fullError is an error of a disk without room for results, and what to do.
type fullError struct{ error }

// Error says both.
func (e fullError) Error() string {
	return e.error.Error() + ": free some space, or name another folder with --results"
}

// Unwrap returns the system's error.
func (e fullError) Unwrap() error { return e.error }

// Is lets nobody give further advice: the disk of the images is not meant.
func (e fullError) Is(other error) bool { return other == image.ErrFull }

// Full says what to do about an error that comes of a full disk, once.
func Full(err error) error {
	if (errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)) && !errors.Is(err, image.ErrFull) {
		return fullError{err}
	}
	return err
}

// room is what result.json is sure to have from the start, whatever the job
// writes: enough for some hundred machines.
const room = 128 << 10

// reserve takes the room for result.json in a file that has no name. It gives
// nil where the file system cannot do that (open(2), fallocate(2)).
func reserve(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, 0o666)
	if err != nil {
		return nil, nil // Finish says what cannot be written
	}
	err = unix.Fallocate(fd, 0, 0, room)
	for errors.Is(err, unix.EINTR) {
		err = unix.Fallocate(fd, 0, 0, room)
	}
	f := os.NewFile(uintptr(fd), filepath.Join(dir, "result.json"))
	if err == nil {
		return f, nil
	}
	f.Close() // it is empty
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return nil, &os.PathError{Op: "write", Path: f.Name(), Err: err}
	}
	return nil, nil
}

// writeReserved is WriteWhole with the room that was reserved.
func writeReserved(f *os.File, content []byte) error {
	defer f.Close()
	if _, err := f.Write(content); err != nil {
		return err
	}
	if err := f.Truncate(int64(len(content))); err != nil {
		return err
	}
	return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, f.Name(), unix.AT_SYMLINK_FOLLOW)
}

// Log is a file of a job's output. What cannot be written is lost, and the job
// goes on: it is not to blame for a full disk.
type Log struct {
	mu   sync.Mutex // guards all below
	file *os.File
	lost error
	tell func(error)
}

// Log makes the file name in the folder of a part. tell is called once, with why
// output is lost from then on.
func (f *Folder) Log(part, name string, tell func(error)) (*Log, error) {
	dir, err := f.Part(part)
	if err != nil {
		return nil, err
	}
	file, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		return nil, fmt.Errorf("results: %w", Full(err))
	}
	return &Log{file: file, tell: tell}, nil
}

// Write writes as long as that works, and takes all.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lost != nil {
		return len(p), nil
	}
	if _, err := l.file.Write(p); err != nil {
		l.lost = Full(err)
		l.tell(l.lost)
	}
	return len(p), nil
}

// Lost says why output was lost, nil if none was.
func (l *Log) Lost() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Close closes the file; of an error Lost tells.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.file.Close(); err != nil && l.lost == nil {
		l.lost = Full(err)
	}
	return l.lost
}
