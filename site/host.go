package site

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"ore"
	"ore/job"
	"ore/node/ports"
	"ore/site/supervisor"
)

// maxSocketPath is what the address of a Unix socket holds (unix(7)), less the
// zero byte at its end.
const maxSocketPath = 107

// CheckHost says what this host cannot give j, before any work is done for it.
// id is the job's name on this site.
func (s *Site) CheckHost(id string, j ore.Job) error {
	if p := supervisor.Socket(s.Folder(id)); len(p) > maxSocketPath {
		return fmt.Errorf("run folder %s: longer than a socket's address can be: set %s to a folder with a shorter path", s.Dirs.Run, HomeVariable)
	}
	h := j.Machines.Hypervisor
	uml := h == "uml" || h == "auto" && j.Machines.CPUs == 1 && j.Wants.Kernel == ""
	if uml && strings.ContainsAny(s.Dirs.Run+s.Dirs.Images+s.Dirs.Cache, " ,:\"\t\n") {
		return fmt.Errorf("state folder %s: User Mode Linux takes no space, comma, colon or quote in a path: set %s to another folder, or use hypervisor: qemu", s.Dirs.Run, HomeVariable)
	}
	total, _, err := memory()
	if err != nil {
		return fmt.Errorf("look at the host's memory: %w", err)
	}
	switch each, count := j.Machines.Memory, int64(j.Machines.Count); {
	case each > total:
		return fmt.Errorf("memory: %s asked for each machine: this host has %d MiB: ask for less", job.FormatSize(each), total>>20)
	case each*count > total:
		return fmt.Errorf("memory: %s asked for each of %d machines: this host has %d MiB: ask for less or for fewer machines", job.FormatSize(each), count, total>>20)
	}
	if uml {
		return roomFor(sharedMemory, j.Machines)
	}
	return nil
}

// CheckPorts says which port of j is taken now, before any work is done for it.
func CheckPorts(j ore.Job) error {
	var published []string
	for _, p := range j.Run.Publish {
		published = append(published, p.Listen)
	}
	return ports.Check(published)
}

// sharedMemory is where User Mode Linux has machines' memory, in files that cost
// what is touched.
const sharedMemory = "/dev/shm"

// touched is what a machine has touched of its memory when it has started.
const touched = 64 << 20

// roomFor says whether the folder dir, which has a size of its own, holds the
// memory that m's machines touch by starting, and all of one: a machine that
// finds it full dies. Without the folder they have their memory elsewhere.
func roomFor(dir string, m ore.Machines) error {
	size, free, err := room(dir)
	need := max(m.Memory, int64(m.Count)*touched)
	if err != nil || size == 0 || need <= free { // one without a limit has size 0
		return nil
	}
	return fmt.Errorf("memory: %d machines of %s: %s, where their memory lies, has %d MiB free: ask for less, or have root enlarge it: mount -o remount,size=%dM %s",
		m.Count, job.FormatSize(m.Memory), dir, free>>20, (size-free+need)>>20+1, dir)
}

// room returns the size of the file system at dir and what is free of it.
func room(dir string) (size, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("look at %s: %w", dir, err)
	}
	return int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize, nil
}

// memory returns the host's memory and how much of it is free, in bytes.
func memory() (total, free int64, err error) {
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
