package qemu

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
	c := full()
	c.CPUs, c.Disk = 4, "/disks/a,b"
	golden(t, "tcg", arguments(c, layout{accelerator: TCG, initrd: "/run/m3/qemu-1/initrd", home: 3, monitor: 4, net: 5}))
	c.Layers, c.Disk, c.Append = nil, "", nil
	golden(t, "kvm", arguments(c, layout{accelerator: KVM, initrd: "/k/initrd", home: 3, monitor: 4}))
}
