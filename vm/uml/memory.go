package uml

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// sharedMemoryDir returns the first folder that can hold machines' memory: the
// one asked for, or a common one; "" when there is none.
func sharedMemoryDir(asked string) string {
	dirs := []string{asked}
	if asked == "" {
		dirs = []string{"/dev/shm", os.Getenv("TMPDIR"), "/tmp"}
	}
	for _, d := range dirs {
		if d != "" && mappable(d) == nil {
			return d
		}
	}
	return ""
}

// mappable tries what the kernel does with its memory file: to map it
// executable, which a folder mounted noexec refuses.
func mappable(dir string) error {
	f, err := os.CreateTemp(dir, "ore-memory-")
	if err != nil {
		return err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return err
	}
	size := os.Getpagesize()
	if err := f.Truncate(int64(size)); err != nil {
		return fmt.Errorf("memory file in %s: %w", dir, err)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map memory in %s executable: %w: use a folder on a file system mounted without noexec", dir, err)
	}
	return unix.Munmap(b)
}
