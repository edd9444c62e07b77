package job

import (
	"time"

	"ore"
)

// Limits of a job, each with its reason.
const (
	// MaxFile bounds a job file: contents of files stand in it, sequences do not.
	MaxFile = 4 << 20
	// MaxMachines is what one private network of a job can address.
	MaxMachines = 4096
	// MaxCPUs is the most that QEMU's usual machine types take.
	MaxCPUs = 255
	// MinMemory is what the smallest guest kernel and ore-init need to start.
	MinMemory = 48 << 20
	// MaxMemory is 48-bit addressing's share that every hypervisor takes.
	MaxMemory = 4 << 40
	// MinDisk is what an empty ext4 file system and some files need.
	MinDisk = 16 << 20
	// MinInstalled is what the smallest system takes that is there in full, with
	// room for the packages of a step.
	MinInstalled = 512 << 20
	// MaxDisk is the largest ext4 file system with 4 KiB blocks.
	MaxDisk = 16 << 40
	// MaxRetries keeps a hopeless job from running for ever.
	MaxRetries = 100
	// MaxTimeout is a year: longer is a typing error.
	MaxTimeout = 366 * 24 * time.Hour
	// MaxName is the length of a DNS label (RFC 1035), since machines are named after jobs.
	MaxName = 63
	// MaxMounts is what is left of the 24 disks of a machine under QEMU, besides
	// the five layers that an image may have, the kernel's modules and the
	// machine's own disk.
	MaxMounts = 17
	// MaxMountsUML is what is left of the 8 under User Mode Linux besides an
	// image of one layer.
	MaxMountsUML = 5
	// SureMounts is what every image leaves there.
	SureMounts = 1
	// maxDepth bounds how deep values nest; the format needs four levels.
	maxDepth = 16
)

// Defaults of a job that says nothing else.
const (
	DefaultMemory = 256 << 20
	DefaultDisk   = 20 << 30
	DefaultSuite  = "bookworm"
	DefaultName   = "job"
)

// Default returns the job that a file or flags change: one machine of the
// default size, suite as base, the command on every machine, outbound network.
func Default(suite string) ore.Job {
	if suite == "" {
		suite = DefaultSuite
	}
	return ore.Job{
		Name:  DefaultName,
		Wants: ore.Wants{Base: ore.Base{Distribution: "debian", Suite: suite}},
		Machines: ore.Machines{
			Count: 1, Hypervisor: "auto",
			Resources: ore.Resources{CPUs: 1, Memory: DefaultMemory, Disk: DefaultDisk},
		},
		Network: ore.NAT,
		Run:     ore.Run{Mode: ore.Each},
	}
}
