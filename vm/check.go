package vm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// MinMemory is the least memory of a machine: below it the kernel and the
// initramfs do not fit and the panic tells people nothing.
const MinMemory = 32 << 20

// MaxMemory is the most memory that can be asked for, 4 TiB: more is a slip of
// the pen, and every driver's arithmetic stays far from overflow.
const MaxMemory = 4 << 40

// maxName is the length of a DNS label (RFC 1035), which a machine's name is.
const maxName = 63

// Check tells what is wrong with c for a hypervisor of ability a, before
// anything is started. Every driver's Start calls it.
func (c Config) Check(a Ability) error {
	if err := checkName(c.Name); err != nil {
		return err
	}
	for _, f := range []func(Ability) error{c.checkResources, c.checkFiles, c.checkNet, c.checkAppend} {
		if err := f(a); err != nil {
			return fmt.Errorf("machine %s: %w", c.Name, err)
		}
	}
	return nil
}

func checkName(s string) error {
	if s == "" || len(s) > maxName || s[0] == '.' || s[0] == '-' {
		return fmt.Errorf("machine name %q: not a host name of 1 to %d characters", s, maxName)
	}
	for _, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '.') {
			return fmt.Errorf("machine name %q: %q is not a letter, digit, - or .", s, r)
		}
	}
	return nil
}

func (c Config) checkResources(a Ability) error {
	switch {
	case c.CPUs < 1:
		return fmt.Errorf("%d CPUs: at least 1 is needed", c.CPUs)
	case a.MaxCPUs > 0 && c.CPUs > a.MaxCPUs:
		return fmt.Errorf("%d CPUs: %w: at most %d here", c.CPUs, ErrTooManyCPUs, a.MaxCPUs)
	case c.Memory < MinMemory:
		return fmt.Errorf("%d bytes of memory: at least %d MiB are needed", c.Memory, MinMemory>>20)
	case c.Memory > MaxMemory:
		return fmt.Errorf("%d bytes of memory: at most %d GiB are allowed", c.Memory, int64(MaxMemory)>>30)
	}
	return nil
}

func (c Config) checkFiles(a Ability) error {
	files := append([]string{c.Initrd}, c.Layers...)
	if !a.OwnKernel {
		files = append(files, c.Kernel)
	}
	if c.Disk != "" {
		files = append(files, c.Disk)
	}
	for _, f := range files {
		if err := checkFile(f); err != nil {
			return err
		}
	}
	n := len(c.Layers)
	if c.Disk != "" {
		n++
	}
	if a.MaxDisks > 0 && n > a.MaxDisks {
		return &DisksError{Need: n, Most: a.MaxDisks}
	}
	if !filepath.IsAbs(c.Dir) {
		return fmt.Errorf("folder %q: not an absolute path", c.Dir)
	}
	if fi, err := os.Stat(c.Dir); err != nil {
		return err
	} else if !fi.IsDir() {
		return fmt.Errorf("folder %s: not a folder", c.Dir)
	}
	return nil
}

// DisksError tells of a machine with more block devices than its hypervisor has.
type DisksError struct {
	Need, Most int
}

// Error says how many there are.
func (e *DisksError) Error() string {
	return fmt.Sprintf("%d block devices: at most %d here: fold layers into one", e.Need, e.Most)
}

// checkFile refuses paths that a hypervisor's command line would read as
// something else: ubd takes "," and ":" for separators, QEMU doubles ",".
func checkFile(f string) error {
	if !filepath.IsAbs(f) {
		return fmt.Errorf("file %q: not an absolute path", f)
	}
	fi, err := os.Stat(f)
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() {
		return fmt.Errorf("file %s: not a regular file", f)
	}
	return nil
}

func (c Config) checkNet(Ability) error {
	if c.Net == nil {
		return nil
	}
	if len(c.MAC) != 6 || c.MAC[0]&1 != 0 {
		return fmt.Errorf("MAC %q: not the address of one Ethernet interface", c.MAC)
	}
	return nil
}

func (c Config) checkAppend(Ability) error {
	for _, w := range c.Append {
		if w == "" || strings.ContainsAny(w, " \t\n\"\x00") {
			return fmt.Errorf("kernel argument %q: empty, or with a space or quote in it", w)
		}
	}
	return nil
}

// ErrTooManyCPUs is the cause when a machine wants more CPUs than the
// hypervisor can give; another hypervisor may be able to.
var ErrTooManyCPUs = errors.New("too many CPUs")
