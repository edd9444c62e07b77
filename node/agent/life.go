package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// life is the folder of one agent, from its start to its end.
type life struct {
	dir  string
	lock *os.File
}

const (
	// unborn begins the names of lives that are not whole yet.
	unborn = "."
	// bornWithin is after which time one that is not whole never will be.
	bornWithin = time.Hour
)

// begin makes a life in an agent's folder, and takes over or removes what dead
// ones left: of blobs that came in part the rest is enough.
func begin(dir string) (*life, error) {
	lives := filepath.Join(dir, "lives")
	if err := os.MkdirAll(lives, 0o700); err != nil {
		return nil, err
	}
	l, err := appear(lives)
	if err != nil {
		return nil, err
	}
	list, err := os.ReadDir(lives)
	if err != nil {
		return nil, errors.Join(err, l.end())
	}
	for _, e := range list {
		old := filepath.Join(lives, e.Name())
		if strings.HasPrefix(e.Name(), unborn) {
			if st, err := e.Info(); err != nil || time.Since(st.ModTime()) < bornWithin {
				continue
			}
		}
		if old != l.dir {
			l.inherit(old)
		}
	}
	return l, nil
}

// appear makes a life that is whole and locked when others see it: agents may start
// at the same moment on one folder, and each takes for dead what has no lock.
func appear(lives string) (*life, error) {
	own, err := os.MkdirTemp(lives, unborn)
	if err != nil {
		return nil, err
	}
	l := &life{dir: own}
	if l.lock, err = lock(own); err != nil {
		return nil, errors.Join(err, os.RemoveAll(own))
	}
	for _, d := range []string{l.chain(), l.jobs()} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return nil, errors.Join(err, l.end())
		}
	}
	whole := filepath.Join(lives, strings.TrimPrefix(filepath.Base(own), unborn))
	if err := os.Rename(own, whole); err != nil {
		return nil, errors.Join(err, l.end())
	}
	l.dir = whole
	return l, nil
}

// lock takes the lock of a life, if nobody has it.
func lock(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", dir, err), f.Close())
	}
	return f, nil
}

// inherit takes what a dead life has of blobs and removes the rest. What cannot
// be removed, or lives, stays for the next: it takes room and nothing else.
func (l *life) inherit(old string) {
	f, err := lock(old)
	if err != nil {
		return
	}
	defer f.Close()
	dead := life{dir: old}
	list, err := os.ReadDir(dead.chain())
	if err == nil {
		for _, e := range list {
			_ = os.Rename(filepath.Join(dead.chain(), e.Name()), filepath.Join(l.chain(), e.Name()))
		}
	}
	_ = os.RemoveAll(old)
}

func (l *life) chain() string { return filepath.Join(l.dir, "chain") }

func (l *life) jobs() string { return filepath.Join(l.dir, "jobs") }

// end removes the life's folder.
func (l *life) end() error { return errors.Join(os.RemoveAll(l.dir), l.lock.Close()) }
