package disk

import (
	"fmt"
	"strconv"
	"strings"
)

// Action is one step of carrying a layout out: a program to run, or something
// that is done here.
type Action struct {
	Stage  string   // "partition" or "format"
	Does   string   // for people: "format /dev/sda1 as ext4 for /"
	Run    []string // a program and its arguments
	do     doing    // what is done here, where Run is empty
	disk   int      // whose disk
	made   *Made    // what Run makes, to be looked at afterwards
	undoes []string // what Run starts in the kernel is ended by this
}

// doing is what this package does itself.
type doing int

const (
	markBegun doing = iota + 1
	erase
	writeTable
	clearPart
	markFormatted
)

// Plan returns the actions that carry the layout out, in their order. It is
// pure; [Run] does them.
func Plan(l Layout) []Action {
	var all []Action
	for i, d := range l.Disks {
		all = append(all, Action{Stage: "partition", Does: "mark " + d.Path(), do: markBegun, disk: i})
	}
	for i, d := range l.Disks {
		all = append(all,
			Action{Stage: "partition", Does: "erase what " + d.Path() + " holds", do: erase, disk: i},
			Action{Stage: "partition", Does: fmt.Sprintf("write the %s of %s, %d partitions", d.Table.Kind, d.Path(), len(d.Table.Parts)), do: writeTable, disk: i},
			Action{Stage: "partition", Does: "erase the ends of the partitions of " + d.Path(), do: clearPart, disk: i})
	}
	for _, a := range l.Arrays {
		all = append(all, assemble(a))
	}
	for _, g := range l.Groups {
		all = append(all, group(g)...)
	}
	for _, m := range l.FileSystems() {
		all = append(all, Action{Stage: "format", Does: fmt.Sprintf("format %s as %s", m.Device, name(m)), Run: makeFileSystem(m), made: &m})
	}
	for i, d := range l.Disks {
		all = append(all, Action{Stage: "format", Does: "mark " + d.Path() + " as formatted", do: markFormatted, disk: i})
	}
	return all
}

// makeFileSystem returns the command line that makes m's file system. None discards
// what the device holds first, as these programs do when not told otherwise: a new
// disk in a file has nothing to discard, yet is asked for it in small pieces (User
// Mode Linux: 5 to 15 s for 20 GiB, of a machine that installs itself in 10), and
// a real one is trimmed in the system's time (fstrim.timer of util-linux).
func makeFileSystem(m Made) []string {
	label := func(option string) []string {
		if m.Label == "" {
			return nil
		}
		return []string{option, m.Label}
	}
	var argv []string
	switch m.FS {
	case "ext4":
		// The kernel writes the tables of inodes when it has time, as it does for who
		// makes a file system where ext4 is loaded already (mke2fs(8)).
		argv = append([]string{"mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", "-U", m.UUID}, label("-L")...)
	case "xfs":
		argv = append([]string{"mkfs.xfs", "-q", "-f", "-K", "-m", "uuid=" + m.UUID}, label("-L")...)
	case "btrfs":
		argv = append([]string{"mkfs.btrfs", "-q", "-f", "-K", "-U", m.UUID}, label("-L")...)
	case "vfat":
		argv = append([]string{"mkfs.vfat", "-F", "32", "-i", strings.ReplaceAll(m.UUID, "-", "")}, label("-n")...)
	case "swap":
		argv = append([]string{"mkswap", "-q", "-U", m.UUID}, label("-L")...)
	}
	return append(argv, m.Device)
}

// assemble returns the action that makes an array (mdadm(8)). Where its data
// begins is said, so that its size is the one computed.
func assemble(a Array) Action {
	argv := []string{"mdadm", "--create", a.Device, "--run", "--quiet", "--metadata=1.2", "--homehost=any", "--name=" + a.Name,
		"--uuid=" + strings.ReplaceAll(a.ID, "-", ""), "--level=" + strconv.Itoa(a.Level), "--data-offset=" + strconv.Itoa(memberBytes>>10) + "K"}
	if a.Level != 0 { // what has no second copy needs no map of what differs
		argv = append(argv, "--bitmap=internal")
	}
	if a.Level != 1 {
		argv = append(argv, "--chunk="+strconv.Itoa(chunk>>10)+"K")
	}
	argv = append(argv, "--raid-devices="+strconv.Itoa(len(a.Members)))
	return Action{Stage: "partition", Does: fmt.Sprintf("make array %s of %s", a.Name, strings.Join(a.Members, " ")),
		Run: append(argv, a.Members...), undoes: []string{"mdadm", "--stop", "--quiet", a.Device}}
}

// restart returns the actions that have the kernel run again what [Plan] made of
// arrays and groups: of an array all members are to be there that were at last.
func restart(l Layout) []Action {
	var all []Action
	for _, a := range l.Arrays {
		argv := []string{"mdadm", "--assemble", "--quiet", "--uuid=" + strings.ReplaceAll(a.ID, "-", ""), a.Device}
		all = append(all, Action{Does: "start array " + a.Name, Run: append(argv, a.Members...)})
	}
	for _, g := range l.Groups {
		all = append(all, Action{Does: "start group " + g.Name, Run: []string{"vgchange", "--config", noUdev, "-q", "-ay", g.Name}})
	}
	return all
}

// noUdev lets LVM make its device files itself: an installer has no udev.
const noUdev = "activation{udev_sync=0 udev_rules=0} devices{obtain_device_list_from_udev=0}"

// group returns the actions that make a group and its volumes (lvm(8)).
func group(g Group) []Action {
	lvm := func(does string, argv ...string) Action {
		return Action{Stage: "partition", Does: does, Run: append([]string{argv[0], "--config", noUdev}, argv[1:]...)}
	}
	all := []Action{
		lvm("prepare "+strings.Join(g.Members, " ")+" for group "+g.Name, append([]string{"pvcreate", "-q", "-ff", "-y", "-Zy", "--dataalignment", "1m"}, g.Members...)...),
		lvm("make group "+g.Name, append([]string{"vgcreate", "-q", "-s", strconv.Itoa(extent>>20) + "m", g.Name}, g.Members...)...),
	}
	for i, v := range g.Volumes {
		a := lvm("make volume "+g.Name+"/"+v.Name, "lvcreate", "-q", "-y", "-Wy", "-l", strconv.FormatInt(v.Extents, 10), "-n", v.Name, g.Name)
		if i == 0 { // one command ends them all
			a.undoes = []string{"vgchange", "--config", noUdev, "-q", "-an", g.Name}
		}
		all = append(all, a)
	}
	return all
}
