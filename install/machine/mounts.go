package machine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ore/install/disk"
)

const (
	// busyTime is how long killed processes may take to let go of a file system.
	busyTime = 10 * time.Second
	// busyEvery is how often it is tried meanwhile.
	busyEvery = 20 * time.Millisecond
)

// mounts are a machine's file systems while they are filled.
type mounts struct {
	target string
	done   []string // where they are, in the order of mounting
	from   []string // their devices
}

// all mounts a layout's file systems below the target.
func (m *mounts) all(l disk.Layout) error {
	for _, f := range l.FileSystems() {
		if f.Mount == "" {
			continue
		}
		at := filepath.Join(m.target, f.Mount) // mount points are absolute and clean: they do not lead out
		if f.Mount != "/" {
			if err := os.MkdirAll(at, 0o755); err != nil {
				return fmt.Errorf("mount %s: %w", f.Mount, err)
			}
		}
		if err := unix.Mount(f.Device, at, f.FS, unix.MS_NOATIME, ""); err != nil {
			return fmt.Errorf("mount %s with %s on %s: %w: the installer's kernel may lack the file system", f.Device, f.FS, f.Mount, err)
		}
		m.done, m.from = append(m.done, at), append(m.from, f.Device)
	}
	return nil
}

// sync has everything reach the disks, and says whether anything did not: an
// unmount would not (syncfs(2)).
func (m *mounts) sync() error {
	for i := len(m.done) - 1; i >= 0; i-- {
		f, err := os.Open(m.done[i])
		if err != nil {
			return err
		}
		err = errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
		if err != nil {
			return fmt.Errorf("write %s out to %s: %w: the disk is broken or full: replace it", m.done[i], m.from[i], err)
		}
	}
	return nil
}

// blame names the disk behind an error of those who fill the tree, which know paths
// only, or a program's exit code. A file system whose disk fails says so (EIO), or
// takes nothing any more (EROFS; ext4(5), errors).
func (m *mounts) blame(err error) error {
	if !errors.Is(err, unix.EIO) && !errors.Is(err, unix.EROFS) {
		if broken := m.sync(); broken != nil {
			return fmt.Errorf("%w; %w", err, broken)
		}
		return m.full(err) // where no disk is broken, which may say so too
	}
	device := "a disk"
	for i, at := range m.done { // what is mounted below comes after
		if strings.Contains(err.Error(), at) {
			device = m.from[i]
		}
	}
	return fmt.Errorf("%w: %s fails: the disk is broken or full: replace it", err, device)
}

// release unmounts all. Processes that programs left in the tree are killed.
func (m *mounts) release() error {
	var all error
	for i := len(m.done) - 1; i >= 0; i-- {
		at := m.done[i]
		deadline := time.Now().Add(busyTime)
		err := unix.Unmount(at, unix.UMOUNT_NOFOLLOW)
		for errors.Is(err, unix.EBUSY) && time.Now().Before(deadline) {
			m.below(at)
			killIn(m.target)
			time.Sleep(busyEvery)
			err = unix.Unmount(at, unix.UMOUNT_NOFOLLOW)
		}
		if err != nil {
			all = errors.Join(all, fmt.Errorf("unmount %s: %w", at, err))
			unix.Unmount(at, unix.MNT_DETACH) // what still uses it is told as an error
		}
	}
	m.done, m.from = nil, nil
	return all
}

// below unmounts what somebody mounted below a file system of ours and left.
func (m *mounts) below(at string) {
	b, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if f := strings.Fields(lines[i]); len(f) > 1 && strings.HasPrefix(f[1], at+"/") {
			unix.Unmount(f[1], unix.UMOUNT_NOFOLLOW)
		}
	}
}

// killIn kills the processes whose root or working folder is in the tree: daemons
// that a script left.
func killIn(target string) {
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range all {
		pid, err := strconv.Atoi(filepath.Base(p))
		if err != nil || pid == os.Getpid() {
			continue
		}
		for _, name := range []string{"root", "cwd"} {
			to, err := os.Readlink(filepath.Join(p, name))
			if err == nil && (to == target || strings.HasPrefix(to, target+"/")) {
				unix.Kill(pid, unix.SIGKILL)
			}
		}
	}
}

// flush has a disk write out what it holds in a memory of its own.
func flush(device string) error {
	f, err := os.Open(device)
	if err != nil {
		return err
	}
	err = errors.Join(f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("write %s out: %w: the disk is broken: replace it", device, err)
	}
	return nil
}
