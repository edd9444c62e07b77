package tree

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

// largePages lets the file system hold a file in pages as large as fit into it and no
// larger (tmpfs(5)). A tree of 100 MB is 25,000 small pages, and finding these takes
// four times as long as copying their content.
const largePages = ",huge=within_size"

// Memory mounts a file system in memory on the folder dir, which it makes, if
// that has room for a build that unpacks the given bytes of .debs. Where there
// is too little memory, or the kernel's has no user attributes (before Linux
// 6.6), it returns false. Making ten thousand files is an order of magnitude
// faster in memory.
func Memory(dir string, debs int64) (bool, error) {
	available, err := availableMemory("/proc/meminfo")
	if err != nil {
		return false, fmt.Errorf("measure memory: %w", err)
	}
	if debs*unpackedRatio > available/memoryShare {
		return false, nil
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		return false, fmt.Errorf("use memory: %w", err)
	}
	options := fmt.Sprintf("mode=755,size=%d", available*2/memoryShare)
	err = unix.Mount("memory", dir, "tmpfs", 0, options+largePages)
	if err != nil {
		err = unix.Mount("memory", dir, "tmpfs", 0, options) // a kernel that has none
	}
	if err != nil {
		return false, nil // one that refuses it to ordinary users
	}
	if err := unix.Setxattr(dir, "user.ore.try", []byte("1"), 0); err == nil {
		return true, nil
	}
	if err := unix.Unmount(dir, 0); err != nil {
		return false, fmt.Errorf("use memory: %w", err)
	}
	return false, nil
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
