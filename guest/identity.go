package guest

import (
	"bytes"
	"encoding/json"
	"fmt"

	"ore/guest/wire"
)

// IdentityPath is where ore-init finds its identity in the initramfs.
const IdentityPath = "/ore/identity.json"

// ModulesPath is the list of the kernel modules that ore-init loads, one path
// in the initramfs a line, in the order of loading.
const ModulesPath = "/ore/modules"

// Identity is all that makes one machine different from another. It reaches
// the machine in its initramfs and never on a kernel command line, which every
// process of the job could read.
type Identity struct {
	Job          string
	Name         string // "m0"; also the host name
	Rank, Size   int
	Token        string  // one-time, shown in the greeting
	Layers       int     // how many of the block devices are layers, lowest first
	Modules      bool    // the next device is a squashfs of /lib/modules
	Mounts       []Mount // the devices after these, in their order
	Hosts        []Host  // all machines of the job, in the order of ranks
	CPUs         int     // of each machine, for the host lists of MPI; 0 means 1
	Network      *Network
	Capabilities []Capability
	Seed         []byte   // fresh random bytes, for hypervisors without a generator
	Own          []File   // what stands in no image
	Blobs        []string // what the devices after the mounts are called in [BlobsPath], unread
	InMemory     bool     // what is written over the layers stays in memory; the last device is blank
	Root         *Root    // what is started is on the last device; layers, if any, are tools for it
}

// BlobsPath is the folder in which devices that nothing is mounted from have
// their names.
const BlobsPath = "/run/ore/blobs"

// DiskPath is the link by which a machine that installs itself knows its disk,
// whatever the hypervisor calls it.
const DiskPath = "/dev/disk/by-id/ore-disk"

// Root is a system on a disk of the machine's own, without layers under it.
type Root struct {
	FileSystem
	Usr     *FileSystem // mounted on /usr before all else, whose programs are there; nil if it is the root's
	Modules []string    // to be loaded before, by tools
	Arrays  bool        // there are arrays, which tools assemble (mdadm(8))
	Volumes bool        // there are volumes, which tools activate (lvm(8))
	More    bool        // its fstab(5) has more than the root and /usr
}

// FileSystem is one on the machine's disk.
type FileSystem struct {
	UUID string
	FS   string // its kind
	Part int    // the partition that it is on; 0 where tools have to find it by UUID
}

// Tools says whether somebody else's programs are needed to find or mount the
// root: the kernel itself has ext4 and partitions.
func (r Root) Tools() bool {
	return r.Part == 0 || r.Usr != nil && r.Usr.Part == 0 || len(r.Modules) > 0 || r.Arrays || r.Volumes
}

// Mount is an input that a machine mounts, from a squashfs.
type Mount struct {
	Path string // absolute, in the machine
	File bool   // the path is the file [MountedFile] of the squashfs, not its root
}

// MountedFile is the name of the one file in the squashfs of an input that is a
// file: what it is called on the host is no part of its content.
const MountedFile = "input"

// File is one that a machine is given at its start, where the folder for it is
// and no file of that name.
type File struct {
	Path    string // absolute, in the machine
	Mode    uint32 // permission bits
	Owner   string // by name; "" for root
	Group   string // by name; "" for root's
	Content []byte
}

// Host is a machine's name and address.
type Host = wire.Host

// Network is a machine's place in the job's network.
type Network struct {
	MAC     string   // says which interface is meant; "" for the only one
	Address string   // with prefix length, "10.86.0.2/24"; IPv4
	Gateway string   // "" for none
	DNS     []string // addresses
	Search  string   // domain that names are looked up in, "" for none
	MTU     int      // 0 leaves what the driver says
}

// Capability is a file capability that layers cannot carry: the value of the
// attribute security.capability (capabilities(7)).
type Capability struct {
	Path  string // absolute, in the machine
	Value []byte
}

// Archive returns the identity as a cpio archive (the "newc" form of the
// kernel's Documentation/driver-api/early-userspace/buffer-format.rst), which
// a driver appends to the initramfs.
func (id Identity) Archive() ([]byte, error) {
	j, err := json.Marshal(id)
	if err != nil {
		return nil, fmt.Errorf("identity %s: %w", id.Name, err)
	}
	var b bytes.Buffer
	entry := func(name string, mode uint32, content []byte) {
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
			b.Len(), mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0, name)
		pad(&b)
		b.Write(content)
		pad(&b)
	}
	entry("ore", 0o040700, nil)
	entry(IdentityPath[1:], 0o100600, j)
	entry("TRAILER!!!", 0, nil)
	return b.Bytes(), nil
}

// pad fills up to the multiple of four at which each part of an archive begins.
func pad(b *bytes.Buffer) {
	for b.Len()%4 != 0 {
		b.WriteByte(0)
	}
}
