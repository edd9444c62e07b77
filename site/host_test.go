package site

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ore"
	"ore/job"
	"ore/site/spare"
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
		err := spare.RoomFor(dir, ore.Machines{Count: c.count, Resources: ore.Resources{Memory: c.memory}})
		if (err == nil) != c.fits || err != nil && !strings.Contains(err.Error(), dir+", where their memory lies as they touch it, has 300 MiB free of the ") || err != nil && !strings.Contains(err.Error(), fmt.Sprintf("size=%dM ", int64(c.count)*c.memory>>20+1)) {
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

// A folder whose path is too long for a socket is found by doctor as by a run.
func TestLongFolder(t *testing.T) {
	s := newSite(t)
	if f := s.findSpace(); strings.Contains(f.Fix, "shorter") {
		t.Errorf("doctor: %+v", f)
	}
	s.Book.Run = "/" + strings.Repeat("r", maxSocketPath-len("/job-123456/node"))
	if f := s.findSpace(); f.Works || !strings.Contains(f.Fix, "set ORE_HOME to a folder with a shorter path") {
		t.Errorf("doctor: %+v", f)
	}
	if err := s.CheckHost("job-123456", job.Default("")); err == nil || !strings.Contains(err.Error(), "shorter path") {
		t.Errorf("run: %v", err)
	}
}

// What a killed build left, whose janitor was killed too, goes when a site is
// opened, and pruning says that it did.
func TestOpenClearsDeadBuilds(t *testing.T) {
	s := newSite(t)
	dead := filepath.Join(s.Dirs.Cache, "install", "work", "build-1")
	if err := errors.Join(os.MkdirAll(dead, 0o700), os.WriteFile(filepath.Join(dead, "half"), make([]byte, 1000), 0o600), os.WriteFile(dead+".lock", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	again, err := Open(t.Context(), Config{Dirs: s.Dirs})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if list, err := os.ReadDir(filepath.Dir(dead)); err != nil || len(list) > 0 {
		t.Errorf("left: %v, %v", list, err)
	}
	if n, err := again.PruneBuilds(t.Context(), 1<<30); n != 1000 || err != nil {
		t.Errorf("freed %d bytes, %v", n, err)
	}
}
