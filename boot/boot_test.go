package boot

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"ore/deb/shelf"
	"ore/deb/shelf/shelftest"
	"ore/squashfs"
)

func config(t *testing.T) Config {
	t.Helper()
	dir := t.TempDir()
	s, err := shelf.Open(filepath.Join(dir, "shelf"), shelftest.Source(t))
	if err != nil {
		t.Fatal(err)
	}
	return Config{Dir: filepath.Join(dir, "boot"), Shelf: s, Init: []byte("init")}
}

// names returns the names of the modules that an initramfs lists, in order,
// and checks that each is there.
func names(t *testing.T, initrd string) []string {
	t.Helper()
	f, err := os.Open(initrd)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	entries, err := ReadCPIO(f)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, e := range entries {
		files["/"+e.Path] = e.Data
	}
	if string(files["/init"]) != "init" {
		t.Errorf("init is %q", files["/init"])
	}
	var list []string
	for path := range strings.FieldsSeq(string(files["/ore/modules"])) {
		if !bytes.HasPrefix(files[path], []byte("\x7fELF")) {
			t.Errorf("%s is not there or no module", path)
		}
		list = append(list, strings.TrimSuffix(filepath.Base(path), ".ko"))
	}
	return list
}

// checkModules looks for the given paths in a kernel's image of modules.
func checkModules(t *testing.T, b *Boot, want ...string) {
	t.Helper()
	image, err := b.Modules(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	r, err := squashfs.NewReader(f, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range want {
		e, err := r.Lookup(b.Kernel.Version + "/" + w)
		if err != nil {
			t.Errorf("modules: %v", err)
			continue
		}
		full, err := os.ReadFile(filepath.Join(b.modules, w))
		if filepath.Ext(w) != ".ko" || err != nil {
			continue // an index, which has no other form
		}
		if isSigned := bytes.HasSuffix(full, []byte(signed)); isSigned != (e.Size == int64(len(full))) {
			t.Errorf("modules: %s has %d bytes in the package and %d in the image; signed: %t", w, len(full), e.Size, isSigned)
		}
	}
}

func TestUML(t *testing.T) {
	c := config(t)
	b, err := UML(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if b.Kernel.Package.Name != "user-mode-linux" || !strings.HasPrefix(b.Kernel.Version, b.Kernel.Package.Version[:1]) {
		t.Errorf("kernel %+v", b.Kernel)
	}
	if got, want := names(t, b.Initrd), []string{"squashfs", "overlay"}; !reflect.DeepEqual(got, want) {
		t.Errorf("modules %v, want %v", got, want)
	}
	checkModules(t, b, "modules.dep.bin", "kernel/fs/squashfs/squashfs.ko")
	again, err := UML(t.Context(), c)
	if err != nil || again.Initrd != b.Initrd {
		t.Errorf("a second time: %q, %v; want %q", again.Initrd, err, b.Initrd)
	}
	c.Init = []byte("another")
	if again, err = UML(t.Context(), c); err != nil || again.Initrd == b.Initrd {
		t.Errorf("another init has the initramfs of the first (%v)", err)
	}
}

func TestQEMU(t *testing.T) {
	b, err := QEMU(t.Context(), config(t), "linux-image-cloud-amd64")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(b.Kernel.Package.Name, b.Kernel.Version) || b.Kernel.Vmlinux == "" {
		t.Errorf("kernel %+v", b.Kernel)
	}
	place := map[string]int{}
	for i, n := range names(t, b.Initrd) {
		place[n] = i + 1
	}
	for _, c := range [][2]string{{"virtio_ring", "virtio"}, {"virtio", "virtio_pci"}, {"virtio", "virtio_blk"}, {"net_failover", "virtio_net"}} {
		if place[c[0]] == 0 || place[c[0]] >= place[c[1]] {
			t.Errorf("%s is at %d, %s at %d", c[0], place[c[0]], c[1], place[c[1]])
		}
	}
	checkModules(t, b, "modules.dep.bin", "modules.alias.bin", "modules.builtin", "kernel/fs/overlayfs/overlay.ko")
}

func TestDisk(t *testing.T) {
	c := config(t)
	for _, size := range []int64{minDisk, 1<<30 + 1, 20 << 30} {
		path := filepath.Join(t.TempDir(), "disk")
		if err := Disk(t.Context(), c, path, size); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Size(); got < size || got >= size+diskUnit {
			t.Errorf("size %d, asked for %d", got, size)
		}
		if used := info.Sys().(*syscall.Stat_t).Blocks * 512; used > 256<<10 {
			t.Errorf("%d bytes of a disk of %d are allocated", used, size)
		}
		if out, err := exec.Command("/sbin/e2fsck", "-fn", path).CombinedOutput(); err != nil {
			t.Errorf("e2fsck: %v: %s", err, out)
		}
		if err := Disk(t.Context(), c, path, size); err == nil {
			t.Error("an existing file was overwritten")
		}
	}
	if err := Disk(t.Context(), c, filepath.Join(t.TempDir(), "disk"), minDisk-1); err == nil {
		t.Error("a disk that is too small was made")
	}
}
