package ore

// Root says where a machine's tree of files is.
type Root string

// The roots that a machine can have; "" means Mounted.
const (
	Mounted Root = "mount" // layers, mounted, with a private disk over them
	OnDisk  Root = "disk"  // a disk, onto which the machine installs itself
)

// Storage is what a machine with its root on disk makes of its disks. When it
// is empty, the one disk that the machine has gets a layout by default.
type Storage struct {
	Disks   []Disk
	Arrays  []RAID
	Volumes []Volume
}

// Empty says whether nothing is described.
func (s Storage) Empty() bool { return len(s.Disks)+len(s.Arrays)+len(s.Volumes) == 0 }

// Disk is one disk of a machine and how it is divided.
type Disk struct {
	Match      Match
	Table      Table
	Wipe       bool // what others left on it may be destroyed
	Partitions []Partition
}

// Match says which of a machine's disks is meant. All that is given must hold;
// nothing given means the first disk that no other description takes.
type Match struct {
	Least, Most   int64  // its size in bytes, both inclusive; 0 means no bound
	Model, Serial string // patterns as of path.Match
	Path          string // the device, as the kernel or a link of udev names it, or a pattern
}

// Table is a kind of partition table.
type Table string

// The partition tables; "" means GPT.
const (
	GPT Table = "gpt" // UEFI specification 2.10, chapter 5
	MBR Table = "mbr" // four partitions, 2 TiB
)

// Share is how much of what there is a part takes: exactly one field is set.
type Share struct {
	Bytes   int64
	Percent int
	Rest    bool // what all others leave, evenly divided
}

// Partition is a part of a disk: a file system, or a part of something larger.
type Partition struct {
	Size Share
	FileSystem
	Array string // the array that it belongs to, or ""
	Group string // the volume group that it belongs to, or ""
}

// FileSystem is what is made of a partition, an array or a volume. With FS ""
// nothing is made.
type FileSystem struct {
	FS    string // "ext4", "xfs", "btrfs", "vfat" or "swap"
	Mount string // absolute, in the machine; "" where it is not mounted
	Label string
	UUID  string // "" lets the layout give one
}

// RAID is an array of the kernel (md(4)) over all partitions that name it.
type RAID struct {
	Name  string
	Level int // 0, 1, 5, 6 or 10
	FileSystem
	Group string // the volume group that it belongs to, or ""
}

// Volume is a logical volume (lvm(8)) of the group that partitions or arrays
// belong to.
type Volume struct {
	Group, Name string
	Size        Share
	FileSystem
}
