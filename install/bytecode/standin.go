package bytecode

import (
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ore/install/sandbox/instead"
)

//go:embed python
var script string

//go:embed py3compile
var toolScript string

// Names in the lent folder, and in that of each call in it.
const (
	lockName  = "lock"  // locked until all that is beside it is there
	filesName = "files" // what a call compiles
	madeName  = "made"  // what came of it
)

// StandIn stands in for an interpreter, and for py3compile. It waits until Calls has told which calls
// are made, and for each of them until it is laid out; after Close it waits for
// nothing. Its methods are for one goroutine at a time.
type StandIn struct {
	Programs [2]instead.Program
	lent     string
	lock     *os.File
	locks    []*os.File // of the calls; nil for one that is laid out
}

// StandIn writes the stand-in into dir, which a tree sees in the interpreter's place,
// and begins the folder lent, which it sees as instead.LentDir.
func (p Python) StandIn(dir, lent string) (*StandIn, error) {
	s := &StandIn{lent: lent}
	for _, d := range []string{dir, lent} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, fmt.Errorf("stand in for %s: %w", p, err)
		}
	}
	names := strings.NewReplacer("PYTHON", string(p), "COMPILER", p.compiler(),
		"DIR", toolDir, "IMPORTED", imported, "LENT", instead.LentDir, "OWN", instead.OwnDir)
	for i, text := range []string{script, toolScript} {
		place := []string{"usr/bin/" + string(p), toolPath}[i]
		s.Programs[i] = instead.Program{Path: place, Host: filepath.Join(dir, path.Base(place))}
		if err := os.WriteFile(s.Programs[i].Host, []byte(names.Replace(text)), 0o755); err != nil {
			return nil, fmt.Errorf("stand in for %s: %w", p, err)
		}
	}
	var err error
	if s.lock, err = hold(filepath.Join(lent, lockName)); err != nil {
		return nil, fmt.Errorf("stand in for %s: %w", p, err)
	}
	return s, nil
}

func (s *StandIn) place(i int) string { return filepath.Join(s.lent, "call-"+strconv.Itoa(i)) }

// Calls tells which files each call compiles.
func (s *StandIn) Calls(calls []Call) error {
	for i, c := range calls {
		if err := os.MkdirAll(filepath.Join(s.place(i), madeName), 0o755); err != nil {
			return fmt.Errorf("lay out compiled modules: %w", err)
		}
		lock, err := hold(filepath.Join(s.place(i), lockName))
		if err != nil {
			return fmt.Errorf("lay out compiled modules: %w", err)
		}
		s.locks = append(s.locks, lock)
		list := strings.Join(slices.Concat(c.Files, []string{""}), "\n")
		if err := os.WriteFile(filepath.Join(s.place(i), filesName), []byte(list), 0o644); err != nil {
			return fmt.Errorf("lay out compiled modules: %w", err)
		}
	}
	return s.lock.Close()
}

// Lay lays out what came of call i.
func (s *StandIn) Lay(i int, c Call) error {
	made := filepath.Join(s.place(i), madeName)
	folders := map[string]bool{}
	for _, f := range c.Made {
		name := filepath.Join(made, f.Path)
		if d := filepath.Dir(name); !folders[d] {
			if err := os.MkdirAll(d, 0o755); err != nil {
				return fmt.Errorf("lay out compiled modules: %w", err)
			}
			folders[d] = true
		}
		if err := os.WriteFile(name, f.Content, 0o644); err != nil {
			return fmt.Errorf("lay out compiled modules: %w", err)
		}
	}
	return s.laid(i)
}

// Adopt lays out what came of call i, which is in a folder on the same file system.
func (s *StandIn) Adopt(i int, folder string) error {
	made := filepath.Join(s.place(i), madeName)
	if err := errors.Join(os.Remove(made), os.Rename(folder, made)); err != nil {
		return fmt.Errorf("lay out compiled modules: %w", err)
	}
	return s.laid(i)
}

// laid frees the lock of call i.
func (s *StandIn) laid(i int) error {
	lock := s.locks[i]
	s.locks[i] = nil
	return lock.Close()
}

// Close gives up: of a call that is not laid out nothing is copied.
func (s *StandIn) Close() {
	for i, lock := range s.locks {
		if lock == nil {
			continue
		}
		_ = os.Remove(filepath.Join(s.place(i), filesName)) // the stand-in looks for it once the lock is free
		lock.Close()
	}
	s.lock.Close()
}
