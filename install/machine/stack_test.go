package machine

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ore"
	"ore/install/disk"
	"ore/install/recipe"
)

// A root on a volume, over an array, with xfs: what the kernel of this host can
// seldom do, and that of a machine can (see machine_system_test.go).
// The group has a name that no other test of this host uses.
func TestVolumes(t *testing.T) {
	device, file := stackable(t)
	r := stacked(t, device)
	for _, again := range []bool{false, true} {
		before := sum(t, file)
		out, _, err := install(t, r)
		if err != nil {
			t.Fatal(err)
		}
		if out.Already != again || again && sum(t, file) != before {
			t.Errorf("again %v, already %v", again, out.Already)
		}
		if b, _ := os.ReadFile("/proc/mdstat"); strings.Contains(string(b), "active") {
			t.Errorf("an array was left:\n%s", b)
		}
	}
	l := look(t, r, device)
	if s := l.State(); s != disk.Installed {
		t.Errorf("it is %v", s)
	}
	sh(t, append([]string{"mdadm", "--assemble", "--run", l.Arrays[0].Device}, l.Arrays[0].Members...)...)
	defer disk.Doer{}.Release(l)
	sh(t, "vgchange", "--config", "activation{udev_sync=0 udev_rules=0} devices{obtain_device_list_from_udev=0}", "-ay", "stack")
	for _, m := range l.FileSystems() {
		if m.Mount != "/" {
			continue
		}
		sh(t, "xfs_repair", "-n", m.Device)
		at := t.TempDir()
		sh(t, "mount", "-o", "ro", m.Device, at)
		defer sh(t, "umount", at)
		for name, want := range map[string]string{"usr/big": string(big()), "etc/hostname": "m0\n"} {
			if b, err := os.ReadFile(at + "/" + name); err != nil || string(b) != want {
				t.Errorf("%s: %v", name, err)
			}
		}
		if b, err := os.ReadFile(at + "/etc/mdadm/mdadm.conf"); err != nil || !strings.Contains(string(b), "ARRAY /dev/md0 ") {
			t.Errorf("%v\n%s", err, b)
		}
	}
}

// What failed over volumes and arrays goes on there, and they are not made anew.
func TestVolumesGoOn(t *testing.T) {
	device, _ := stackable(t)
	r := stacked(t, device)
	r.Partial, r.Strategy, r.Archive = true, recipe.Base, []string{"mirror:http://mirror.example.org/debian"}
	r.Environment.Manual = []string{"sample"}
	keep, tries := t.TempDir(), 0
	failing := func(o *Options) {
		o.Keep = keep
		o.Onto = func(_ context.Context, tree Tree) error {
			name := filepath.Join(tree.Target, "tried")
			if tries++; tries == 1 {
				return errors.Join(errors.New("no such table"), os.WriteFile(name, nil, 0o600))
			}
			return os.Remove(name)
		}
	}
	if _, _, err := install(t, r, failing); err == nil || !strings.Contains(err.Error(), "no such table") {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile("/proc/mdstat"); strings.Contains(string(b), "active") {
		t.Errorf("an array was left:\n%s", b)
	}
	if _, k, err := install(t, r, failing); err != nil || !strings.Contains(k.stages(), "-hardware +format -format +packages") {
		t.Errorf("%v %s", err, k.stages())
	}
	if s := look(t, r, device).State(); s != disk.Installed {
		t.Errorf("it is %v", s)
	}
}

// stackable makes a disk, where the kernel has what lies over some.
func stackable(t *testing.T) (device, file string) {
	t.Helper()
	for _, m := range []string{"dm_mod", "raid1", "xfs", "loop", "overlay"} {
		exec.Command("modprobe", m).Run() // what lacks shows below
	}
	for _, f := range []string{"/proc/mdstat", "/sys/class/misc/device-mapper"} {
		if _, err := os.Stat(f); err != nil {
			t.Skipf("this kernel has neither md nor device-mapper: no %s", f)
		}
	}
	return loop(t, 900*mib)
}

// stacked is the sample on a volume, over an array.
func stacked(t *testing.T, device string) recipe.Recipe {
	t.Helper()
	r := sample(t, device)
	rest := ore.Share{Rest: true}
	r.Storage.Disks[0].Partitions = []ore.Partition{
		{Size: ore.Share{Bytes: 64 * mib}, FileSystem: ore.FileSystem{FS: "ext4", Mount: "/boot"}},
		{Size: ore.Share{Bytes: 400 * mib}, Array: "md"}, {Size: ore.Share{Bytes: 400 * mib}, Array: "md"},
	}
	r.Storage.Arrays = []ore.RAID{{Name: "md", Level: 1, Group: "stack"}}
	r.Storage.Volumes = []ore.Volume{
		{Group: "stack", Name: "root", Size: rest, FileSystem: ore.FileSystem{FS: "xfs", Mount: "/"}},
		{Group: "stack", Name: "swap", Size: ore.Share{Bytes: 16 * mib}, FileSystem: ore.FileSystem{FS: "swap"}},
	}
	return r
}
