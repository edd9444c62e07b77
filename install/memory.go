package install

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// unpackedRatio is how many bytes of tree and of staged content a byte of a
	// .deb becomes: 3 to 4 on average in Debian 12, and some for what scripts make.
	unpackedRatio = 6
	// memoryShare is the part of the available memory that a build may plan to
	// use, and half of what it may use: the rest is for its programs, the page
	// cache and everybody else.
	memoryShare = 4
)

// memory mounts a file system in memory for the trees of the packages' phases
// and returns its folder; where there is too little memory, or the kernel's has
// no user attributes (before Linux 6.6), it returns the folder on the disk.
// Making ten thousand files is an order of magnitude faster in memory.
func (w *worker) memory() (string, error) {
	available, err := availableMemory("/proc/meminfo")
	if err != nil {
		return "", fmt.Errorf("measure memory: %w", err)
	}
	var need int64
	for _, p := range w.Environment.Packages {
		need += p.Size * unpackedRatio
	}
	if need > available/memoryShare {
		return w.Work, nil
	}
	dir := w.disk("memory")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", fmt.Errorf("use memory: %w", err)
	}
	options := fmt.Sprintf("mode=755,size=%d", available*2/memoryShare)
	if err := unix.Mount("memory", dir, "tmpfs", 0, options); err != nil {
		return w.Work, nil // a kernel that refuses it to ordinary users
	}
	if err := unix.Setxattr(dir, "user.ore.try", []byte("1"), 0); err == nil {
		return dir, nil
	}
	if err := unix.Unmount(dir, 0); err != nil {
		return "", fmt.Errorf("use memory: %w", err)
	}
	return w.Work, nil
}

// availableMemory reads MemAvailable from a file like /proc/meminfo (proc(5)).
func availableMemory(name string) (int64, error) {
	f, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "MemAvailable:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(v, "kB")), 10, 64)
			return n << 10, err
		}
	}
	return 0, errors.New("no line MemAvailable")
}
