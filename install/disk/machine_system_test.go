//go:build system

package disk

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// This package's tests of arrays and groups, in a machine whose kernel has both,
// whatever the host's has.
func TestStacksInAMachine(t *testing.T) {
	program, err := filepath.Abs("../../bin/ore")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(program); err != nil {
		t.Skip("bin/ore is not built: make build")
	}
	dir := t.TempDir()
	build := exec.Command("go", "test", "-c", "-o", filepath.Join(dir, "disk.test"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	argv := []string{"run", "--hypervisor", "uml", "--memory", "768M", "--input", "disk.test"}
	for _, p := range []string{"lvm2", "mdadm", "xfsprogs", "btrfs-progs", "dosfstools", "e2fsprogs", "kmod", "mount", "fdisk"} {
		argv = append(argv, "--package", p)
	}
	// raid456 panics under User Mode Linux 6.12, so the sizes of its arrays are
	// looked at where a kernel of real hardware runs the tests.
	c := exec.Command(program, append(argv, "--", "./disk.test", "-test.v", "-test.run", "StackIs")...)
	c.Dir = dir
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestStackIsAsComputed") {
		t.Errorf("%v\n%s", err, out)
	}
}
