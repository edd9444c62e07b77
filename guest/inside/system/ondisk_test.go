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

// Tools are called where the kernel alone does not find the root, and no others.
func TestToolCalls(t *testing.T) {
	for _, c := range []struct {
		summary string
		root    guest.Root
		tools   bool
		want    []string
	}{
		{"a partition", guest.Root{UUID: "u", FS: "ext4", Part: 1}, false, []string{"/bin/mount"}},
		{"another kind", guest.Root{UUID: "u", FS: "xfs", Modules: []string{"xfs"}}, true, []string{"/bin/mount"}},
		{"a volume", guest.Root{UUID: "u", FS: "ext4", Volumes: true}, true, []string{"/sbin/vgchange", "/bin/mount"}},
		{"all", guest.Root{UUID: "u", FS: "ext4", Part: 1, Arrays: true, Volumes: true}, true, []string{"/sbin/mdadm", "/sbin/vgchange", "/bin/mount"}},
	} {
		b := &Machine{Identity: guest.Identity{Root: &c.root}}
		var got []string
		for _, call := range b.toolCalls() {
			got = append(got, call[0])
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
