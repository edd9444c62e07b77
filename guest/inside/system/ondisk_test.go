package system

import (
	"slices"
	"strings"
	"testing"

	"ore/guest"
)

func TestPartition(t *testing.T) {
	for disk, want := range map[string]string{"/dev/ubdb": "/dev/ubdb2", "/dev/nvme0n1": "/dev/nvme0n1p2"} {
		if got := partition(disk, 2); got != want {
			t.Errorf("%s: %s, want %s", disk, got, want)
		}
	}
}

func onPart(n int) guest.FileSystem { return guest.FileSystem{UUID: "u", FS: "ext4", Part: n} }

// Without tools the root is mounted first and then /usr, where all programs are, also
// those that mount the rest.
func TestRootMounts(t *testing.T) {
	root := mount{source: "/dev/vdb1", target: "/ore/root", kind: "ext4", flags: noatime}
	usr := mount{source: "/dev/vdb2", target: "/ore/root/usr", kind: "ext4", flags: noatime}
	if got := rootMounts("/dev/vdb", &guest.Root{FileSystem: onPart(1)}); !slices.Equal(got, []mount{root}) {
		t.Errorf("one file system: %+v", got)
	}
	if got := rootMounts("/dev/vdb", &guest.Root{FileSystem: onPart(1), Usr: new(onPart(2))}); !slices.Equal(got, []mount{root, usr}) {
		t.Errorf("/usr as another: %+v", got)
	}
}

// Tools are called where the kernel alone does not find the root, and no others.
func TestToolCalls(t *testing.T) {
	onVolume := guest.FileSystem{UUID: "u", FS: "ext4"}
	for _, c := range []struct {
		summary string
		root    guest.Root
		tools   bool
		want    []string
	}{
		{"a partition", guest.Root{FileSystem: onPart(1)}, false, []string{"/bin/mount UUID=u /mnt"}},
		{"another kind", guest.Root{FileSystem: guest.FileSystem{UUID: "u", FS: "xfs"}, Modules: []string{"xfs"}}, true, []string{"/bin/mount UUID=u /mnt"}},
		{"a volume", guest.Root{FileSystem: onVolume, Volumes: true}, true, []string{"/sbin/vgchange", "/bin/mount UUID=u /mnt"}},
		{"/usr on a partition, too", guest.Root{FileSystem: onPart(1), Usr: new(onPart(2))}, false, []string{"/bin/mount UUID=u /mnt", "/bin/mount UUID=u /mnt/usr"}},
		{"/usr alone on a volume", guest.Root{FileSystem: onPart(1), Usr: &onVolume}, true, []string{"/bin/mount UUID=u /mnt", "/bin/mount UUID=u /mnt/usr"}},
		{"all", guest.Root{FileSystem: onPart(1), Arrays: true, Volumes: true}, true, []string{"/sbin/mdadm", "/sbin/vgchange", "/bin/mount UUID=u /mnt"}},
	} {
		b := &Machine{Identity: guest.Identity{Root: &c.root}}
		var got []string
		for _, call := range b.toolCalls() {
			if call[0] != "/bin/mount" {
				call = call[:1]
			}
			words := slices.Concat(call[:1], call[max(1, len(call)-2):])
			got = append(got, strings.Join(words, " "))
		}
		if !slices.Equal(got, c.want) || c.root.Tools() != c.tools {
			t.Errorf("%s: %q, tools %v", c.summary, got, c.root.Tools())
		}
	}
}

// What a program came to is told, and its failure with how it ended.
func TestRun(t *testing.T) {
	if err := run("", "/bin/sh", "-c", "exit 0"); err != nil {
		t.Error(err)
	}
	if err := run("", "/bin/sh", "-c", "exit 3"); err == nil || !strings.Contains(err.Error(), "exit code 3") {
		t.Errorf("got %v", err)
	}
	if err := run("", "/no/such/program"); err == nil || !strings.Contains(err.Error(), "run /no/such/program") {
		t.Errorf("got %v", err)
	}
}
