package boot

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	// nobody is an ordinary user that every Debian system has.
	nobody = 65534
	// bootTimeout is how long a test's machine may take; a busy host takes
	// long to emulate one.
	bootTimeout = 2 * time.Minute
	testDisk    = 2 << 30
)

// testInit builds the init of the tests' machines.
func testInit(t *testing.T) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "init")
	c := exec.Command("go", "build", "-o", out, "./testdata/init")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if b, err := c.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, b)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// prepare makes the disk and the modules' image in a folder that an ordinary
// user may use.
func prepare(t *testing.T, c Config, b *Boot) (disk, modules string) {
	t.Helper()
	modules, err := b.Modules(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	disk = filepath.Join(c.Dir, "test-disk")
	if err := Disk(t.Context(), c, disk, testDisk); err != nil {
		t.Fatal(err)
	}
	for d := filepath.Dir(c.Dir); d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if os.Getuid() == 0 {
		if err := os.Chown(disk, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	return disk, modules
}

// runMachine runs a hypervisor, as an ordinary user and as the first process of
// a PID namespace where that can be had, and looks at what the guest said.
func runMachine(t *testing.T, c *exec.Cmd, release string) {
	t.Helper()
	if os.Getuid() == 0 {
		c.SysProcAttr = &syscall.SysProcAttr{
			Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, Cloneflags: syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL,
		}
	}
	c.Dir = "/"
	c.WaitDelay = time.Second
	out, err := c.CombinedOutput()
	want := "boot test: release " + release + ", disk 2"
	if !strings.Contains(string(out), want) {
		t.Errorf("%v: the console does not say %q:\n%s", err, want, out)
	}
}

func TestBootUML(t *testing.T) {
	c := config(t)
	c.Init = testInit(t)
	b, err := UML(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	disk, modules := prepare(t, c, b)
	ctx, cancel := context.WithTimeout(t.Context(), bootTimeout)
	defer cancel()
	runMachine(t, b.Program.Command(ctx, "mem=128M", "initrd="+b.Initrd, "ubd0rc="+modules, "ubd1="+disk, "con=null", "con0=null,fd:1", "ssl=null",
		"quiet", "panic=-1", "noreboot", "initcall_blacklist=raid6_select_algo", "pty.legacy_count=0", "uml_dir="+os.TempDir(), "umid=ore-boot-test"), b.Kernel.Version)
}
