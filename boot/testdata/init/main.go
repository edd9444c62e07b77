// Command init is what the machines of package boot's tests run: it loads the
// modules that the initramfs lists, mounts the disk and the modules' image,
// says what it sees and powers off.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func main() {
	if err := run(); err != nil {
		fmt.Println("boot test: error:", err)
	}
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF); err != nil {
		fmt.Println("boot test: power off:", err)
	}
}

func run() error {
	list, err := os.ReadFile("/ore/modules")
	if err != nil {
		return err
	}
	for path := range strings.FieldsSeq(string(list)) {
		if err := load(path); err != nil {
			return err
		}
	}
	for _, m := range [][2]string{{"proc", "proc"}, {"sysfs", "sys"}, {"devtmpfs", "dev"}} {
		if err := unix.Mount(m[0], "/"+m[1], m[0], 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m[0], err)
		}
	}
	known, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return err
	}
	for _, fs := range []string{"squashfs", "overlay", "ext4"} {
		if !strings.Contains(string(known), "\t"+fs+"\n") {
			return fmt.Errorf("no file system %s", fs)
		}
	}
	for _, names := range []string{"/dev/ubd?", "/dev/vd?"} { // sorted
		if disks, err := filepath.Glob(names); err != nil || len(disks) == 2 {
			return errors.Join(err, look(disks))
		}
	}
	return errors.New("not two disks")
}

// look mounts the modules' image and the disk, the first and the second.
func look(disks []string) error {
	for i, fs := range []string{"squashfs", "ext4"} {
		dir := "/" + fs
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(disks[i], dir, fs, uintptr(1-i)*unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("mount %s: %w", disks[i], err)
		}
	}
	if err := os.WriteFile("/ext4/file", make([]byte, 1<<20), 0o644); err != nil {
		return err
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	release := unix.ByteSliceToString(u.Release[:])
	if _, err := os.Stat("/squashfs/" + release + "/modules.dep.bin"); err != nil {
		return err
	}
	var s unix.Statfs_t
	if err := unix.Statfs("/ext4", &s); err != nil {
		return err
	}
	fmt.Printf("boot test: release %s, disk %d MiB\n", release, int64(s.Blocks)*s.Bsize>>20)
	return unix.Unmount("/ext4", 0)
}

// load loads one module. A driver without its device is no error.
func load(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.FinitModule(int(f.Fd()), "", 0); err != nil && err != unix.ENODEV {
		return fmt.Errorf("load %s: %w", path, err)
	}
	return nil
}
