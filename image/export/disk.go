package export

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"ore/image/export/ext4"
)

// disk takes the bytes of a disk at any places, in any order.
type disk interface {
	io.WriterAt
	finish() error // writes what makes the file a disk
}

// label names the file system for tools that list disks.
const label = "ore"

// writeDisk writes the merged tree as a file system in the target's format.
func (t Target) writeDisk(ctx context.Context, f *os.File, s *stack) error {
	entries, err := s.ext4()
	if err != nil {
		return err
	}
	id := diskID(s)
	l, err := ext4.Plan(entries, ext4.Options{Size: t.Size, ID: id, Label: label})
	if err != nil {
		return err
	}
	d, err := t.newDisk(f, l.Size(), id)
	if err != nil {
		return err
	}
	if err := l.Write(ctx, d); err != nil {
		return err
	}
	return d.finish()
}

// diskID makes a UUID of the image's digest (RFC 9562, version 8).
func diskID(s *stack) [16]byte {
	sum := sha256.Sum256([]byte(s.manifest.Digest()))
	id := [16]byte(sum[:])
	id[6] = id[6]&0x0f | 0x80
	id[8] = id[8]&0x3f | 0x80
	return id
}

func (t Target) newDisk(f *os.File, size int64, id [16]byte) (disk, error) {
	switch t.Format {
	case QCOW2:
		return newQCOW2(f, size), nil
	case VMDK:
		return newVMDK(f, size, filepath.Base(t.Path), id)
	}
	return raw{f}, f.Truncate(size)
}

// raw is a disk whose bytes are the file's.
type raw struct{ *os.File }

func (raw) finish() error { return nil }

// clusterSize is the unit in which the disk formats give out space: 64 KiB,
// which QEMU and VMware both take when nothing else is said.
const clusterSize = 64 << 10

// clusters gives a disk's clusters places in a file, in the order in which
// they are first written. Those that never are have none and read as zero.
type clusters struct {
	f     io.WriterAt
	place []uint32 // number of the cluster in the file; 0 for none
	next  uint32   // first that is free
}

// newClusters keeps the first clusters of the file for what the format needs.
func newClusters(f io.WriterAt, size int64, kept uint32) clusters {
	return clusters{f, make([]uint32, (size+clusterSize-1)/clusterSize), kept}
}

// WriteAt implements io.WriterAt.
func (c *clusters) WriteAt(b []byte, off int64) (int, error) {
	done := 0
	for done < len(b) {
		i, in := off/clusterSize, off%clusterSize
		if off < 0 || i >= int64(len(c.place)) {
			return done, fmt.Errorf("write at %d: outside of the disk", off)
		}
		if c.place[i] == 0 {
			c.place[i] = c.next
			c.next++
		}
		part := b[done:min(int64(len(b)), int64(done)+clusterSize-in)]
		n, err := c.f.WriteAt(part, int64(c.place[i])*clusterSize+in)
		done, off = done+n, off+int64(n)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}
