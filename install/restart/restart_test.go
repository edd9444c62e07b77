package restart

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPossible reads trees of kernels that have kexec, have not, and may not.
func TestPossible(t *testing.T) {
	for _, c := range []struct {
		summary string
		files   map[string]string
		says    string // "" where it is possible
	}{
		{"User Mode Linux", nil, "no kexec"},
		{"Debian's kernel", map[string]string{"sys/kernel/kexec_loaded": "0\n", "proc/sys/kernel/kexec_load_disabled": "0\n"}, ""},
		{"without the switch", map[string]string{"sys/kernel/kexec_loaded": "0\n"}, ""},
		{"switched off", map[string]string{"sys/kernel/kexec_loaded": "0\n", "proc/sys/kernel/kexec_load_disabled": "1\n"}, "kexec_load_disabled"},
	} {
		root := t.TempDir()
		for name, content := range c.files {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(root, name)), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		err := possible(root)
		if c.says == "" && err != nil || c.says != "" && (!errors.Is(err, ErrNoKexec) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", c.summary, err, c.says)
		}
	}
}

// TestLoadRefuses loads what is no kernel, which no host takes.
func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	none := filepath.Join(dir, "none")
	if err := os.WriteFile(none, make([]byte, 4096), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		summary string
		next    Next
		says    string
	}{
		{"no such kernel", Next{Kernel: filepath.Join(dir, "missing")}, "no such file"},
		{"no such initramfs", Next{Kernel: none, Initrd: filepath.Join(dir, "missing")}, "no such file"},
		{"too many arguments", Next{Kernel: none, Arguments: strings.Repeat("x", maxArguments)}, "use fewer than 2048"},
		{"a NUL", Next{Kernel: none, Arguments: "a\x00b"}, "no NUL"},
		{"no kernel", Next{Kernel: none, Initrd: none, Arguments: "quiet"}, none},
	} {
		if err := Load(c.next); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.summary, err, c.says)
		}
	}
}

// TestRefusalsAreWords makes sure that what kernels without kexec say is told
// apart from what is wrong with a file.
func TestRefusalsAreWords(t *testing.T) {
	for errno, none := range map[unix.Errno]bool{unix.ENOSYS: true, unix.EPERM: true, unix.EKEYREJECTED: true, unix.ENOEXEC: false, unix.ENOMEM: false, unix.EIO: false} {
		err := why(errno)
		if !errors.Is(err, errno) || errors.Is(err, ErrNoKexec) != none {
			t.Errorf("%v: %v", errno, err)
		}
	}
	if err := why(0); err != nil {
		t.Error(err)
	}
}
