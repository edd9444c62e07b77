// Package recheck builds again from nothing what was built from another image,
// while the host has nothing better to do, and compares. Two alike prove that the
// packages that came and went leave no trace: they need not be known beforehand
// the next time. Two that differ prove the contrary: the image is replaced by the
// one from nothing, and those packages are not believed any more.
//
// What is to be compared stands in a file, and what was seen of packages in
// another, in the form of package exact. A damaged line is left out: all of it is
// a chance to learn, and nothing depends on it.
package recheck

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ore"
	"ore/cache"
	"ore/image"
	"ore/install/exact"
	"ore/site/ledger"
)

// most is how many images are noted: more are built between two idle hours only
// where they are not asked for again. The oldest are forgotten.
const most = 256

// Book is the two files, in one folder.
type Book struct {
	Dir string // the state folder
}

// Partial is an image that was built from another one.
type Partial struct {
	Key    ore.Key
	Relied string // on packages that are exact: text of exact.Memory
}

func (b Book) seenPath() string     { return filepath.Join(b.Dir, "packages.txt") }
func (b Book) partialsPath() string { return filepath.Join(b.Dir, "partials.jsonl") }

// Seen returns what this site has seen of packages that come and go.
func (b Book) Seen() (exact.Memory, error) {
	text, err := os.ReadFile(b.seenPath())
	if errors.Is(err, fs.ErrNotExist) {
		return exact.Memory{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what was seen of packages: %w", err)
	}
	m, err := exact.ReadMemory(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w: delete it", b.seenPath(), err)
	}
	return m, nil
}

// Partials returns the images that are to be compared, the oldest first.
func (b Book) Partials() ([]Partial, error) {
	text, err := os.ReadFile(b.partialsPath())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read what is to be compared: %w", err)
	}
	var all []Partial
	for line := range bytes.Lines(text) {
		var p Partial
		if json.Unmarshal(line, &p) == nil && p.Key != "" {
			all = append(all, p)
		}
	}
	return all, nil
}

// Note notes that the image of env was built from another one, if it can be built
// again by its lock alone.
func (b Book) Note(env ore.Environment, relied exact.Memory) error {
	if why(env) != nil {
		return nil
	}
	key := env.Key()
	return b.change(func(all []Partial) []Partial {
		all = append(without(all, key), Partial{Key: key, Relied: relied.Text()})
		return all[max(0, len(all)-most):]
	})
}

// why says why an image of env cannot be compared. What files and steps make may
// differ for reasons of its own.
func why(env ore.Environment) error {
	if len(env.Files)+len(env.Steps) > 0 {
		return errors.New("it has files or steps of its own")
	}
	for _, src := range env.Sources {
		if src.URI != "" {
			return errors.New("it has further repositories, whose certificates only its job file has")
		}
	}
	return nil
}

func without(all []Partial, key ore.Key) []Partial {
	return slices.DeleteFunc(all, func(p Partial) bool { return p.Key == key })
}

// change writes the list of images anew, one process at a time.
func (b Book) change(to func([]Partial) []Partial) error {
	return b.locked(func() error {
		all, err := b.Partials()
		if err != nil {
			return err
		}
		var text bytes.Buffer
		for _, p := range to(all) {
			if err := json.NewEncoder(&text).Encode(p); err != nil {
				return err
			}
		}
		return ledger.WriteWhole(b.partialsPath(), text.Bytes())
	})
}

// learn adds to what was seen of packages.
func (b Book) learn(m exact.Memory) error {
	if len(m) == 0 {
		return nil
	}
	return b.locked(func() error {
		old, err := b.Seen()
		if err != nil {
			return err
		}
		return ledger.WriteWhole(b.seenPath(), []byte(old.With(m).Text()))
	})
}

func (b Book) locked(do func() error) (err error) {
	lock, err := os.OpenFile(filepath.Join(b.Dir, "partials.lock"), os.O_CREATE|os.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		defer func() { err = errors.Join(err, lock.Close()) }()
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
	}
	if err == nil {
		err = do()
	}
	if err != nil {
		return fmt.Errorf("note images to compare: %w", err)
	}
	return nil
}

// Checker compares images.
type Checker struct {
	Book  Book
	Cache *cache.Cache
	Build func(context.Context, ore.Environment) (image.Manifest, error) // from nothing
	Idle  func() bool                                                    // whether the host has nothing better to do
}

// Outcome is what came of comparing one image.
type Outcome struct {
	Key      ore.Key
	Same     bool
	Was      ore.Digest // its tree
	Clean    ore.Digest // the tree of the one from nothing
	Packages []string   // whose coming and going was believed, in order
	Why      string     `json:",omitempty"` // it could not be compared
}

// String says it.
func (o Outcome) String() string {
	switch {
	case o.Why != "":
		return fmt.Sprintf("%s was not compared: %s", o.Key.Short(), o.Why)
	case o.Same:
		return fmt.Sprintf("%s is as one built from nothing; packages known to leave no trace: %d", o.Key.Short(), len(o.Packages))
	}
	return fmt.Sprintf("%s had tree %s, one built from nothing has %s: it was replaced, and is not built so again; packages that may leave traces: %d",
		o.Key.Short(), o.Was.Short(), o.Clean.Short(), len(o.Packages))
}

// All compares what is noted, the oldest first, for at most budget. What cannot
// be compared is not tried again.
func (c *Checker) All(ctx context.Context, budget time.Duration) ([]Outcome, error) {
	begun := time.Now()
	list, err := c.Book.Partials()
	var all []Outcome
	for _, p := range list {
		if time.Since(begun) >= budget || !c.Idle() {
			break
		}
		within, cancel := context.WithDeadline(ctx, begun.Add(budget))
		o, err := c.One(within, p.Key)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return all, nil
		}
		if err != nil {
			return all, err
		}
		all = append(all, o)
	}
	return all, err
}

// One compares the image of key with one from nothing, which takes its place.
// Jobs that have the old one go on with it.
func (c *Checker) One(ctx context.Context, key ore.Key) (Outcome, error) {
	o := Outcome{Key: key}
	relied, err := c.relied(key)
	if err != nil {
		return o, err
	}
	for _, v := range relied {
		o.Packages = append(o.Packages, v.Package)
	}
	slices.Sort(o.Packages)
	old, release, err := c.Cache.Acquire(ctx, key)
	if image.Unusable(err) {
		o.Why = "it is gone, or nobody who is trusted has signed it"
		return o, c.done(key)
	}
	if err != nil {
		return o, err
	}
	space, err := c.Cache.Spare(ctx, old.Size(), "comparing image "+key.Short())
	if errors.Is(err, cache.ErrNoSpace) {
		release()
		o.Why = err.Error() // it stays noted for later
		return o, nil
	}
	if err != nil {
		release()
		return o, err
	}
	defer space.Release()
	begun := time.Now()
	var clean image.Manifest
	if err = why(old.Environment); err == nil {
		clean, err = c.Build(ctx, old.Environment)
	}
	release() // only now: what it had may go with it
	if ctx.Err() != nil {
		return o, ctx.Err()
	}
	if err != nil {
		o.Why = err.Error()
		return o, c.done(key)
	}
	o.Was, o.Clean, o.Same = old.Tree, clean.Tree, old.Tree == clean.Tree
	if !o.Same {
		relied = relied.Broken()
	}
	if err := c.Book.learn(relied); err != nil {
		return o, err
	}
	// One that is as it should be, but was not made here, is believed from now on.
	if clean, err = c.Cache.Rooted(ctx, clean); err != nil {
		return o, err
	}
	signed, err := c.Cache.Signature(ctx, key)
	if err != nil || signed.Key == "" || clean.Digest() != old.Digest() {
		if _, err := c.Cache.Register(ctx, clean, time.Since(begun)); err != nil {
			return o, err
		}
	}
	return o, c.done(key)
}

// relied returns what an image that is noted relied on.
func (c *Checker) relied(key ore.Key) (exact.Memory, error) {
	all, err := c.Book.Partials()
	if err != nil {
		return nil, err
	}
	for _, p := range all {
		if p.Key == key {
			return exact.ReadMemory(p.Relied)
		}
	}
	return exact.Memory{}, nil
}

func (c *Checker) done(key ore.Key) error {
	return c.Book.change(func(all []Partial) []Partial { return without(all, key) })
}
