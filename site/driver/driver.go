// Package driver chooses the hypervisor of a job's machines, as far as a job leaves
// the choice: User Mode Linux, which always works and starts fastest, unless the job
// asks for what it does not have.
package driver

import (
	"fmt"

	"ore/cluster"
	"ore/job"
)

// The drivers that are chosen between, and the word that leaves the choice.
const (
	Auto = "auto"
	UML  = "uml"
	QEMU = "qemu"
)

// Choose returns the hypervisor of a reservation. If it is another one than whoever
// left the choice would expect, note says why, and what to do.
func Choose(r cluster.Reservation) (name, note string, err error) {
	h := r.Machines.Hypervisor
	switch {
	case h == UML && r.Machines.CPUs > 1:
		return "", "", fmt.Errorf("machines: %d CPUs: User Mode Linux has one: use cpus: 1, or hypervisor: qemu", r.Machines.CPUs)
	case h == UML && r.Kernel != "":
		return "", "", fmt.Errorf("environment: kernel %s: User Mode Linux is a kernel of its own: leave the kernel out, or use hypervisor: qemu", r.Kernel)
	case h != Auto:
		return h, "", nil
	case r.Machines.CPUs > 1 || r.Kernel != "":
		return QEMU, "", nil
	case r.Mounts > job.SureMounts:
		return QEMU, fmt.Sprintf("%d folders or files are mounted, which are more disks than User Mode Linux is sure to have beside an image's: machines run under QEMU, which starts slowly where there is no KVM: mount one folder that holds them all, or take --hypervisor uml if the image has few layers", r.Mounts), nil
	}
	return UML, "", nil
}
