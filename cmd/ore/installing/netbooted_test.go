package installing

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ore/install/configure"
	"ore/install/recipe"
	"ore/install/restart"
	"ore/netboot/roster"
)

// TestMachineSaysWhenItIsReady leaves word in a tree, twice: the second home is
// the one that counts.
func TestMachineSaysWhenItIsReady(t *testing.T) {
	target := t.TempDir()
	program := filepath.Join(t.TempDir(), "ore-init")
	if err := os.WriteFile(program, []byte("program"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, home := range []string{"http://10.9.0.1:8067/report/OLD", "http://10.9.0.1:8067/report/NEW"} {
		if err := leaveWord(target, program, home); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		path, has string
		mode      os.FileMode
	}{
		{readyProgram, "program", 0o755}, {readyFile, `{"home":"http://10.9.0.1:8067/report/NEW"}`, 0o400},
		{readyUnit, "ExecStart=/usr/local/lib/ore/ore-init ready /var/lib/ore/ready.json\n", 0o644},
	} {
		b, err := os.ReadFile(filepath.Join(target, c.path))
		if err != nil || !strings.Contains(string(b), c.has) {
			t.Errorf("%s: %q, %v", c.path, b, err)
		}
		if i, err := os.Stat(filepath.Join(target, c.path)); err != nil || i.Mode().Perm() != c.mode {
			t.Errorf("%s: mode %v, %v", c.path, i.Mode(), err)
		}
	}
	if to, err := os.Readlink(filepath.Join(target, readyWanted)); err != nil || to != "/"+readyUnit {
		t.Errorf("the unit is wanted as %q, %v", to, err)
	}
}

// TestOtherConsoles opens all active consoles but the last, and passes over those
// that are not there.
func TestOtherConsoles(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"sys/class/tty/console", "dev"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"sys/class/tty/console/active": "ttyS1 ttyS0 tty0\n", "dev/ttyS0": "", "dev/tty0": ""} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	all, release := otherConsoles(root)
	defer release()
	for _, w := range all {
		if _, err := io.WriteString(w, "hello"); err != nil {
			t.Error(err)
		}
	}
	for name, want := range map[string]string{"dev/ttyS0": "hello", "dev/tty0": ""} {
		if b, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(b) != want {
			t.Errorf("%s has %q, %v", name, b, err)
		}
	}
	if none, release := otherConsoles(t.TempDir()); len(none) != 0 {
		t.Errorf("without a kernel: %d", len(none))
	} else {
		release()
	}
}

// TestHomeKnowsTheStages compares what installers tell of with what servers hear.
func TestHomeKnowsTheStages(t *testing.T) {
	told, heard := recipe.Stages(), roster.Stages()
	slices.Sort(told)
	slices.Sort(heard)
	if !slices.Equal(told, heard) {
		t.Errorf("installers tell of %q, servers hear of %q", told, heard)
	}
}

// TestShow shows what begins and what fails, and is not stopped by what is no report.
func TestShow(t *testing.T) {
	var out strings.Builder
	n := netbooted{out: &out}
	n.show(strings.NewReader(`{"n":1,"stage":"hardware","event":"start"}
{"n":2,"stage":"hardware","event":"advance","text":"/dev/vda"}
{"n":3,"stage":"hardware","event":"end"}
{"n":4,"stage":"base","event":"start","text":"2 layers"}
{"n":5,"stage":"base","event":"fail","text":"no space"}
who wrote this?`))
	if want := "ore: hardware\nore: base: 2 layers\nore: base failed: no space\n"; out.String() != want {
		t.Errorf("shown:\n%s", &out)
	}
}

// TestWhateverKeepsKexecFirmwareStarts loads kernels that cannot be loaded, for each
// reason that there is: the machine starts through its firmware, and says why.
func TestWhateverKeepsKexecFirmwareStarts(t *testing.T) {
	whole := configure.Start{Kernel: "boot/vmlinuz-6", Initrd: "boot/initrd.img-6", Arguments: "quiet"}
	for _, c := range []struct {
		summary  string
		start    configure.Start
		possible error
		load     error
		says     string
	}{
		{summary: "it can", start: whole, says: "kexec"},
		{summary: "no kexec", start: whole, possible: fmt.Errorf("%w: it was switched off", restart.ErrNoKexec), says: "firmware: this kernel has no kexec: it was switched off"},
		{summary: "no kernel", says: "firmware: it has no kernel in /boot that could be loaded"},
		{summary: "locked down", start: whole, load: fmt.Errorf("%w: %w", restart.ErrNoKexec, unix.EPERM), says: "firmware: this kernel has no kexec: operation not permitted"},
		{summary: "no memory", start: whole, load: unix.ENOMEM, says: "firmware: cannot allocate memory"},
		{summary: "no room", start: whole, load: unix.EADDRNOTAVAIL, says: "firmware: cannot assign requested address"},
		{summary: "too many arguments", start: whole, load: errors.New("kernel arguments of 3000 bytes"), says: "firmware: kernel arguments of 3000 bytes"},
		{summary: "unreadable", start: whole, load: os.ErrPermission, says: "firmware: permission denied"},
	} {
		var asked restart.Next
		k := kexec{func() error { return c.possible }, func(n restart.Next) error { asked = n; return c.load }}
		if got := k.starts("/target", c.start); got != c.says {
			t.Errorf("%s: %q, want %q", c.summary, got, c.says)
		}
		want := restart.Next{Kernel: "/target/boot/vmlinuz-6", Initrd: "/target/boot/initrd.img-6", Arguments: "quiet"}
		if c.possible != nil || c.start.Kernel == "" {
			want = restart.Next{}
		}
		if asked != want {
			t.Errorf("%s: loaded %+v", c.summary, asked)
		}
	}
	if got := directly(restart.ErrNoKexec); got != "direct: this hypervisor has no kexec" || directly(nil) != "direct" {
		t.Errorf("directly: %q", got)
	}
}
