package rpm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ore/install/kept"
	"ore/install/sandbox"
)

// lockName is the file in the folder that who uses what is kept there has locked,
// shared.
const lockName = "lock"

// use keeps others from pruning until release is called.
func (m *Maker) use() (release func(), err error) { return kept.Use(m.path(lockName)) }

// something is what is kept and goes as a whole.
type something struct {
	path  string
	class int // the cheapest to have again first
	used  time.Time
	bytes int64
}

// Prune removes what a maker keeps in dir until the rest has at most limit bytes,
// and says how many came free and are left. Programs go first, which are unpacked
// again in seconds, then indexes, and packages last, which a repository may not
// have any more; of each what was not used for longest. While somebody makes
// something there nothing goes, and 0 is left: the next time will do.
func Prune(ctx context.Context, dir string, limit int64) (freed, left int64, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("prune what RPM environments are made of: %w", err)
		}
	}()
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, nil // nobody has made anything
	}
	if err != nil {
		return 0, 0, err
	}
	defer f.Close() // it was not written to
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return 0, 0, nil
	} else if err != nil {
		return 0, 0, err
	}
	all, err := list(dir)
	if err != nil {
		return 0, 0, err
	}
	for _, s := range all {
		left += s.bytes
	}
	for _, s := range all {
		if left <= limit || ctx.Err() != nil {
			break
		}
		if err := sandbox.Remove(ctx, s.path); err != nil {
			return freed, left, err
		}
		freed, left = freed+s.bytes, left-s.bytes
	}
	return freed, left, ctx.Err()
}

// list finds all that is kept, in the order in which it goes.
func list(dir string) ([]something, error) {
	var all []something
	for class, pattern := range []string{filepath.Join(toolsDir, "trees", "*"), filepath.Join(indexesDir, "*"), filepath.Join(packagesDir, "*")} {
		names, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			info, err := os.Lstat(name)
			if err != nil {
				continue // somebody else has removed it
			}
			all = append(all, something{name, class, info.ModTime(), size(name)})
		}
	}
	slices.SortFunc(all, func(a, b something) int {
		return cmp.Or(cmp.Compare(a.class, b.class), a.used.Compare(b.used), cmp.Compare(a.path, b.path))
	})
	return all, nil
}

// size counts the bytes of files. What this user cannot look into counts as nothing.
func size(name string) (bytes int64) {
	// The function that is called returns no error.
	_ = filepath.WalkDir(name, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
			bytes += info.Size()
		}
		return nil
	})
	return bytes
}
