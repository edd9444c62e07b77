package disk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"ore"
	"ore/install/disk/signature"
	"ore/install/disk/table"
)

// Doer carries layouts out.
type Doer struct {
	Watch ore.Watcher // is told of each action
	// Command runs a program of the installer's environment and returns what it
	// said; nil runs those of PATH.
	Command func(ctx context.Context, argv []string) ([]byte, error)
	// Comes, if not nil, says which file systems come otherwise and are not made. The
	// layout's state is then Begun until it is finished.
	Comes func(m Made) bool
}

// plan returns the actions that are left to do.
func (d Doer) plan(l Layout) []Action {
	all := Plan(l)
	if d.Comes == nil {
		return all
	}
	return slices.DeleteFunc(all, func(a Action) bool {
		return a.made != nil && d.Comes(*a.made) || a.do == markFormatted
	})
}

// Run carries out a layout from its first action on and returns how long each
// took. It changes nothing where [Layout.Refuse] objects. When it fails or ctx
// ends, the layout's state is Begun, and another Run starts over; arrays and
// groups that it started are ended.
func (d Doer) Run(ctx context.Context, l Layout) (ore.Timeline, error) {
	if err := l.Refuse(); err != nil {
		return nil, err
	}
	var done ore.Timeline
	var undo [][]string
	plan := d.plan(l)
	for i, a := range plan {
		d.Watch.Tell(ore.Event{Stage: a.Stage, Text: a.Does, Done: int64(i), Total: int64(len(plan))})
		start := time.Now()
		if a.undoes != nil {
			undo = append(undo, a.undoes)
		}
		if err := d.act(ctx, l, a); err != nil {
			d.end(undo)
			return done, fmt.Errorf("%s: %w", a.Does, err)
		}
		done = append(done, ore.Stage{Name: a.Stage, Start: start, End: time.Now(), Note: a.Does})
	}
	d.Watch.Tell(ore.Event{Stage: plan[len(plan)-1].Stage, Done: int64(len(plan)), Total: int64(len(plan)), Final: true})
	return done, nil
}

// Restart has the kernel run the groups and arrays of a layout that is formatted and
// was released. If it cannot, it leaves none of them running.
func (d Doer) Restart(ctx context.Context, l Layout) error {
	for _, a := range restart(l) {
		if err := d.act(ctx, l, a); err != nil {
			d.Release(l)
			return fmt.Errorf("%s: %w", a.Does, err)
		}
	}
	return nil
}

// Release ends what the kernel runs of a layout: its groups and arrays.
func (d Doer) Release(l Layout) {
	var undo [][]string
	for _, a := range Plan(l) {
		if a.undoes != nil {
			undo = append(undo, a.undoes)
		}
	}
	d.end(undo)
}

// end undoes in reverse order. What was not started cannot be ended, which is no
// error, and the errors of what was show when the disks are used again.
func (d Doer) end(undo [][]string) {
	ctx, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	for i := len(undo) - 1; i >= 0; i-- {
		d.command(ctx, undo[i])
	}
}

// endTime is what ending arrays and groups may take: moments, but for an emulated
// machine whose mirrors are being filled meanwhile.
const endTime = 3 * time.Minute

func (d Doer) command(ctx context.Context, argv []string) ([]byte, error) {
	if d.Command != nil {
		return d.Command(ctx, argv)
	}
	c := exec.CommandContext(ctx, argv[0], argv[1:]...)
	c.Env = append(os.Environ(), "LC_ALL=C", "LVM_SUPPRESS_FD_WARNINGS=1")
	return c.CombinedOutput()
}

// saidAtMost is how much of a program's last words an error repeats.
const saidAtMost = 600

func (d Doer) act(ctx context.Context, l Layout, a Action) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if len(a.Run) == 0 {
		return d.doHere(ctx, l, a)
	}
	out, err := d.command(ctx, a.Run)
	if err != nil {
		said := bytes.TrimSpace(out)
		if len(said) > saidAtMost {
			said = said[len(said)-saidAtMost:]
		}
		return fmt.Errorf("%s: %w: %s: the disk may be broken, or the program is not in the installer", a.Run[0], err, strings.Join(strings.Fields(string(said)), " "))
	}
	if a.made != nil {
		return confirm(*a.made)
	}
	return nil
}

// confirm looks whether what was made is there, as a disk that loses what it
// was given would not show otherwise before the machine starts.
func confirm(m Made) error {
	f, err := os.OpenFile(m.Device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := settle(f); err != nil {
		return err
	}
	found, err := signature.Read(f, m.Bytes)
	if err != nil {
		return err
	}
	if found == nil || found.Kind != m.FS || found.UUID != m.UUID {
		return fmt.Errorf("it reads back as %v, not as %s %s: the disk does not keep what is written: replace it", found, m.FS, m.UUID)
	}
	return nil
}

// settle has all that was written reach the disk, and what is read come from it.
func settle(f *os.File) error {
	if err := f.Sync(); err != nil {
		return fmt.Errorf("%w: the disk is broken or full: replace it", err)
	}
	if err := ioctl(f, unix.BLKFLSBUF, 0); err != nil {
		return fmt.Errorf("flush: %w", err)
	}
	return nil
}

func ioctl(f *os.File, request, arg uintptr) error {
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, arg); e != 0 {
		return e
	}
	return nil
}

func (d Doer) doHere(ctx context.Context, l Layout, a Action) error {
	p := l.Disks[a.disk]
	flags := os.O_RDWR
	if a.do != markFormatted { // then our own arrays and groups may use it
		flags |= unix.O_EXCL // the kernel refuses a disk that somebody uses (open(2))
	}
	f, err := os.OpenFile(p.Path(), flags, 0)
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%s is in use: unmount it, and stop what is built on it", p.Path())
	} else if err != nil {
		return err
	}
	defer f.Close()
	switch a.do {
	case markBegun:
		err = l.mark(f, a.disk, Begun)
	case markFormatted:
		err = l.mark(f, a.disk, Formatted)
	case erase:
		err = eraseDisk(ctx, f, p)
	case writeTable:
		err = tabulate(ctx, f, p)
	case clearPart:
		err = eraseParts(ctx, f, p)
	}
	if err != nil {
		return err
	}
	return settle(f)
}

func (l Layout) mark(f *os.File, index int, s State) error {
	m := Mark{State: s, Layout: l.digest, Index: index, Table: l.Disks[index].Table.ID}
	_, err := f.WriteAt(m.encode(), markAt)
	return err
}

// Finish marks a layout as installed: the machine that it was made for is ready.
func (l Layout) Finish() error {
	for i, p := range l.Disks {
		f, err := os.OpenFile(p.Path(), os.O_RDWR, 0)
		if err != nil {
			return fmt.Errorf("mark disk: %w", err)
		}
		err = errors.Join(l.mark(f, i, Installed), f.Sync(), f.Close())
		if err != nil {
			return fmt.Errorf("mark disk %s: %w", p.Path(), err)
		}
	}
	return nil
}

// eraseDisk removes old tables and signatures: both ends, but for the mark. The
// headers of a GPT go first, one after the other, so that a run that is cut off
// leaves either the whole table of before or none, and never a damaged one.
func eraseDisk(ctx context.Context, f *os.File, p Placed) error {
	if err := forget(ctx, f); err != nil {
		return err
	}
	for _, at := range []int64{0, p.Sector, p.Size/p.Sector*p.Sector - p.Sector} {
		if err := errors.Join(zero(ctx, f, at, at+p.Sector), f.Sync()); err != nil {
			return err
		}
	}
	return errors.Join(zero(ctx, f, 0, markAt), zero(ctx, f, max(grain, p.Size-signature.Edge), p.Size))
}

// eraseParts removes from both ends of all partitions what earlier ones left.
func eraseParts(ctx context.Context, f *os.File, p Placed) error {
	for _, e := range p.Table.Parts {
		from, to := e.Start*p.Sector, (e.Start+e.Sectors)*p.Sector
		if err := errors.Join(zero(ctx, f, from, min(from+signature.Edge, to)), zero(ctx, f, max(from, to-signature.Edge), to)); err != nil {
			return err
		}
	}
	return nil
}

func zero(ctx context.Context, f *os.File, from, to int64) error {
	b := make([]byte, 256<<10)
	for from < to {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := f.WriteAt(b[:min(int64(len(b)), to-from)], from)
		if err != nil {
			return fmt.Errorf("%w: the disk is broken or full: replace it", err)
		}
		from += int64(n)
	}
	return nil
}

// tabulate writes the table, block by block, each on the disk before the next,
// and tells the kernel of the partitions.
func tabulate(ctx context.Context, f *os.File, p Placed) error {
	for _, b := range p.Table.Blocks() {
		if _, err := f.WriteAt(b.Data, b.Offset); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if err := settle(f); err != nil {
		return err
	}
	got, err := table.Read(f, p.Size, p.Sector)
	if err != nil || len(got.Parts) != len(p.Table.Parts) {
		return fmt.Errorf("it reads back otherwise (%v): the disk does not keep what is written: replace it", err)
	}
	if err := forget(ctx, f); err != nil {
		return err
	}
	for i, e := range p.Table.Parts {
		if err := tell(f, unix.BLKPG_ADD_PARTITION, unix.BlkpgPartition{Pno: int32(i + 1), Start: e.Start * p.Sector, Length: e.Sectors * p.Sector}); err != nil {
			return fmt.Errorf("partition %d: %w", i+1, err)
		}
	}
	return nil
}

const (
	// busyTime is how long a partition may be open before it counts as in use: who
	// looks at all disks, as programs of udev and LVM do whenever one changes, has it
	// open for a moment.
	busyTime = 10 * time.Second
	// busyEvery is how often it is tried meanwhile.
	busyEvery = 20 * time.Millisecond
)

// forget makes the kernel forget all partitions of a disk.
func forget(ctx context.Context, f *os.File) error {
	end := time.Now().Add(busyTime)
	every := time.NewTicker(busyEvery)
	defer every.Stop()
	for n := 1; n <= table.MaxEntries; n++ {
		one := unix.BlkpgPartition{Pno: int32(n)}
		err := tell(f, unix.BLKPG_DEL_PARTITION, one)
		for errors.Is(err, unix.EBUSY) && time.Now().Before(end) {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-every.C:
			}
			err = tell(f, unix.BLKPG_DEL_PARTITION, one)
		}
		if err != nil && !errors.Is(err, unix.ENXIO) && !errors.Is(err, unix.ENOMEM) && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("forget partition %d: %w: unmount it, and stop what is built on it", n, err)
		}
	}
	return nil
}

// tell tells the kernel of one partition, or to forget it (linux/blkpg.h), so
// that no program has to read the table again.
func tell(f *os.File, op int32, p unix.BlkpgPartition) error {
	a := unix.BlkpgIoctlArg{Op: op, Datalen: int32(unsafe.Sizeof(p)), Data: (*byte)(unsafe.Pointer(&p))}
	_, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKPG, uintptr(unsafe.Pointer(&a)))
	if e != 0 {
		return e
	}
	return nil
}
