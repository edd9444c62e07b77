//go:build system

package guest_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ore/guest"
	"ore/vm/qemu"
)

// kernelTree unpacks Debian's kernel for clouds. A tree that was unpacked
// before can be named by ORE_TEST_KERNEL_TREE, for the sake of who changes
// these tests.
func kernelTree(t *testing.T, dir string) string {
	t.Helper()
	if tree := os.Getenv("ORE_TEST_KERNEL_TREE"); tree != "" {
		return tree
	}
	run(t, "sh", "-ec", fmt.Sprintf(
		"cd %s; p=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image/ {print $2; exit}'); "+
			"apt-get -qq download $p; dpkg-deb -x ${p}_*.deb .", dir))
	return dir
}

// depends reads what a module needs from its own .modinfo section.
func depends(t *testing.T, file string) []string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := bytes.Cut(b, []byte("\x00depends="))
	if !ok {
		return nil
	}
	list, _, _ := bytes.Cut(rest, []byte{0})
	return strings.FieldsFunc(string(list), func(r rune) bool { return r == ',' })
}

// addModules puts modules with all that they need into the tree of an
// initramfs, in the order of loading.
func addModules(t *testing.T, modules, tree string, names ...string) {
	t.Helper()
	files := make(map[string]string)
	filepath.WalkDir(modules, func(path string, d fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".ko") {
			files[strings.ReplaceAll(strings.TrimSuffix(filepath.Base(path), ".ko"), "-", "_")] = path
		}
		return err
	})
	var list strings.Builder
	done := make(map[string]bool)
	var add func(name string)
	add = func(name string) {
		file := files[name]
		if done[name] || file == "" { // or built in
			return
		}
		done[name] = true
		for _, d := range depends(t, file) {
			add(strings.ReplaceAll(d, "-", "_"))
		}
		run(t, "cp", file, filepath.Join(tree, "ore"))
		fmt.Fprintf(&list, "/ore/%s\n", filepath.Base(file))
	}
	for _, name := range names {
		add(name)
	}
	os.WriteFile(filepath.Join(tree, guest.ModulesPath), []byte(list.String()), 0o644)
}

func TestMachineInQEMU(t *testing.T) {
	dir := t.TempDir()
	kernel := kernelTree(t, dir)
	found, _ := filepath.Glob(filepath.Join(kernel, "boot/vmlinuz-*"))
	if len(found) != 1 {
		t.Fatalf("%d kernels in %s", len(found), kernel)
	}
	tree := initTree(t, dir)
	addModules(t, filepath.Join(kernel, "lib/modules"), tree, "virtio_pci", "virtio_rng", "virtio_blk", "virtio_net",
		"virtio_console", "crc32c_generic", "ext4", "squashfs", "overlay")
	c := cluster{
		hypervisor: qemu.New(qemu.Config{Program: "/usr/bin/qemu-system-x86_64"}),
		kernel:     found[0], initrd: pack(t, dir, tree), memory: 256 << 20, layers: []string{busybox(t, dir)},
	}
	t.Run("mounts", func(t *testing.T) { c.testMounts(t, dir) })
	m := c.start(t, guest.Identity{Name: "m0", Hosts: []guest.Host{{Name: "m0", IP: "10.86.0.2"}, {Name: "m1", IP: "10.86.0.3"}}})[0]
	t.Logf("ready after %v: %v", m.ready, m.Hello())
	m.testAll(t)
}
