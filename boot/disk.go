package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const (
	// diskUnit is what a disk's size is rounded up to: ext4's block.
	diskUnit = 4096
	// minDisk and maxDisk are the sizes of disks that are made. An overlay on
	// less than 16 MiB is of no use, and ext4 with these features ends at
	// 16 TiB.
	minDisk = 16 << 20
	maxDisk = 16 << 40
)

// diskFormat is part of a master's name: it changes when mkfsOptions do.
const diskFormat = 1

// mkfsOptions are chosen so that a fresh file system is almost nothing: 128 KiB
// in three pieces for 20 GB, where mke2fs's own choice takes 4.4 MB in 24.
func mkfsOptions() []string {
	return []string{"-q", "-F", "-t", "ext4", "-b", "4096",
		"-m", "0", // nobody is kept from the last blocks: the machine has one user
		// A private disk does not outlive its machine, so it needs no journal;
		// it is never resized; backup superblocks would be read by nobody.
		"-O", "^has_journal,^resize_inode,sparse_super2",
		"-G", "1024", // metadata of many groups side by side
		// The file is new and sparse: its inode tables are zero without being
		// written, now or by the guest's kernel in the background.
		"-E", "nodiscard,assume_storage_prezeroed=1,packed_meta_blocks=1,num_backup_sb=0"}
}

// Disk makes a private disk of the given size at path: a sparse file that
// holds an empty ext4. The path must not exist.
func Disk(ctx context.Context, c Config, path string, size int64) error {
	master, err := Master(ctx, c, size)
	if err != nil {
		return err
	}
	if err := CopySparse(path, master); err != nil {
		return fmt.Errorf("disk %s: %w", path, err)
	}
	return nil
}

// Master returns the disk of the given size that [CopySparse] copies for each
// machine. It is made if there is none.
func Master(ctx context.Context, c Config, size int64) (string, error) {
	if size < minDisk || size > maxDisk {
		return "", fmt.Errorf("disk of %d bytes: sizes go from %d to %d: choose another", size, int64(minDisk), int64(maxDisk))
	}
	size = (size + diskUnit - 1) / diskUnit * diskUnit
	master := filepath.Join(c.Dir, "disk", fmt.Sprintf("ext4-%d-%d.raw", diskFormat, size))
	if _, err := os.Stat(master); err == nil {
		return master, nil
	}
	mkfs, err := c.Shelf.Program(ctx, "e2fsprogs", "usr/sbin/mke2fs")
	if errors.Is(err, os.ErrNotExist) {
		mkfs, err = c.Shelf.Program(ctx, "e2fsprogs", "sbin/mke2fs")
	}
	if err != nil {
		return "", fmt.Errorf("disk: %w", err)
	}
	err = whole(master, func(f *os.File) error {
		if err := f.Truncate(size); err != nil {
			return err
		}
		cmd := mkfs.Command(ctx, append(mkfsOptions(), "/proc/self/fd/3")...)
		cmd.ExtraFiles = []*os.File{f}
		// The time and the UUID are all that would differ between two masters.
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("mke2fs: %w: %s", err, out)
		}
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("disk of %d bytes: %w", size, err)
	}
	return master, nil
}

// CopySparse copies the file from to the new file to. What is not allocated in
// the one is not in the other. Where the file system can share blocks between
// files, nothing is copied at all.
func CopySparse(to, from string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	dst, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err = errors.Join(err, dst.Close()); err != nil {
			os.Remove(to)
		}
	}()
	if unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())) == nil {
		return nil
	}
	if err := dst.Truncate(info.Size()); err != nil {
		return err
	}
	return copyExtents(dst, src, info.Size())
}

// copyExtents copies the parts of src that are allocated (lseek(2), SEEK_DATA).
func copyExtents(dst, src *os.File, size int64) error {
	for at := int64(0); at < size; {
		start, err := src.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // a hole up to the end
		}
		if err != nil {
			return err
		}
		end, err := src.Seek(start, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if _, err := src.Seek(start, io.SeekStart); err != nil {
			return err
		}
		if _, err := dst.Seek(start, io.SeekStart); err != nil {
			return err
		}
		// Between two files this is copy_file_range(2).
		if _, err := io.CopyN(dst, src, end-start); err != nil {
			return noEOF(err)
		}
		at = end
	}
	return nil
}
