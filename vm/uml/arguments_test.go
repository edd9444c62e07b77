package uml

import (
	"flag"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ore"
	"ore/vm"
)

// golden compares a command line with the one kept in testdata, one argument a
// line. Run the test with -update after a change that is meant.
func golden(t *testing.T, name string, args []string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	got := strings.Join(args, "\n") + "\n"
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
	}
}

var update = flag.Bool("update", false, "write the golden files")

func full() vm.Config {
	return vm.Config{
		Name: "m3", Dir: "/run/m3", Kernel: "/k/vmlinuz", Initrd: "/k/initrd", Extra: []byte("x"),
		Layers: []string{"/layers/a", "/layers/b"}, Disk: "/disks/m3", Append: []string{"ore.x=1"},
		MAC: net.HardwareAddr{0x52, 0x54, 0, 0, 0, 3}, Resources: ore.Resources{CPUs: 1, Memory: 300 << 20},
	}
}

func TestArguments(t *testing.T) {
	golden(t, "full", arguments(full(), layout{dir: "/run/m3/uml-1", initrd: "/run/m3/uml-1/initrd", bell: 3, memory: 4, net: 5}))
	c := full()
	c.Layers, c.Disk, c.Append = nil, "", nil
	golden(t, "least", arguments(c, layout{dir: "/run/m3/uml-1", initrd: "/k/initrd", bell: 3, memory: 4}))
}

// TestPaths: what the kernel's command line would take apart is refused.
func TestPaths(t *testing.T) {
	for _, bad := range []string{"/a b", "/a,b", "/a:b", "/a\"b", "/a\nb"} {
		c := full()
		c.Disk = bad
		if err := checkPaths(c); err == nil {
			t.Errorf("%q is not refused", bad)
		}
	}
	if err := checkPaths(full()); err != nil {
		t.Error(err)
	}
}

// RAID 6 is measured at boot only where a machine has it.
func TestParity(t *testing.T) {
	for _, parity := range []bool{false, true} {
		line := strings.Join(arguments(vm.Config{Name: "m0", Parity: parity}, layout{}), " ")
		if strings.Contains(line, "raid6_select_algo") == parity || !strings.Contains(line, "init_hostfs") {
			t.Errorf("parity %v: %s", parity, line)
		}
	}
}
