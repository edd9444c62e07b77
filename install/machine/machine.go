package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"ore"
	"ore/install/configure"
	"ore/install/disk"
	"ore/install/diskimage"
	"ore/install/fit"
	"ore/install/recipe"
)

// Tree is what is to be filled.
type Tree struct {
	Target string // where the machine's file systems are mounted
	Recipe recipe.Recipe
	Watch  ore.Watcher
}

// Filler writes to the tree. It holds to nothing in it when it returns.
type Filler func(ctx context.Context, t Tree) error

// Options are what the installer's environment is and can do.
type Options struct {
	Kernel disk.System // where the kernel shows devices
	Target string      // an empty folder, where the machine's file systems are mounted meanwhile
	Report func(recipe.Report)

	Pour Filler // gets the recipe's image: writes it, or lays it ready for Onto where it is not finished
	Onto Filler // installs what lacks, then files and steps: stages "files" and "steps" of its events
	// Disk writes the recipe's disk image; nil is [diskimage.Write].
	Disk func(ctx context.Context, t diskimage.Target) error

	// Command runs a program of the installer's environment and returns what it
	// said; nil runs those of PATH.
	Command func(ctx context.Context, argv []string) ([]byte, error)
	// Configure makes the tree this machine's; nil is [configure.Apply].
	Configure func(ctx context.Context, o configure.Options) error
	// Keep is a folder in memory in which it is noted that packages or steps failed
	// on disks that are whole otherwise: another install with the same recipe, or with
	// one that was begun by it, goes on there, unless the machine was started again
	// meanwhile. "" for never.
	Keep string
	// Load, if not nil, is called with how the machine's own kernel is started,
	// before its files are unmounted: to load it for a start without firmware. It
	// returns how the machine starts again, which is told in place of Starts.
	Load   func(target string, s configure.Start) (starts string, err error)
	Starts string // how the machine starts again, told with the stage restart
}

// Outcome is what came of an install.
type Outcome struct {
	Already bool            // it was what it should be, and nothing was written
	Layout  disk.Layout     // on its disks
	Stages  []recipe.Report // the begin and the end of each stage
}

// Wish returns what the layout of a machine's disks is computed from. With it
// the identifiers on the disks are known before there are disks.
func Wish(r recipe.Recipe) disk.Wish {
	s := r.Storage
	s.Disks = append([]ore.Disk(nil), s.Disks...)
	for i := range s.Disks {
		s.Disks[i].Wipe = false // it says nothing of what will be
	}
	return disk.Wish{Storage: s, Firmware: disk.Firmware(r.System.Firmware), Machine: r.Seed + "\n" + string(r.Disks())}
}

// run is one install.
type run struct {
	Options
	recipe recipe.Recipe
	tell   *teller
	layout disk.Layout
	going  bool  // on, where an earlier install of this boot failed
	unfit  error // why the recipe's disk image is not written, nil if it is
	gone   error // why packages are installed in place of an image, nil if they are not

	flushes atomic.Int32 // how many wait for disks, whose bytes are a sign of life meanwhile
}

// Install makes the machine what the recipe says. Its error has been reported.
func Install(ctx context.Context, r recipe.Recipe, o Options) (Outcome, error) {
	u := &run{Options: o, recipe: r, tell: newTeller(o.Report)}
	if u.Kernel.Root == "" {
		u.Kernel.Root = "/"
	}
	if u.Disk == nil {
		u.Disk = diskimage.Write
	}
	if u.Configure == nil {
		u.Configure = configure.Apply
	}
	already, err := u.do(ctx)
	if err != nil {
		return Outcome{Stages: u.tell.kept}, u.tell.fail(err)
	}
	return Outcome{Already: already, Layout: u.layout, Stages: u.tell.kept}, nil
}

// do goes through the stages.
func (u *run) do(ctx context.Context) (already bool, err error) {
	u.tell.enter(recipe.Begin, u.recipe.Name+": "+string(u.recipe.Strategy))
	if err := u.recipe.Check(); err != nil {
		return false, err
	}
	u.tell.enter(recipe.Hardware, "")
	if err := u.hardware(ctx); err != nil {
		return false, err
	}
	if u.layout.State() == disk.Installed {
		if u.recipe.Begun != "" { // the mark is of the disks' recipe
			return false, errors.New("disks: they are finished, by this recipe or by the one that began it, and nobody knows which: set wipe: true, or start a new machine")
		}
		u.tell.enter(recipe.Restart, "it already is what it should be: nothing was written")
		return true, nil
	}
	if err := fit.Room(u.recipe, u.layout); err != nil {
		return false, err
	}
	if d := u.recipe.Disk; d != nil {
		if u.unfit = d.Fits(u.layout); u.unfit != nil && !u.recipe.Pourable() {
			return false, fmt.Errorf("%w: install from the image", u.unfit)
		}
	}
	defer u.alive()()
	if err := u.write(ctx); err != nil {
		return false, err
	}
	if err := u.finish(); err != nil {
		return false, err
	}
	u.tell.enter(recipe.Restart, u.Starts)
	return false, nil
}

// alive has what takes long be heard while it works, until the function that it
// returns is called.
func (u *run) alive() (end func()) {
	ticker, stop := time.NewTicker(pulseEvery), make(chan struct{})
	p := newPulse(u.Kernel.Root, u.layout)
	beats := func() bool { return p.beats(u.flushes.Load() > 0) }
	var beating sync.WaitGroup
	beating.Go(func() { u.tell.pulse(ticker.C, stop, beats) })
	return func() {
		ticker.Stop()
		close(stop)
		beating.Wait()
	}
}

// flushing has what disks take be a sign of life while write waits for them.
func (u *run) flushing(write func() error) error {
	u.flushes.Add(1)
	defer u.flushes.Add(-1)
	return write()
}

// write makes the file systems and fills them. When it returns, nothing of them
// is in use any more, and if it returns nil, everything has been written out. Where
// the image cannot be had, and packages can, it begins again with these.
func (u *run) write(ctx context.Context) error {
	err := u.once(ctx)
	instead, ok := u.recipe.Instead()
	if !ok || !vanished(ctx, err) || fit.Room(instead, u.layout) != nil {
		return err
	}
	u.tell.enter(recipe.Format, "made anew, for packages in place of the image")
	u.recipe, u.unfit, u.gone = instead, nil, err
	return u.once(ctx)
}

// unhad is why an image was not written.
type unhad struct{ error }

// Unwrap returns the cause.
func (u *unhad) Unwrap() error { return u.error }

// vanished says whether an image could not be had, or was not what it should be: the
// disk is not at fault, and nobody has ended the install.
func vanished(ctx context.Context, err error) bool {
	var u *unhad
	if ctx.Err() != nil || !errors.As(err, &u) {
		return false
	}
	for _, disk := range []error{unix.EIO, unix.EROFS, unix.ENOSPC} {
		if errors.Is(err, disk) {
			return false
		}
	}
	return true
}

// once goes the recipe's way once.
func (u *run) once(ctx context.Context) (err error) {
	u.going = u.resumes()
	whole := u.recipe.Disk != nil && u.unfit == nil
	u.going = u.going && !whole
	doer := disk.Doer{Command: u.Command, Watch: u.watch(map[string]string{"partition": recipe.Partition, "format": recipe.Format})}
	if whole {
		doer.Comes = u.recipe.Disk.Has
	}
	if err := u.prepare(ctx, doer); err != nil {
		return err
	}
	defer doer.Release(u.layout)
	if whole {
		if err := u.whole(ctx); err != nil {
			return &unhad{err}
		}
	}
	m := &mounts{target: u.Target}
	defer func() { err = errors.Join(err, m.release()) }()
	if err := m.all(u.layout); err != nil {
		return err
	}
	if err := u.fill(ctx); err != nil && ctx.Err() == nil {
		return u.flushing(func() error { return m.blame(err) })
	} else if err != nil {
		return err
	}
	if u.Load != nil {
		if err := u.start(); err != nil {
			return err
		}
	}
	u.tell.advance(ore.Event{Text: "write everything out"})
	return u.flushing(m.sync)
}

// prepare makes the file systems, or has those at hand that an earlier install made.
func (u *run) prepare(ctx context.Context, doer disk.Doer) error {
	if u.going {
		err := doer.Restart(ctx, u.layout)
		if err == nil {
			u.tell.enter(recipe.Format, "made before: it goes on where it failed")
			return nil
		}
		u.going = false
		u.tell.advance(ore.Event{Text: fmt.Sprintf("made before, but it starts over: %v", err)})
	}
	_, err := doer.Run(ctx, u.layout)
	return err
}

// whole writes the disk image. Nothing is mounted yet.
func (u *run) whole(ctx context.Context) error {
	d := *u.recipe.Disk
	u.tell.enter(recipe.Root, fmt.Sprintf("disk image of %s, %d bytes", u.recipe.Image.Key.Short(), d.Layer.Size))
	return u.flushing(func() error {
		return u.Disk(ctx, diskimage.Target{Disk: d, Layout: u.layout, From: u.recipe.Blobs[d.Layer.Digest].From, Watch: u.tell.advance})
	})
}

// fill writes the machine's tree.
func (u *run) fill(ctx context.Context) error {
	t := Tree{Target: u.Target, Recipe: u.recipe, Watch: u.tell.advance}
	if m := u.recipe.Image; m != nil && !u.going && (u.recipe.Disk == nil || u.unfit != nil) {
		text := fmt.Sprintf("image %s, %d layers of %d bytes", m.Key.Short(), len(m.Layers), m.Size())
		if u.unfit != nil {
			text += fmt.Sprintf(": %v", u.unfit)
		}
		u.tell.enter(recipe.Root, text)
		if err := u.Pour(ctx, t); err != nil {
			return &unhad{err}
		}
	} else if m == nil {
		text := "none: packages from nothing"
		if u.gone != nil {
			text = Clip(fmt.Sprintf("none: packages in place of the image: %v", u.gone))
		}
		u.tell.enter(recipe.Root, text)
	}
	if u.recipe.Finished() == nil {
		u.tell.enter(recipe.Install, u.lacking())
		t.Watch = u.watch(map[string]string{"files": recipe.Scripts, "steps": recipe.Scripts, "capture": recipe.Capture})
		if err := u.Onto(ctx, t); err != nil {
			return errors.Join(err, u.keep(ctx))
		}
	}
	u.tell.enter(recipe.Configure, "")
	return u.Configure(ctx, configure.Options{Target: u.Target, Recipe: u.recipe, Layout: u.layout, Watch: u.tell.advance})
}

// kept is the note that an install can go on.
func (u *run) kept() string { return filepath.Join(u.Keep, u.recipe.Disks().Hex()) }

// keep notes that another install may go on where this one failed, and from what it
// installs. The note does not outlive a loss of power, after which nobody knows what
// the disks have.
func (u *run) keep(ctx context.Context) error {
	if u.Keep == "" || ctx.Err() != nil {
		return nil
	}
	if err := os.MkdirAll(u.Keep, 0o700); err != nil {
		return err
	}
	return os.WriteFile(u.kept(), []byte(u.recipe.Strategy), 0o600)
}

// resumes says whether this install goes on, which it does only once a note. One that
// went over to packages goes on with these.
func (u *run) resumes() bool {
	if u.Keep == "" {
		return false
	}
	from, err := os.ReadFile(u.kept())
	if err != nil || os.Remove(u.kept()) != nil || u.layout.State() != disk.Formatted {
		return false
	}
	if recipe.Strategy(from) == recipe.Packages && u.recipe.Strategy != recipe.Packages {
		instead, ok := u.recipe.Instead()
		if !ok {
			return false
		}
		u.recipe, u.unfit = instead, nil
	}
	return true
}

// lacking says how many packages are to be installed.
func (u *run) lacking() string {
	have := map[ore.Digest]bool{}
	if m := u.recipe.Image; m != nil {
		for _, p := range m.Environment.Packages {
			have[p.Digest] = true
		}
	}
	n, bytes := 0, int64(0)
	for _, p := range u.recipe.Environment.Packages {
		if !have[p.Digest] {
			n, bytes = n+1, bytes+p.Size
		}
	}
	return fmt.Sprintf("%d packages of %d bytes", n, bytes)
}

// start hands the installed kernel over.
func (u *run) start() error {
	s, err := configure.Starts(configure.Options{Target: u.Target, Recipe: u.recipe, Layout: u.layout})
	if err != nil {
		return err
	}
	u.Starts, err = u.Load(filepath.Clean(u.Target), s)
	return err
}

// finish marks the disks, once they have everything.
func (u *run) finish() error {
	for _, d := range u.layout.Disks {
		if err := u.flushing(func() error { return flush(d.Path()) }); err != nil {
			return err
		}
	}
	return u.layout.Finish()
}

// watch passes events on, and enters a stage when the first event of it comes.
func (u *run) watch(stages map[string]string) ore.Watcher {
	return func(e ore.Event) {
		if to, ok := stages[e.Stage]; ok {
			u.tell.reach(to)
		}
		u.tell.advance(e)
	}
}
