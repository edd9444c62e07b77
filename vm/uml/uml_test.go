package uml

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"ore"
	"ore/vm"
	"ore/vm/vmtest"
)

// program is where Debian's package user-mode-linux has the kernel.
const program = "/usr/bin/linux.uml"

// initrdVar names an initramfs that was already built, for a test that runs
// itself as another user, who may have no Go.
const initrdVar = "ORE_TEST_INITRAMFS"

// nobody is the user and group that ordinary tests run as.
const nobody = 65534

func initramfs(t *testing.T) string {
	t.Helper()
	if p := os.Getenv(initrdVar); p != "" {
		return p
	}
	return vmtest.WriteInitramfs(t, vmtest.BuildInit(t), "/")
}

// TestConformance starts real machines.
func TestConformance(t *testing.T) {
	h := New(Config{Program: program})
	a, err := h.Probe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if !a.Works {
		t.Fatalf("%s: %s", a.Why, a.Fix)
	}
	vmtest.Conformance(t, h, vm.Config{
		Initrd: initramfs(t), Resources: ore.Resources{CPUs: 1, Memory: 128 << 20},
	})
}

// TestOrdinaryUser runs the whole suite again without any privilege.
func TestOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("TestConformance already ran as an ordinary user")
	}
	// The test's own temporary folders are closed to other users.
	dir, err := os.MkdirTemp("/tmp", "ore-uml-test-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	for _, f := range [][2]string{{initramfs(t), "initramfs"}, {os.Args[0], "test"}} {
		b, err := os.ReadFile(f[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, f[1]), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(dir, "test"), "-test.run=^TestConformance$", "-test.v")
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "TMPDIR=" + dir, "HOME=" + dir, initrdVar + "=" + filepath.Join(dir, "initramfs")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestNoKernel: a kernel that is not there is an answer and what to do.
func TestNoKernel(t *testing.T) {
	a, err := New(Config{Program: "/no/such/linux.uml"}).Probe(context.Background())
	if err != nil || a.Works || a.Why == "" || a.Fix == "" {
		t.Errorf("%+v, %v", a, err)
	}
}
