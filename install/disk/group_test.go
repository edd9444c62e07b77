package disk

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"ore"
)

// Also on a kernel without device-mapper LVM keeps its books, which say whether a
// group has the extents that the layout counts on.
func TestGroupHasTheExtentsComputed(t *testing.T) {
	device, _ := loop(t, gib)
	w := Wish{Storage: stacked()}
	w.Storage.Disks, w.Storage.Arrays = w.Storage.Disks[:1], nil
	w.Storage.Disks[0].Match.Path = device
	for i := range w.Storage.Disks[0].Partitions {
		w.Storage.Disks[0].Partitions[i].Array, w.Storage.Disks[0].Partitions[i].Group = "", "vg"
		w.Storage.Disks[0].Partitions[i].Size.Bytes = int64(300+7*i) * mib
	}
	l := arrange(t, w, device)
	for _, a := range Plan(l) {
		if len(a.Run) > 0 && a.Run[0] == "lvcreate" {
			break
		}
		if err := (Doer{}).act(t.Context(), l, a); err != nil {
			t.Fatalf("%s: %v", a.Does, err)
		}
	}
	defer sh(t, "vgremove", "-f", "-y", "vg")
	if got := sh(t, "vgs", "--noheadings", "-o", "vg_extent_count", "vg"); got != "150" || l.Groups[0].Extents != 150 {
		t.Errorf("vgs says %s extents, the layout %d", got, l.Groups[0].Extents)
	}
}

func needStacks(t *testing.T) {
	t.Helper()
	for _, m := range []string{"dm_mod", "raid1", "raid0", "raid10", "raid456", "btrfs", "xfs", "loop"} {
		exec.Command("modprobe", m).Run() // what lacks shows below
	}
	needRoot(t)
	for _, f := range []string{"/proc/mdstat", "/sys/class/misc/device-mapper"} {
		if _, err := os.Stat(f); err != nil {
			t.Skipf("this kernel has neither md nor device-mapper: no %s", f)
		}
	}
}

// Arrays of all levels, of members that differ, have the sizes computed.
func TestArraysHaveTheSizesComputed(t *testing.T) {
	needStacks(t)
	device, _ := loop(t, 4*gib)
	w := Wish{Storage: ore.Storage{Disks: []ore.Disk{{Match: ore.Match{Path: device}}}}}
	for _, c := range []struct{ level, members int }{{0, 3}, {1, 2}, {5, 3}, {6, 4}, {10, 4}, {10, 3}} {
		name := fmt.Sprintf("a%d_%d", c.level, c.members)
		w.Storage.Arrays = append(w.Storage.Arrays, ore.RAID{Name: name, Level: c.level, FileSystem: ore.FileSystem{FS: "ext4", Mount: "/" + name}})
		for i := range c.members {
			w.Storage.Disks[0].Partitions = append(w.Storage.Disks[0].Partitions, ore.Partition{Size: ore.Share{Bytes: int64(40+i) * mib}, Array: name})
		}
	}
	l := arrange(t, w, device)
	if _, err := (Doer{}).Run(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	defer (Doer{}).Release(l)
	checkAll(t, l)
}

// A mirror under a group under file systems, and a stripe beside it: what LVM,
// mdadm and the kernel make has the very sizes of the layout, also when it is
// made a second time over the first.
func TestStackIsAsComputed(t *testing.T) {
	needStacks(t)
	a, _ := loop(t, 4*gib)
	b, _ := loop(t, 4*gib)
	w := Wish{Storage: stacked(), Firmware: BIOS}
	w.Storage.Disks[0].Match.Path, w.Storage.Disks[1].Match.Path = a, b
	for range 2 {
		l := arrange(t, w, a, b)
		if _, err := (Doer{}).Run(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		checkAll(t, l)
		for _, array := range l.Arrays {
			if out := sh(t, "mdadm", "--detail", array.Device); !strings.Contains(out, "Working Devices : 2") {
				t.Error(out)
			}
			if out := sh(t, "blockdev", "--getsize64", array.Device); out != itoa(array.Bytes) {
				t.Errorf("array %s has %s bytes, the layout says %d", array.Name, out, array.Bytes)
			}
		}
		if out := sh(t, "vgs", "--noheadings", "-o", "vg_extent_count,vg_free_count", "vg"); !strings.Contains(out, itoa(l.Groups[0].Extents)) || !strings.HasSuffix(out, " 0") {
			t.Error(out, l.Groups[0].Extents)
		}
		if s := arrange(t, w, a, b).State(); s != Formatted {
			t.Errorf("after all it is %v", s)
		}
		(Doer{}).Release(l)
	}
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
