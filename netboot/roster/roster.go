package roster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"ore"
	"ore/netboot/keep"
	"ore/netboot/link"
)

const (
	// maxMachines bounds the file that every change writes anew.
	maxMachines = 4096
	// maxWaiting is how many strangers may wait: whoever is on the network can
	// make more of them.
	maxWaiting = 256
	// strangerTime is after how long a stranger who does not ask again makes room.
	strangerTime = time.Hour
	// lookEvery is how often Await looks whether another process wrote.
	lookEvery = 200 * time.Millisecond
)

// The defaults of Limits.
const (
	// defaultSilence covers the longest that an installer has nothing to say:
	// a slow disk's format, a maintainer script.
	defaultSilence = 15 * time.Minute
	// defaultAttempts lets a machine lose its power twice.
	defaultAttempts = 3
)

// Limits bound a machine's way; zero values stand for the defaults.
type Limits struct {
	Silence  time.Duration
	Attempts int
}

// Roster is the machines of a site. It may be used by several goroutines.
type Roster struct {
	path   string
	limits Limits

	mu   sync.Mutex // guards what follows
	seen fs.FileInfo
	sure bool // seen is old enough that another file would look otherwise
	book *book
}

// racy is within which time two files may have one inode number and one time of
// change: the kernel's clock for these ticks every few milliseconds.
const racy = 100 * time.Millisecond

// book is the file's content.
type book struct {
	Machines map[link.MAC]Machine `json:"machines"`
	Systems  map[ore.Digest]kept  `json:"systems"`
}

// Open uses the roster in the folder dir, which is made if need be.
func Open(dir string, l Limits) (*Roster, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("roster: %w", err)
	}
	r := in(dir, l)
	err := r.change(func(b *book) (bool, error) { return false, errors.Join(keep.Sweep(r.path), r.tidy(b)) })
	if err != nil {
		return nil, fmt.Errorf("roster: %w", err)
	}
	return r, nil
}

// Look is Open for who only asks of machines that are there: nothing is made, and
// where there is no folder, or no roster in it, there are no machines.
func Look(dir string, l Limits) (*Roster, error) {
	r := in(dir, l)
	if _, err := r.All(); err != nil {
		return nil, fmt.Errorf("roster: %w", err)
	}
	return r, nil
}

// in is the roster in a folder that is not looked at yet.
func in(dir string, l Limits) *Roster {
	if l.Silence == 0 {
		l.Silence = defaultSilence
	}
	if l.Attempts == 0 {
		l.Attempts = defaultAttempts
	}
	return &Roster{path: filepath.Join(dir, "machines.json"), limits: l}
}

// load reads the file if it is another than the one that was read last. Files
// are replaced, never written in place, so a file that is the same has the same
// content. The caller holds mu.
func (r *Roster) load() error {
	info, err := os.Stat(r.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if r.book != nil && r.sure && info != nil && os.SameFile(r.seen, info) && r.seen.ModTime().Equal(info.ModTime()) {
		return nil
	}
	b := &book{Machines: map[link.MAC]Machine{}, Systems: map[ore.Digest]kept{}}
	if err := keep.Load(r.path, b); err != nil {
		return err
	}
	r.book = b
	r.saw(info)
	return nil
}

// saw notes which file the book is of; info is nil where there is none.
func (r *Roster) saw(info fs.FileInfo) {
	r.seen = info
	r.sure = info != nil && time.Since(info.ModTime()) > racy
}

// change lets f change the newest content, alone in the world, and keeps it if
// f says so.
func (r *Roster) change(f func(*book) (bool, error)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	unlock, err := keep.Lock(r.path+".lock", false)
	if err != nil {
		return err
	}
	defer unlock()
	if err := r.load(); err != nil {
		return err
	}
	old := r.book
	next := &book{Machines: maps.Clone(old.Machines), Systems: maps.Clone(old.Systems)}
	changed, err := f(next)
	if err != nil || !changed {
		return err
	}
	next.sweep()
	if err := keep.Store(r.path, next); err != nil {
		return err
	}
	if !maps.Equal(next.recipes(), old.recipes()) {
		_ = r.tidy(next) // what is not removed now is when the roster is opened next
	}
	r.book, r.sure = next, false // it is read once more when it has been there for a while
	return nil
}

// sweep drops systems that no machine is or is to become.
func (b *book) sweep() {
	used := map[ore.Digest]bool{}
	for _, m := range b.Machines {
		used[m.Want], used[m.Is] = true, true
	}
	maps.DeleteFunc(b.Systems, func(d ore.Digest, _ kept) bool { return !used[d] })
}

// All returns the machines, by name and hardware address.
func (r *Roster) All() ([]Machine, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.load(); err != nil {
		return nil, err
	}
	return slices.SortedFunc(maps.Values(r.book.Machines), func(a, b Machine) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return strings.Compare(a.MAC.String(), b.MAC.String())
	}), nil
}

// Find returns the machine of a card; false when it is unknown.
func (r *Roster) Find(m link.MAC) (Machine, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.load(); err != nil {
		return Machine{}, false, err
	}
	found, ok := r.book.Machines[m]
	return found, ok, nil
}

// System returns a system that a machine is or is to become.
func (r *Roster) System(d ore.Digest) (System, bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.load(); err != nil {
		return System{}, false, err
	}
	k, ok := r.book.Systems[d]
	if !ok {
		return System{}, false, nil
	}
	s, err := r.whole(k)
	return s, err == nil, err
}

// Systems returns all that machines are or are to become.
func (r *Roster) Systems() ([]System, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.load(); err != nil {
		return nil, err
	}
	var all []System
	for _, k := range r.book.Systems {
		s, err := r.whole(k)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}

// Order is what an operator wants of a machine.
type Order struct {
	MAC    link.MAC
	Name   string // of the machine, for people and for its host's name
	System System
	Again  bool // install it even if it already is what it should be
}

// Assign says what a machine is to become. One that is it already stays as it
// is unless the order is to do it again.
func (r *Roster) Assign(o Order, now time.Time) (Machine, error) {
	if err := errors.Join(CheckName(o.Name), o.System.Check()); err != nil {
		return Machine{}, fmt.Errorf("assign %s: %w", o.MAC, err)
	}
	want := o.System.Digest()
	var m Machine
	err := r.change(func(b *book) (bool, error) {
		if err := b.free(o.Name, o.MAC); err != nil {
			return false, err
		}
		var known bool
		if m, known = b.Machines[o.MAC]; !known {
			if len(b.Machines) >= maxMachines {
				return false, fmt.Errorf("there are %d machines, and no more can be known: forget some", maxMachines)
			}
			m = Machine{MAC: o.MAC}
		}
		m.Name = o.Name
		under := m.Want == want && (m.State == Installing || m.State == Restarting)
		if m.State == Installed && m.Is == want && !o.Again || under && !o.Again {
			b.Machines[o.MAC] = m
			return true, nil
		}
		m.Want, m.State, m.Since, m.Tries, m.Reason = want, Assigned, now, 0, ""
		m.Stages, m.Token, m.Offers, m.Last, m.Began = nil, "", nil, 0, time.Time{}
		b.Machines[o.MAC], b.Systems[want] = m, o.System.kept()
		return true, r.store(o.System)
	})
	if err != nil {
		return Machine{}, fmt.Errorf("assign %s: %w", o.MAC, err)
	}
	return m, nil
}

// Free says what is wrong with a name for a machine: it is none for a host, or is
// another machine's.
func (r *Roster) Free(name string, m link.MAC) error {
	if err := CheckName(name); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.load(); err != nil {
		return err
	}
	return r.book.free(name, m)
}

func (b *book) free(name string, m link.MAC) error {
	for _, other := range b.Machines {
		if other.Name == name && other.MAC != m {
			return fmt.Errorf("name %s: is that of %s: take another one, or forget that machine", name, other.MAC)
		}
	}
	return nil
}

// Forget removes a machine, and says whether it was known.
func (r *Roster) Forget(m link.MAC) (bool, error) {
	var known bool
	err := r.change(func(b *book) (bool, error) {
		_, known = b.Machines[m]
		delete(b.Machines, m)
		return known, nil
	})
	return known, err
}

// Await returns the machine as soon as done is true of it. Other processes may
// be what changes it.
func (r *Roster) Await(ctx context.Context, m link.MAC, done func(Machine) bool) (Machine, error) {
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		found, known, err := r.Find(m)
		if err != nil || known && done(found) {
			return found, err
		}
		select {
		case <-ctx.Done():
			return found, fmt.Errorf("wait for %s: %w", m, ctx.Err())
		case <-look.C:
		}
	}
}
