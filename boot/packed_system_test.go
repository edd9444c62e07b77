//go:build system

package boot

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ore/squashfs"
)

// maxLoaded bounds what a machine loads: what passes a line of 1 Gbit/s in a
// second. Without a real image it is less.
const maxLoaded = 125_000_000

// TestPackRealKernel packs Debian's kernel and weighs the parts. The modules of
// common disks and cards are there, with what they need, and indexed.
func TestPackRealKernel(t *testing.T) {
	c := config(t)
	c.Init = testInit(t)
	b, err := QEMU(t.Context(), c, "linux-image-amd64")
	if err != nil {
		t.Fatal(err)
	}
	small := filepath.Join(c.Dir, "small.squashfs")
	f, err := os.Create(small)
	if err != nil {
		t.Fatal(err)
	}
	w, err := squashfs.NewWriter(f, squashfs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(squashfs.Entry{Path: ".", Mode: fs.ModeDir | 0o755}, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	content := Content{Layers: []string{small}, Program: small}
	if layers := os.Getenv("ORE_TEST_LAYERS"); layers != "" { // a real installer's, to be weighed
		content = Content{Layers: strings.Split(layers, ":"), Program: os.Getenv("ORE_TEST_PROGRAM")}
	}
	p, err := b.Pack(t.Context(), content)
	if err != nil {
		t.Fatal(err)
	}
	var all int64
	for _, part := range p.Parts {
		t.Logf("%-10s %10d  %s", part.Name, part.Size, part.Why)
		all += part.Size
	}
	t.Logf("%-10s %10d", "all", all)
	if all > maxLoaded {
		t.Errorf("%d bytes: more than %d", all, maxLoaded)
	}
	for path, want := range map[string]string{p.Kernel: string(p.KernelDigest), p.Initramfs: string(p.InitramfsDigest)} {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := digestOf(f); err != nil || string(got) != want {
			t.Errorf("%s: digest %s, told %s, %v", path, got, want, err)
		}
		f.Close()
	}
	again, err := b.Pack(t.Context(), content)
	if err != nil || again.Initramfs != p.Initramfs {
		t.Errorf("packed once more: %v, %v", again.Initramfs, err)
	}
	image, err := b.carriedModules(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("unsquashfs", "-ll", image).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, m := range []string{"nvme.ko", "ahci.ko", "sd_mod.ko", "virtio_blk.ko", "megaraid_sas.ko", "e1000e.ko", "igb.ko", "i2c-algo-bit.ko", "tg3.ko", "mlx5_core.ko", "virtio_net.ko", "xfs.ko", "raid456.ko", "modules.dep.bin"} {
		if !strings.Contains(string(out), "/"+m) {
			t.Errorf("no %s", m)
		}
	}
}
