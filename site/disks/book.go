package disks

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ore"
	"ore/cache"
	"ore/image"
	"ore/install/diskimage"
	"ore/site/ledger"
)

const (
	// again is how often the same disks must have been written without their image,
	// within a season, until it is made: what came twice comes a third time.
	again = 2
	// season is how long a note counts: a week has each of its days once.
	season = 7 * 24 * time.Hour
	// maxNotes bounds the folder: more machines that differ come from a test.
	maxNotes = 256
)

// Book notes beside a cache which disk images would have been of use, had they been
// there, in a file for each. Losing it costs nothing but time.
type Book struct {
	Cache *cache.Cache
	Now   func() time.Time // nil is the clock
}

// note is one file.
type note struct {
	Tree  ore.Key
	Shape diskimage.Shape
	Times int
	Last  time.Time
}

const suffix = ".json"

func (b Book) dir() string { return filepath.Join(b.Cache.Dir(), "disks") }

func (b Book) now() time.Time {
	if b.Now != nil {
		return b.Now()
	}
	return time.Now()
}

func (b Book) read(name string) (n note, err error) {
	text, err := os.ReadFile(filepath.Join(b.dir(), name))
	if err == nil {
		err = json.Unmarshal(text, &n)
	}
	return n, err
}

// Note notes that machines with disks of this shape write a tree. It says whether
// their image is now worth making: [Book.Make] does.
func (b Book) Note(tree ore.Key, s diskimage.Shape) (due bool, err error) {
	name := string(diskimage.Environment(tree, s).Key()) + suffix
	n, err := b.read(name)
	if err != nil || b.now().Sub(n.Last) > season { // a damaged one counts as none
		n = note{Tree: tree, Shape: s}
	}
	n.Times, n.Last = n.Times+1, b.now()
	if err := os.MkdirAll(b.dir(), 0o755); err != nil {
		return false, err
	}
	if list, err := os.ReadDir(b.dir()); err != nil || len(list) >= maxNotes && n.Times == 1 {
		return false, err
	}
	text, err := json.Marshal(n)
	if err != nil {
		return false, err
	}
	return n.Times >= again, ledger.WriteWhole(filepath.Join(b.dir(), name), text)
}

// Make makes the images that are worth it, one after the other, as long as idle says
// so, and returns how many, and whether some are left for later. What is made, or can be
// no more, is noted no longer.
func (b Book) Make(ctx context.Context, idle func() bool) (n int, left bool, err error) {
	list, err := os.ReadDir(b.dir())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	for _, e := range list {
		if !strings.HasSuffix(e.Name(), suffix) {
			continue
		}
		want, bad := b.read(e.Name())
		switch {
		case bad != nil || b.now().Sub(want.Last) > season:
		case want.Times < again:
			continue
		case !idle():
			return n, true, err
		default:
			done, e := b.one(ctx, want)
			if ctx.Err() != nil {
				return n, true, ctx.Err()
			}
			if err = errors.Join(err, e); done {
				n++
			}
		}
		err = errors.Join(err, os.Remove(filepath.Join(b.dir(), e.Name())))
	}
	return n, false, err
}

// one makes a disk image, if its tree is still there.
func (b Book) one(ctx context.Context, want note) (bool, error) {
	tree, release, err := b.Cache.Acquire(ctx, want.Tree)
	if image.Unusable(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer release()
	_, made, err := source{tree, want.Shape}.make(ctx, b.Cache, b.Cache.Spare, nil)
	if errors.Is(err, cache.ErrNoSpace) {
		return false, nil // nobody waits for it, and no image goes for it
	}
	return made && err == nil, err
}
