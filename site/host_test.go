package site

import (
	"net"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ore"
)

// A small /dev/shm is found before a machine dies of it.
func TestRoomForMemory(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("this test mounts a small file system: run it as root")
	}
	dir := t.TempDir()
	if err := unix.Mount("small", dir, "tmpfs", 0, "size=300m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	for _, c := range []struct {
		count  int
		memory int64
		fits   bool
	}{{1, 256 << 20, true}, {4, 256 << 20, true}, {1, 512 << 20, false}, {16, 256 << 20, false}} {
		err := roomFor(dir, ore.Machines{Count: c.count, Resources: ore.Resources{Memory: c.memory}})
		if (err == nil) != c.fits || err != nil && !strings.Contains(err.Error(), dir+", where their memory lies, has 300 MiB free: ask for less, or have root enlarge it") {
			t.Errorf("%d of %d MiB: %v", c.count, c.memory>>20, err)
		}
	}
	if f := findShared(dir); !f.Works || f.Fix != "" {
		t.Errorf("doctor: %+v", f)
	}
	if err := unix.Mount("small", dir, "", unix.MS_REMOUNT, "size=80m"); err != nil {
		t.Fatal(err)
	}
	if f := findShared(dir); f.Works || !strings.Contains(f.Fix, "mount -o remount") {
		t.Errorf("doctor with 80 MiB: %+v", f)
	}
}

// A port that is taken is told before anything is built.
func TestTakenPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var j ore.Job
	j.Run.Publish = []ore.Port{{Listen: l.Addr().String(), Port: 80}}
	if err := CheckPorts(j); err == nil || !strings.Contains(err.Error(), "in use by ") {
		t.Errorf("%v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := CheckPorts(j); err != nil {
		t.Errorf("once it is free: %v", err)
	}
}
