package vm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ore"
)

// whole returns a Config that nothing is wrong with.
func whole(t *testing.T) Config {
	dir := t.TempDir()
	f := filepath.Join(dir, "file")
	if err := os.WriteFile(f, []byte("abcde"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Config{
		Name: "m0", Dir: dir, Kernel: f, Initrd: f, Layers: []string{f}, Disk: f,
		Resources: ore.Resources{CPUs: 2, Memory: 64 << 20},
	}
}

func TestCheck(t *testing.T) {
	for _, x := range []struct {
		summary string
		change  func(*Config)
		want    string // "" for no error
	}{
		{"whole", func(*Config) {}, ""},
		{"no disk", func(c *Config) { c.Disk = "" }, ""},
		{"name with a space", func(c *Config) { c.Name = "a b" }, `machine name "a b"`},
		{"name too long", func(c *Config) { c.Name = strings.Repeat("a", 64) }, "machine name"},
		{"name of an option", func(c *Config) { c.Name = "-a" }, "machine name"},
		{"kernel missing", func(c *Config) { c.Kernel = "/no/such/kernel" }, "no such file"},
		{"kernel is a folder", func(c *Config) { c.Kernel = c.Dir }, "not a regular file"},
		{"relative layer", func(c *Config) { c.Layers = []string{"x"} }, "not an absolute path"},
		{"too many disks", func(c *Config) { c.Layers = append(c.Layers, c.Disk, c.Disk, c.Disk) }, "5 block devices: at most 4"},
		{"folder missing", func(c *Config) { c.Dir += "/no" }, "no such file"},
		{"too much memory", func(c *Config) { c.Memory = MaxMemory + 1 }, "4096 GiB"},
		{"multicast MAC", func(c *Config) { c.Net, c.MAC = os.Stdin, []byte{1, 0, 0, 0, 0, 0} }, "MAC"},
		{"two arguments in one", func(c *Config) { c.Append = []string{"a=1 b=2"} }, "kernel argument"},
	} {
		c := whole(t)
		x.change(&c)
		err := c.Check(Ability{MaxCPUs: 4, MaxDisks: 4})
		if x.want == "" && err != nil || x.want != "" && (err == nil || !strings.Contains(err.Error(), x.want)) {
			t.Errorf("%s: got %v, want %q", x.summary, err, x.want)
		}
	}
	c := whole(t)
	if err := c.Check(Ability{MaxCPUs: 1}); !errors.Is(err, ErrTooManyCPUs) {
		t.Errorf("two CPUs where there is one: %v", err)
	}
	c.Kernel = ""
	if err := c.Check(Ability{OwnKernel: true}); err != nil {
		t.Errorf("no kernel where none is needed: %v", err)
	}
}

// TestWriteInitrd: the second archive begins at a multiple of four bytes.
func TestWriteInitrd(t *testing.T) {
	c := whole(t)
	if p, err := c.WriteInitrd(c.Dir); err != nil || p != c.Initrd {
		t.Errorf("nothing to append: %s, %v", p, err)
	}
	c.Extra = []byte("extra")
	p, err := c.WriteInitrd(c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(p)
	if err != nil || string(b) != "abcde\x00\x00\x00extra" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestExitError(t *testing.T) {
	e := &ExitError{Machine: "m1", Console: "one\nlast words \n\n", Cause: ErrPanic}
	if got := e.Error(); got != "machine m1: kernel panic: console: last words" {
		t.Errorf("%q", got)
	}
	if !errors.Is(e, ErrPanic) {
		t.Error("the cause is lost")
	}
}
