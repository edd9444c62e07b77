package uml

import (
	"context"
	"testing"

	"ore"
	"ore/vm"
	"ore/vm/vmtest"
)

// program is where Debian's package user-mode-linux has the kernel.
const program = "/usr/bin/linux.uml"

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
		Initrd:    vmtest.WriteInitramfs(t, vmtest.BuildInit(t), "/"),
		Resources: ore.Resources{CPUs: 1, Memory: 128 << 20},
	})
}
