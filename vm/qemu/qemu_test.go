package qemu

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"ore"
	"ore/deb/shelf"
	"ore/deb/shelf/shelftest"
	"ore/vm"
	"ore/vm/vmtest"
)

// program is where Debian's package qemu-system-x86 has QEMU.
const program = "/usr/bin/qemu-system-x86_64"

// debian returns Debian's cloud kernel and its modules, out of their package.
func debian(t *testing.T) (kernel, modules string) {
	t.Helper()
	s, err := shelf.Open(filepath.Join(t.TempDir(), "shelf"), shelftest.Source(t))
	if err != nil {
		t.Fatal(err)
	}
	tree, err := s.Tree(t.Context(), "linux-image-cloud-amd64")
	if err != nil {
		t.Fatal(err)
	}
	for path, into := range map[string]*string{"boot/vmlinuz-*-cloud-amd64": &kernel, "lib/modules/*-cloud-amd64": &modules} {
		found, err := filepath.Glob(filepath.Join(tree.Dir, path))
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: %v, %v", path, found, err)
		}
		*into = found[0]
	}
	return kernel, modules
}

// drivers are the modules of virtio.
func drivers() []string {
	return []string{
		"virtio.ko", "virtio_ring.ko", "virtio_pci_legacy_dev.ko", "virtio_pci_modern_dev.ko", "virtio_pci.ko",
		"virtio_blk.ko", "failover.ko", "net_failover.ko", "virtio_net.ko", "virtio_console.ko",
	}
}

// paths finds the drivers that are modules of this kernel.
func paths(t *testing.T, modules string) []string {
	t.Helper()
	var found []string
	for _, d := range drivers() {
		err := fs.WalkDir(os.DirFS(modules), "kernel", func(p string, e fs.DirEntry, err error) error {
			if err == nil && e.Name() == d {
				found = append(found, p)
				return fs.SkipAll
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// prepare returns a hypervisor on what the probe finds, and its guest.
func prepare(t *testing.T) (*Host, vm.Config) {
	t.Helper()
	kernel, modules := debian(t)
	h := New(Config{Program: program, ProbeKernel: kernel})
	a, err := h.Probe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if !a.Works {
		t.Fatalf("%s: %s", a.Why, a.Fix)
	}
	t.Logf("%+v", a)
	return h, vm.Config{
		Kernel:    kernel,
		Initrd:    vmtest.WriteInitramfs(t, vmtest.BuildInit(t), modules, paths(t, modules)...),
		Resources: ore.Resources{CPUs: 2, Memory: 256 << 20},
	}
}

// TestSample starts two real machines; the whole suite is in the system tier.
func TestSample(t *testing.T) {
	h, base := prepare(t)
	vmtest.Sample(t, h, base)
}
