package machine

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ore/install/configure"
	"ore/install/disk"
	"ore/install/recipe"
)

// failing makes a disk that takes so many bytes, wherever they are written, and fails
// all further writes as a broken one does: a loop device over a sparse file in a full
// tmpfs answers EIO. More returns it to health.
func failing(t *testing.T, size, room int64) (device string, heal func()) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	dir := t.TempDir()
	sh(t, "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", room), "tmpfs", dir)
	t.Cleanup(func() { sh(t, "umount", dir) })
	file := filepath.Join(dir, "disk")
	f, err := os.Create(file)
	if err == nil {
		err = f.Truncate(size)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	return attach(t, file), func() { sh(t, "mount", "-o", "remount,size="+fmt.Sprint(2*size), dir) }
}

// large writes more than is left of a failing disk into the tree, and has it written
// out if it is to notice.
func large(target string, notices bool) error {
	f, err := os.Create(filepath.Join(target, "large"))
	if err != nil {
		return err
	}
	b := make([]byte, 40*mib)
	rand.NewChaCha8([32]byte{9}).Read(b)
	_, err = f.Write(b)
	if notices && err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// A disk that fails writes fails the machine, wherever that is, with the disk and the
// place named; nothing hangs, nothing stays mounted, and it is not called installed. On
// a disk that takes them again the machine is made.
func TestFailingDisk(t *testing.T) {
	for _, c := range []struct {
		summary string
		room    int64
		last    func(target string) error // done when the tree is there
		place   string
		stage   string
	}{
		{"from the first byte on", 64 << 10, nil, "erase what ", recipe.Partition},
		{"when partitions are made", 3 * mib, nil, "erase the ends of the partitions of ", recipe.Partition},
		{"while a file is written", 20 * mib, func(at string) error { return large(at, true) }, "/large: ", recipe.Configure},
		{"when everything is written out", 20 * mib, func(at string) error { return large(at, false) }, " out to /dev/", recipe.Configure},
		{"under a program that says something else", 20 * mib,
			func(at string) error { return errors.Join(large(at, false), errors.New("exit status 1")) }, "exit status 1; write ", recipe.Configure},
	} {
		t.Run(c.summary, func(t *testing.T) {
			device, heal := failing(t, 300*mib, c.room)
			r := sample(t, device)
			_, k, err := install(t, r, func(o *Options) {
				if c.last != nil {
					o.Configure = func(_ context.Context, to configure.Options) error { return c.last(to.Target) }
				}
			})
			if err == nil || !strings.Contains(err.Error(), device) || !strings.Contains(err.Error(), c.place) || !strings.Contains(err.Error(), "the disk is broken or full: replace it") {
				t.Errorf("%v", err)
			}
			if !strings.HasSuffix(k.stages(), "!"+c.stage) {
				t.Errorf("told %s", k.stages())
			}
			heal()
			if s := look(t, r, device).State(); s == disk.Installed {
				t.Error("it is called installed")
			}
			if _, _, err := install(t, r); err != nil {
				t.Fatal(err)
			}
			whole(t, r, device)
		})
	}
}
