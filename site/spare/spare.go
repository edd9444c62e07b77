// Package spare says what this host has to spare for machines: memory, and room in
// the folder where some machines' memory lies.
package spare

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"ore"
	"ore/job"
)

// Shared is where User Mode Linux has machines' memory, in files that cost
// what is touched.
const Shared = "/dev/shm"

// touched is what a machine has touched of its memory when it has started.
const touched = 64 << 20

// RoomFor says whether the folder dir, which has a size of its own, holds the
// memory that m's machines touch by starting, and all of one: a machine that
// finds it full dies. It may hold less than they all could touch: memory costs
// what is touched. Without the folder they have their memory elsewhere.
func RoomFor(dir string, m ore.Machines) error {
	size, free, err := Room(dir)
	all := int64(m.Count) * m.Memory
	need := max(m.Memory, int64(m.Count)*touched)
	if err != nil || size == 0 || need <= free { // one without a limit has size 0
		return nil
	}
	return fmt.Errorf("memory: %d machines of %s: %s, where their memory lies as they touch it, has %d MiB free of the %d MiB that are the least: ask for less, or have root enlarge it for all that they may touch: mount -o remount,size=%dM %s",
		m.Count, job.FormatSize(m.Memory), dir, free>>20, need>>20, (size-free+max(all, need))>>20+1, dir)
}

// Room returns the size of the file system at dir and what is free of it.
func Room(dir string) (size, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("look at %s: %w", dir, err)
	}
	return int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize, nil
}

// Memory returns the host's memory and how much of it is free, in bytes.
func Memory() (total, free int64, err error) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, 0, err
	}
	for _, line := range strings.Split(string(b), "\n") {
		var name string
		var kib int64
		if n, _ := fmt.Sscanf(line, "%s %d", &name, &kib); n != 2 {
			continue
		}
		switch name {
		case "MemTotal:":
			total = kib << 10
		case "MemAvailable:":
			free = kib << 10
		}
	}
	return total, free, nil
}
