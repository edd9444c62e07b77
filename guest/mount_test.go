package guest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ore/guest"
)

// mounted makes an input of a folder and one of a file.
func mounted(t testing.TB, dir string) (folder, file string) {
	t.Helper()
	for name, text := range map[string]string{"folder/sub/f": "from the folder\n", "file/" + guest.MountedFile: "from the file\n", "folder/run": "#!/bin/sh\necho ran\n"} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"folder", "file"} {
		run(t, "mksquashfs", filepath.Join(dir, name), filepath.Join(dir, name+".squashfs"), "-quiet", "-no-progress", "-all-root", "-comp", "lz4")
	}
	return filepath.Join(dir, "folder.squashfs"), filepath.Join(dir, "file.squashfs")
}

// testMounts wants what two machines mount to be there, the same in both, and
// not to be changed by root.
func (c cluster) testMounts(t *testing.T, dir string) {
	folder, file := mounted(t, dir)
	c.layers = append(c.layers, folder, file)
	mounts := []guest.Mount{{Path: "/data/some/db"}, {Path: "/job/query.fa", File: true}}
	for _, m := range c.start(t, guest.Identity{Name: "m0", Mounts: mounts}, guest.Identity{Name: "m1", Mounts: mounts}) {
		if got, want := m.sh(t, "cat /data/some/db/sub/f query.fa; /data/some/db/run; ls /data/some"), "from the folder\nfrom the file\nran\ndb\n"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		for _, change := range []string{"echo x > /data/some/db/new", "echo x > /data/some/db/sub/f", "rm /data/some/db/sub/f", "echo x > query.fa"} {
			if got := m.sh(t, fmt.Sprintf("(%s) 2>&1; true", change)); !strings.Contains(got, "Read-only file system") {
				t.Errorf("%s: %q", change, got)
			}
		}
		m.sh(t, "! mount -o remount,rw /data/some/db 2>/dev/null && ! dd if=/dev/zero of=$(sed -n 's|^\\(/dev/[^ ]*\\) /data/some/db .*|\\1|p' /proc/mounts) count=1 2>/dev/null")
		m.sh(t, "echo mine > other; mkdir /data/mine")
		if got := m.sh(t, "stat -c %a /job; ls /run/ore | grep -c input; grep -c /run/ore/input /proc/mounts; true"); got != "1777\n0\n0\n" {
			t.Errorf("%q", got)
		}
	}
}

func TestMountsInUML(t *testing.T) {
	dir := t.TempDir()
	inUML(t, dir, 64<<20, busybox(t, dir)).testMounts(t, dir)
}

// A mount that cannot be is told in the greeting, with its path.
func TestMountOverAFolderThatShouldBeAFile(t *testing.T) {
	dir := t.TempDir()
	_, file := mounted(t, dir)
	c := inUML(t, dir, 64<<20, busybox(t, dir), file)
	_, err := c.boot(t, guest.Identity{Name: "m0", Mounts: []guest.Mount{{Path: "/usr/lib", File: true}}}, nil)
	if err == nil || !strings.Contains(err.Error(), "/usr/lib: a folder of the image") {
		t.Errorf("%v", err)
	}
}
