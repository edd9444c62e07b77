//go:build system

package boot

import (
	"context"
	"testing"

	"ore/deb/shelf"
)

// TestBootQEMU boots Debian's kernels in QEMU, each by its bzImage and by its
// vmlinux.
func TestBootQEMU(t *testing.T) {
	qemu := shelf.Host("qemu-system-x86_64")
	if qemu == nil {
		t.Fatal("no qemu-system-x86_64: install qemu-system-x86")
	}
	init := testInit(t)
	for _, pkg := range []string{"linux-image-cloud-amd64", "linux-image-amd64"} {
		c := config(t)
		c.Init = init
		b, err := QEMU(t.Context(), c, pkg)
		if err != nil {
			t.Fatal(err)
		}
		disk, modules := prepare(t, c, b)
		if b.Kernel.Vmlinux == "" {
			t.Errorf("%s: no vmlinux", pkg)
		}
		for _, kernel := range []string{b.Kernel.Vmlinux, b.Kernel.Path} {
			ctx, cancel := context.WithTimeout(t.Context(), bootTimeout)
			runMachine(t, qemu.Command(ctx, "-accel", "tcg", "-cpu", "qemu64,+rdrand", "-nodefaults", "-display", "none", "-no-reboot", "-m", "512",
				"-serial", "stdio", "-kernel", kernel, "-initrd", b.Initrd,
				"-drive", "if=none,id=m,format=raw,readonly=on,file="+modules, "-device", "virtio-blk-pci,drive=m",
				"-drive", "if=none,id=d,format=raw,file="+disk, "-device", "virtio-blk-pci,drive=d",
				"-append", "console=ttyS0 panic=-1 quiet nokaslr cryptomgr.notests"), b.Kernel.Version)
			cancel()
		}
	}
}
