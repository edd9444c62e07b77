package site

import (
	"fmt"
	"strings"

	"ore"
	"ore/job"
	"ore/node/ports"
	"ore/site/spare"
	"ore/site/supervisor"
)

// maxSocketPath is what the address of a Unix socket holds (unix(7)), less the
// zero byte at its end.
const maxSocketPath = 107

// CheckHost says what this host cannot give j, before any work is done for it.
// id is the job's name on this site.
func (s *Site) CheckHost(id string, j ore.Job) error {
	if err := s.checkSocket(id); err != nil {
		return err
	}
	h := j.Machines.Hypervisor
	uml := h == "uml" || h == "auto" && j.Machines.CPUs == 1 && j.Wants.Kernel == ""
	if uml && strings.ContainsAny(s.Dirs.Run+s.Dirs.Images+s.Dirs.Cache, " ,:\"\t\n") {
		return fmt.Errorf("state folder %s: User Mode Linux takes no space, comma, colon or quote in a path: set %s to another folder, or use hypervisor: qemu", s.Dirs.Run, HomeVariable)
	}
	total, _, err := spare.Memory()
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
		return spare.RoomFor(spare.Shared, j.Machines)
	}
	return nil
}

// checkSocket says whether the supervisor of the job id can have a socket.
func (s *Site) checkSocket(id string) error {
	if p := supervisor.Socket(s.Folder(id)); len(p) > maxSocketPath {
		return fmt.Errorf("run folder %s: longer than a socket's address can be: set %s to a folder with a shorter path", s.Dirs.Run, HomeVariable)
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
