package uml

import (
	"fmt"
	"strings"

	"ore/vm"
	"ore/vm/home"
)

// firstFD is the number of the first file of exec.Cmd.ExtraFiles in the child.
const firstFD = 3

// maxDisks is the number of ubd devices (arch/um/drivers/ubd_kern.c).
const maxDisks = 8

// layout is what the command line names besides the machine's Config.
type layout struct {
	dir    string // for uml_dir
	initrd string
	bell   int // file descriptor of home's bell
	memory int // file descriptor of home's memory
	net    int // file descriptor, 0 for no network
}

// skipped are the kernel's initialisation functions that are left out
// (initcall_blacklist=), each for its reason.
func skipped(c vm.Config) []string {
	var list []string
	if !c.Parity {
		// Measures RAID6 algorithms for 0.8 s at each boot. Without it md's and
		// btrfs's RAID5 and RAID6 end the kernel.
		list = append(list, "raid6_select_algo")
	}
	return append(list,
		// The file system with which a guest's root reads and writes the host's
		// files as the host's user. A guest has no business there.
		"init_hostfs",
		// Linux 6.1 looks for a compressor, waiting for modprobe, 0.05 s (6.12 does
		// once compressed swap is used). It needs swap, and no guest has any.
		"init_zswap",
		// Starts the threads of JFS, 0.01 s; a guest's disk is ext4.
		"init_jfs_fs",
	)
}

// words are the kernel's arguments that are the same for every machine.
func words(c vm.Config) []string {
	return []string{
		"quiet",
		// Errors and below stay in the kernel's log: it has 80 to tell of the lines
		// that are "none". A panic makes the console talk again.
		"loglevel=3",
		// A machine boots once: restart and panic end the process.
		"noreboot",
		"panic=-1",
		"initcall_blacklist=" + strings.Join(skipped(c), ","),
		// Each device that the kernel makes has it run /sbin/hotplug, which costs
		// a clone of the whole kernel even though the file does not exist. There
		// would be 256 BSD pseudo terminals (0.3 s; Unix98 ones stay), 16
		// consoles and 64 serial lines (0.07 s of CPU, 0.2 s of waiting):
		// only the two that are used are made, the others are "none".
		"pty.legacy_count=0",
		"con=none",
		"con0=null,fd:1",
		"ssl=none",
		// Loops per jiffy, for delays of microseconds, which nothing here needs to
		// be exact; measuring it takes 0.05 s of spinning.
		"lpj=20000000",
		// SELinux and TOMOYO do nothing without a policy but take a little of
		// every system call, and Debian's other kernels leave them out too. These
		// have no selinux=0.
		"lsm=capability,yama",
	}
}

// arguments is the command line of the kernel.
func arguments(c vm.Config, l layout) []string {
	args := []string{
		fmt.Sprintf("mem=%dK", c.Memory>>10),
		"initrd=" + l.initrd,
		"uml_dir=" + l.dir,
		"umid=" + c.Name,
	}
	args = append(args, words(c)...)
	args = append(args, fmt.Sprintf("ssl1=fd:%d", l.bell), "iomem=mmapper,"+home.FilePath(l.memory))
	for i, f := range c.Layers {
		// r: read-only; c: shared with other kernels, no lock.
		args = append(args, fmt.Sprintf("ubd%drc=%s", i, f))
	}
	if c.Disk != "" {
		args = append(args, fmt.Sprintf("ubd%d=%s", len(c.Layers), c.Disk))
	}
	if l.net != 0 {
		nic := fmt.Sprintf("vec0:transport=fd,fd=%d,mac=%s", l.net, c.MAC)
		if c.MTU > 0 {
			// The driver has no larger MTU set later than what it starts with.
			nic += fmt.Sprintf(",mtu=%d", c.MTU)
		}
		args = append(args, nic)
	}
	return append(args, c.Append...)
}

// checkPaths refuses paths that the kernel's command line cannot hold: ubd
// reads "," and ":" as separators, and spaces end a word for the guest's
// kernel, which joins its arguments into one line.
func checkPaths(c vm.Config) error {
	const special = " ,:\"\t\n"
	for _, f := range append([]string{c.Dir, c.Initrd, c.Disk}, c.Layers...) {
		if strings.ContainsAny(f, special) {
			return fmt.Errorf("machine %s: path %q: User Mode Linux takes no space, comma, colon or quote: use another folder", c.Name, f)
		}
	}
	return nil
}
