package diskimage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"ore"
	"ore/image/export/ext4"
	"ore/install/disk"
	"ore/install/disk/signature"
	"ore/install/disk/table"
	"ore/install/pour"
	"ore/install/pour/blob"
)

// Target says which disk image is written, and where.
type Target struct {
	Disk   Disk
	Layout disk.Layout // its partitions are there, and nobody uses them
	From   []string    // where the layer may be had, in the order of trying: see package blob
	Client blob.Client
	Watch  ore.Watcher // stage "pour": bytes of the layer
}

// Write writes a disk image while it comes, and gives its file systems the
// identities of the layout. When it returns nil, all has reached the disks. After an
// error none of them is a file system, unless an earlier one is still to be seen.
func Write(ctx context.Context, t Target) (err error) {
	if err := t.Disk.Fits(t.Layout); err != nil {
		return fmt.Errorf("write disk image: %w", err)
	}
	open := make([]*opened, len(t.Disk.Parts))
	defer func() {
		for _, o := range open {
			if o != nil {
				err = errors.Join(err, o.f.Close())
			}
		}
	}()
	for i, p := range t.Disk.Parts {
		made := t.Layout.Disks[p.Disk].Parts[p.Number-1]
		f, err := os.OpenFile(made.Device, os.O_RDWR|unix.O_EXCL, 0) // the kernel refuses what somebody uses (open(2))
		if err != nil {
			return fmt.Errorf("write disk image: %w", err)
		}
		open[i] = &opened{f: f, made: made, part: p, lead: make([]byte, 0, ext4.HeadSize)}
	}
	o := pour.RangesOptions{Layer: t.Disk.Layer, From: t.From, Client: t.Client, Watch: t.Watch, Place: places(open)}
	if err := pour.Ranges(ctx, o); err != nil {
		return fmt.Errorf("write disk image: %w", err)
	}
	for _, o := range open {
		if err := o.finish(); err != nil {
			return fmt.Errorf("write disk image: %s: %w", o.made.Device, err)
		}
	}
	return nil
}

// opened is a partition that is written.
type opened struct {
	f    *os.File
	made disk.Made
	part Part
	lead []byte // its first block, which is kept back
	end  int64  // of the ranges that are placed
}

// places returns where a layer's files go: each range to its partition, behind those
// before it, and the first block of each to memory.
func places(open []*opened) func(name string, size int64) (pour.Room, error) {
	return func(name string, size int64) (pour.Room, error) {
		i, at, err := parse(name)
		if err != nil {
			return pour.Room{}, err
		}
		if i >= len(open) {
			return pour.Room{}, errors.New("the image has no such partition")
		}
		o := open[i]
		switch {
		case at%ext4.HeadSize != 0 || size%ext4.HeadSize != 0 || size <= 0:
			return pour.Room{}, fmt.Errorf("%d bytes from byte %d on are no blocks", size, at)
		case at < o.end || at > o.part.Bytes || size > o.part.Bytes-at:
			return pour.Room{}, fmt.Errorf("%d bytes from byte %d on overlap others, or the end of the partition at byte %d", size, at, o.part.Bytes)
		case (at == 0) != (size == ext4.HeadSize && o.end == 0):
			return pour.Room{}, errors.New("the first range is not the first block")
		}
		o.end = at + size
		if at == 0 {
			return pour.Room{W: &lead{o}, Zero: func(int64, int64) error { return errors.New("it has nothing") }}, nil
		}
		return pour.Room{W: o.f, At: at, Zero: func(from, to int64) error { return zero(o.f, from, to) }}, nil
	}
}

// lead is a partition's first block, in memory.
type lead struct{ o *opened }

// WriteAt takes the whole block, once.
func (l *lead) WriteAt(b []byte, at int64) (int, error) {
	if at != 0 || len(b) != ext4.HeadSize || len(l.o.lead) > 0 {
		return 0, errors.New("the first block comes in parts")
	}
	l.o.lead = append(l.o.lead, b...)
	return len(b), nil
}

// parse reads the name of a range.
func parse(name string) (part int, at int64, err error) {
	dir, base, ok := strings.Cut(name, "/")
	if n, err1 := strconv.Atoi(dir); ok && err1 == nil && n > 0 {
		if at, err2 := strconv.ParseInt(base, 16, 64); err2 == nil && at >= 0 && rangeName(n-1, at) == name {
			return n - 1, at, nil
		}
	}
	return 0, 0, fmt.Errorf("%.40q is not the name of a range", name)
}

// finish makes a partition a file system, with its own identity, and looks whether
// it is one.
func (o *opened) finish() error {
	if len(o.lead) == 0 {
		return errors.New("the image has nothing of it")
	}
	id, err := table.ParseGUID(o.made.UUID)
	if err != nil {
		return err
	}
	if err := ext4.Identify(o.f, o.lead, ext4.Identity{ID: id, Label: o.made.Label}); err != nil {
		return err
	}
	if err := o.f.Sync(); err != nil {
		return fmt.Errorf("%w: the disk is broken or full: replace it", err)
	}
	// What is read back is to come from the disk; of a file it does anyway.
	if err := unix.IoctlSetInt(int(o.f.Fd()), unix.BLKFLSBUF, 0); err != nil && !errors.Is(err, unix.ENOTTY) {
		return fmt.Errorf("flush: %w", err)
	}
	found, err := signature.Read(o.f, o.made.Bytes)
	if err != nil {
		return err
	}
	if found == nil || found.Kind != o.made.FS || found.UUID != o.made.UUID {
		return fmt.Errorf("it reads back as %v, not as %s %s: the disk does not keep what is written: replace it", found, o.made.FS, o.made.UUID)
	}
	return nil
}

// zero makes a part of a device zero: by a request that costs nothing where the
// device has one (linux/fs.h, BLKZEROOUT), or else by writing zeros.
func zero(f *os.File, from, to int64) error {
	span := [2]uint64{uint64(from), uint64(to - from)}
	_, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), unix.BLKZEROOUT, uintptr(unsafe.Pointer(&span)))
	if e == 0 {
		return nil
	}
	if e != unix.ENOTTY && e != unix.EINVAL && e != unix.EOPNOTSUPP {
		return e
	}
	_, err := io.Copy(io.NewOffsetWriter(f, from), io.LimitReader(zeros{}, to-from))
	return err
}

// zeros is an endless source of them.
type zeros struct{}

// Read gives zeros.
func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
