package job

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ore"
)

const stored = `
machines:
  root: disk
  disks:
    - match: {size: ">=20G", model: "QEMU*", serial: a1, path: "/dev/sd?"}
      table: mbr
      wipe: true
      partitions:
        - {mount: /, size: rest, fs: ext4, label: root, uuid: 0a1b2c3d-0a1b-4c2d-8e3f-0a1b2c3d4e5f}
        - {mount: swap, size: 512M}
        - {size: 20%, array: md0}
    - match: {size: 1G..2G}
      partitions:
        - {size: 1G, array: md0}
        - {size: rest, group: vg0}
  arrays:
    - {name: md0, level: 1, mount: /data, fs: xfs}
  volumes:
    - {group: vg0, name: home, size: rest, mount: /home, fs: btrfs}
`

func TestParseReadsDisks(t *testing.T) {
	j, err := Parse("job.yaml", "/d", []byte(stored), Default(""))
	if err != nil {
		t.Fatal(err)
	}
	rest := ore.Share{Rest: true}
	want := ore.Storage{
		Disks: []ore.Disk{{
			Match: ore.Match{Least: 20 << 30, Model: "QEMU*", Serial: "a1", Path: "/dev/sd?"}, Table: ore.MBR, Wipe: true,
			Partitions: []ore.Partition{
				{Size: rest, FileSystem: ore.FileSystem{FS: "ext4", Mount: "/", Label: "root", UUID: "0a1b2c3d-0a1b-4c2d-8e3f-0a1b2c3d4e5f"}},
				{Size: ore.Share{Bytes: 512 << 20}, FileSystem: ore.FileSystem{FS: "swap"}},
				{Size: ore.Share{Percent: 20}, Array: "md0"},
			},
		}, {
			Match: ore.Match{Least: 1 << 30, Most: 2 << 30}, Table: ore.GPT,
			Partitions: []ore.Partition{{Size: ore.Share{Bytes: 1 << 30}, Array: "md0"}, {Size: rest, Group: "vg0"}},
		}},
		Arrays:  []ore.RAID{{Name: "md0", Level: 1, FileSystem: ore.FileSystem{FS: "xfs", Mount: "/data"}}},
		Volumes: []ore.Volume{{Group: "vg0", Name: "home", Size: rest, FileSystem: ore.FileSystem{FS: "btrfs", Mount: "/home"}}},
	}
	if d := cmp.Diff(want, j.Machines.Storage); d != "" || j.Machines.Root != ore.OnDisk {
		t.Error(j.Machines.Root, d)
	}
	if err := CheckStorage(j.Machines.Storage); err != nil {
		t.Error(err)
	}
}

func TestDiskFaults(t *testing.T) {
	part := func(s string) string { return "machines:\n  disks:\n  - partitions:\n    - {" + s + "}\n" }
	for _, c := range []struct{ summary, file, want string }{
		{"root", "machines: {root: nfs}\n", `job.yaml:1:18: machines.root is "nfs": allowed are disk, mount`},
		{"no partitions", "machines: {disks: [{wipe: true}]}\n", `job.yaml:1:20: a disk needs partitions`},
		{"unknown key", part("sise: 1G"), `job.yaml:4:8: unknown key "sise" in a partition: allowed are array, fs, group, label, mount, size, uuid`},
		{"no size", part("fs: xfs, mount: /"), `job.yaml:4:7: a partition needs size`},
		{"percent", part("fs: xfs, mount: /, size: 120%"), `job.yaml:4:33: size is "120%": allowed is rest, 1% to 100%`},
		{"small", part("fs: xfs, mount: /, size: 4K"), `size is "4K": allowed is rest`},
		{"fs", part("fs: zfs, size: 1G"), `job.yaml:4:12: fs is "zfs": allowed are ext4, xfs, btrfs, vfat, swap`},
		{"mount without fs", part("mount: /, size: 1G"), `a partition with mount, label or uuid needs fs`},
		{"swap mounted", part("mount: /x, fs: swap, size: 1G"), `cannot be mounted on /x`},
		{"swap of ext4", part("mount: swap, fs: ext4, size: 1G"), `mount: swap has fs: ext4`},
		{"two uses", part("mount: /, fs: ext4, size: 1G, array: md0"), `a partition is one thing`},
		{"two groups", part("size: 1G, array: md0, group: vg"), `a partition is one thing`},
		{"relative mount", part("mount: home, fs: ext4, size: 1G"), `mount is "home": allowed is an absolute path`},
		{"label", part("fs: xfs, size: 1G, label: much-too-long-a-label"), `more than the 12 characters that xfs takes`},
		{"label that is an option", part("fs: xfs, size: 1G, label: -f"), `label is "-f"`},
		{"uuid", part("fs: xfs, size: 1G, uuid: zz"), `uuid is "zz": allowed is one such as`},
		{"uuid of vfat", part("fs: vfat, size: 1G, uuid: 1a2b-3c4d"), `allowed for vfat are eight`},
		{"size of a disk", "machines: {disks: [{match: {size: big}, partitions: [{size: 1G}]}]}\n", `job.yaml:1:35: size is "big": allowed is a size such as 20G`},
		{"bounds", "machines: {disks: [{match: {size: 2G..1G}, partitions: [{size: 1G}]}]}\n", `size is "2G..1G"`},
		{"path", "machines: {disks: [{match: {path: sda}, partitions: [{size: 1G}]}]}\n", `path is "sda": allowed is a device such as /dev/sda`},
		{"pattern", "machines: {disks: [{match: {model: \"[\"}, partitions: [{size: 1G}]}]}\n", `model is "[": allowed is a text`},
		{"level", "machines: {arrays: [{name: md0, level: 3}]}\n", `job.yaml:1:40: level is "3": allowed are 0, 1, 5, 6, 10`},
		{"array without level", "machines: {arrays: [{name: md0}]}\n", `an array needs name and level`},
		{"volume without group", "machines: {volumes: [{name: a, size: 1G}]}\n", `a volume needs group, name and size`},
		{"name", "machines: {volumes: [{name: ../a, group: b, size: 1G}]}\n", `name is "../a": allowed are letters`},
	} {
		t.Run(c.summary, func(t *testing.T) {
			_, err := Parse("job.yaml", "/d", []byte(c.file), Default(""))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestCheckStorage(t *testing.T) {
	for _, c := range []struct{ summary, change, with, want string }{
		{"no root", "mount: /,", "mount: /x,", "nothing is mounted on /: add"},
		{"twice", "mount: /home", "mount: /data", "two file systems are mounted on /data"},
		{"in memory", "mount: /home", "mount: /proc/x", "a machine has /proc in memory: use another path"},
		{"fstab", "mount: /home", "mount: /etc", "mount /etc: /etc/fstab, which says what is mounted, is there: use another path"},
		{"vfat", "fs: ext4, label: root, uuid: 0a1b2c3d-0a1b-4c2d-8e3f-0a1b2c3d4e5f", "fs: vfat", "/ is vfat"},
		{"a link", "mount: /home", "mount: /lib/modules", "mount /lib/modules: /lib is a link to /usr/lib: use another path"},
		{"what mounts it", "mount: /home", "mount: /usr/bin", "mount /usr/bin: what mounts it is there, though /usr as a whole can be a file system: use another path"},
		{"vfat for programs", "mount: /home, fs: btrfs", "mount: /usr, fs: vfat", "/usr is vfat"},
		{"few members", "level: 1", "level: 5", "array md0 has 2 partitions, level 5 needs 3"},
		{"unknown array", "name: md0", "name: md1", "array md1 has 0 partitions"},
		{"unknown group", "group: vg0, name", "group: vg1, name", "no partition or array has group: vg1"},
		{"empty group", "size: 1G, array: md0", "size: 1G, group: vg9", "array md0 has 1 partitions"},
		{"more than all", "size: 512M}", "size: 90%}", "take 110% of it"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			text := strings.Replace(stored, c.change, c.with, 1)
			if text == stored {
				t.Fatal("the description was not changed as meant")
			}
			const at = "job.yaml:5:5: machines: " // where the disks begin
			if _, err := Parse("job.yaml", "/d", []byte(text), Default("")); err == nil || !strings.HasPrefix(err.Error(), at) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s%s", err, at, c.want)
			}
		})
	}
}

// What is below /etc can be a file system of its own, and /usr with what no start needs.
func TestMountableOnDisk(t *testing.T) {
	for _, path := range []string{"/etc/letsencrypt", "/usr", "/usr/lib/modules", "/usr/local", "/var", "/library"} {
		if why := NotOnDisk(path); why != "" {
			t.Errorf("%s: %s", path, why)
		}
	}
}

// What fits no root is refused, with what to do.
func TestRoots(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{stored, ""},
		{"machines: {root: disk}\n", ""},
		{"machines: {root: disk, disk: 100M}\n", "machines: disk is 100M: a system that installs itself needs 512M: ask for a larger disk"},
		{"machines: {disks: [{partitions: [{mount: /, fs: ext4, size: rest}]}]}\n", "disks are described, but a mounted root has none"},
		{"machines: {system: {locale: C.UTF-8}}\n", "a system is described, but a mounted root belongs to its image"},
		{"machines: {root: mount}\n", ""},
	} {
		j, err := Parse("j", "/", []byte(c.text), Default(""))
		if err != nil {
			t.Fatal(err)
		}
		err = Check(j, false)
		if said := fmt.Sprint(err); (err == nil) != (c.want == "") || !strings.Contains(said, c.want) {
			t.Errorf("%s: got %v\nwant %s", c.text, err, c.want)
		}
	}
}
