// Package kept bounds what builds leave for later builds. All of it can be made
// or fetched again, at different prices for a byte, and the cheapest goes first:
//
//	trees     trees of bases and of other layers, unpacked; a second of unpacking
//	          the layer. What steps did; running them again
//	packs     decoded packages and compiled modules; decoding them again
//	.debs     the archive may no longer have them, and a lock needs them
//
// and in each class what was not used for longest, as far as files tell:
// whoever uses something calls [Touch].
//
// Builds hold a shared lock on the file lock in the folder. Only while none does
// is anything taken away.
package kept

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ore/install/sandbox"
	"ore/install/workplace"
)

// What kept trees have beside them: the table of owners that a sandbox could not
// give to files themselves, and the list of what is in the tree.
const (
	OwnersSuffix = ".owners"
	NodesSuffix  = ".nodes"
)

// Limit is how much may be kept where nobody says otherwise: a dozen suites' base
// sets with a few hundred packages each.
const Limit int64 = 8 << 30

// ErrBusy is returned while builds use what would be taken away.
var ErrBusy = errors.New("a build is running: try again when it has ended")

// Folders are where things are kept; see the package install for their content.
// An empty name means that there are none of the kind.
type Folders struct {
	Trees, Packs, Compiled, Debs string
	Bases                        string // where it is noted which layers bases have; nothing is taken away there
	Lock                         string // the file that builds lock
	Work                         string // where things go before they are deleted; on the file system of all but Debs
}

// Freed says what was taken away, and what is left.
type Freed struct {
	Trees, Packs, Compiled, Debs int
	Bytes                        int64
	Left                         int64 // bytes
}

// Touch notes that something is used. It does not matter if that fails: then it
// only goes earlier.
func Touch(name string) {
	now := time.Now()
	_ = os.Chtimes(name, now, now) // see above
}

// Use holds the shared lock until the returned function is called. Who has the
// other lock has it for a moment.
func Use(name string) (release func(), err error) {
	f, err := lock(name, unix.LOCK_SH)
	if err != nil {
		return nil, fmt.Errorf("use what is kept: %w", err)
	}
	return func() { f.Close() }, nil // it was not written to
}

func lock(name string, how int) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// thing is what is kept or taken away as a whole.
type thing struct {
	names []string // files and folders; the time of the first counts
	used  time.Time
	bytes int64
	price int // the class, the cheapest first
	count *int
}

// Below returns the folders below that of a builder, all but that of .debs.
func Below(dir string) Folders {
	in := func(name string) string { return filepath.Join(dir, name) }
	return Folders{Trees: in("trees"), Bases: in("bases"), Packs: in("packs"), Compiled: in("compiled"), Work: in("work"), Lock: in("lock")}
}

// Prune takes away the least valuable things until the rest has at most limit
// bytes.
func (f Folders) Prune(ctx context.Context, limit int64) (Freed, error) {
	return f.take(ctx, func(_ thing, left int64) bool { return left > limit })
}

// take takes away the things of which goes says so, the least valuable first,
// given the bytes that are left.
func (f Folders) take(ctx context.Context, goes func(t thing, left int64) bool) (Freed, error) {
	return f.alone(ctx, func(trash string, freed *Freed) error { return f.sift(ctx, trash, freed, goes) })
}

// alone runs change while no build runs, with a folder that is deleted afterwards.
func (f Folders) alone(ctx context.Context, change func(trash string, freed *Freed) error) (freed Freed, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("prune what builds keep: %w", err)
		}
	}()
	if err := os.MkdirAll(f.Work, 0o755); err != nil {
		return freed, err
	}
	trash, err := workplace.Open(ctx, f.Work)
	if err != nil {
		return freed, err
	}
	defer trash.Remove() // after the lock is released: it takes longest
	freed.Bytes += trash.Swept
	l, err := lock(f.Lock, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return freed, ErrBusy
	}
	if err != nil {
		return freed, err
	}
	defer l.Close() // it was not written to
	return freed, change(trash.Dir, &freed)
}

// sift is take for who is alone.
func (f Folders) sift(ctx context.Context, trash string, freed *Freed, goes func(t thing, left int64) bool) error {
	things, err := f.list(freed)
	if err != nil {
		return err
	}
	for _, t := range things {
		freed.Left += t.bytes
	}
	for i, t := range things {
		if ctx.Err() != nil {
			break
		}
		if !goes(t, freed.Left) {
			continue
		}
		if err := t.remove(ctx, filepath.Join(trash, fmt.Sprint(i))); err != nil {
			return err
		}
		freed.Left -= t.bytes
		freed.Bytes += t.bytes
		*t.count++
	}
	return ctx.Err()
}

// remove moves the thing into the folder trash, or deletes it where that cannot be.
func (t *thing) remove(ctx context.Context, trash string) error {
	if err := os.Mkdir(trash, 0o755); err != nil {
		return err
	}
	for _, name := range t.names {
		err := os.Rename(name, filepath.Join(trash, filepath.Base(name)))
		if errors.Is(err, unix.EXDEV) {
			err = sandbox.Remove(ctx, name)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// list finds all things, the least valuable first.
func (f Folders) list(freed *Freed) ([]thing, error) {
	var all []thing
	for price, c := range []struct {
		pattern string
		beside  []string // suffixes of further names; in place of the first one's extension
		count   *int
	}{
		{pattern(f.Trees, "*/*"), []string{OwnersSuffix, NodesSuffix}, &freed.Trees},
		{pattern(f.Packs, "*/*.gob"), []string{".squashfs"}, &freed.Packs},
		{pattern(f.Compiled, "*/*.gob"), []string{".squashfs"}, &freed.Compiled},
		{pattern(f.Debs, "*.deb"), nil, &freed.Debs},
	} {
		names, err := filepath.Glob(c.pattern)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if slices.Contains(c.beside, filepath.Ext(name)) {
				continue
			}
			t := thing{names: []string{name}, price: price, count: c.count}
			for _, ext := range c.beside {
				t.names = append(t.names, strings.TrimSuffix(name, filepath.Ext(name))+ext)
			}
			if t.measure() == nil { // it is still there
				all = append(all, t)
			}
		}
	}
	// Compiled modules cost as much to make again as packs.
	class := func(t thing) int { return []int{0, 1, 1, 2}[t.price] }
	slices.SortFunc(all, func(a, b thing) int {
		return cmp.Or(cmp.Compare(class(a), class(b)), a.used.Compare(b.used), cmp.Compare(a.names[0], b.names[0]))
	})
	return all, nil
}

// pattern matches names in the folder dir; without one it matches nothing.
func pattern(dir, names string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, names)
}

// measure finds out the thing's size and when it was used. What this user cannot
// look into counts as nothing: folders of subordinate ids that are closed to
// others.
func (t *thing) measure() error {
	st, err := os.Lstat(t.names[0])
	if err != nil {
		return err
	}
	t.used = st.ModTime()
	for _, name := range t.names {
		err := filepath.WalkDir(name, func(_ string, d fs.DirEntry, err error) error {
			if err != nil {
				return nil // see above
			}
			if info, err := d.Info(); err == nil && info.Mode().IsRegular() {
				t.bytes += info.Size()
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
