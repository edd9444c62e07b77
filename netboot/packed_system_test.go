//go:build system

package netboot

import (
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"ore"
	"ore/boot"
	"ore/deb/shelf"
	"ore/deb/shelf/shelftest"
	"ore/netboot/lab"
	"ore/netboot/roster"
	"ore/squashfs"
)

// built compiles a program of the module.
func built(t *testing.T, path string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "program")
	c := exec.Command("go", "build", "-ldflags=-s -w", "-o", out, path)
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := c.CombinedOutput(); err != nil {
		t.Fatalf("go build %s: %v: %s", path, err, text)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// layer writes a squashfs of folders, links and programs.
func layer(t *testing.T, folders []string, links map[string]string, programs map[string][]byte) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "layer"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := squashfs.NewWriter(f, squashfs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	add := func(e squashfs.Entry, content []byte) {
		t.Helper()
		if err := w.Add(e, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range folders {
		add(squashfs.Entry{Path: d, Mode: fs.ModeDir | 0o755}, nil)
	}
	for name, to := range links {
		add(squashfs.Entry{Path: name, Mode: fs.ModeSymlink | 0o777, Link: to}, nil)
	}
	for name, content := range programs {
		add(squashfs.Entry{Path: name, Mode: 0o755, Size: int64(len(content))}, content)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// packed is a system of Debian's kernel and a packed machine.
func packed(t *testing.T, source shelf.Source) (roster.System, func(context.Context, ore.Digest) (io.ReadSeekCloser, error)) {
	t.Helper()
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatalf("%v: install busybox-static", err)
	}
	base := layer(t, []string{".", "bin", "dev", "etc", "proc", "root", "run", "sys", "usr", "usr/lib", "usr/local", "usr/local/sbin", "tmp"},
		map[string]string{"lib": "usr/lib", "bin/sh": "busybox", "bin/modprobe": "busybox"}, map[string][]byte{"bin/busybox": busybox})
	program := layer(t, []string{"."}, nil, map[string][]byte{"input": built(t, "./testdata/program")})
	dir := t.TempDir()
	s, err := shelf.Open(filepath.Join(dir, "shelf"), source)
	if err != nil {
		t.Fatal(err)
	}
	b, err := boot.QEMU(t.Context(), boot.Config{Dir: filepath.Join(dir, "boot"), Shelf: s, Init: built(t, "../cmd/ore-init")}, "linux-image-amd64")
	if err != nil {
		t.Fatal(err)
	}
	p, err := b.Pack(t.Context(), boot.Content{Layers: []string{base}, Program: program})
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range p.Parts {
		t.Logf("%-10s %10d", part.Name, part.Size)
	}
	system := roster.System{Kernel: p.KernelDigest, Initramfs: []ore.Digest{p.InitramfsDigest}, Recipe: []byte("cake"),
		Arguments: "console=ttyS0 panic=-1 quiet nokaslr cryptomgr.notests"}
	return system, func(_ context.Context, d ore.Digest) (io.ReadSeekCloser, error) {
		switch d {
		case p.KernelDigest:
			return os.Open(p.Kernel)
		case p.InitramfsDigest:
			return os.Open(p.Initramfs)
		}
		return nil, fs.ErrNotExist
	}
}

// TestPackedBIOS boots a packed machine from the network into memory: its
// program gets onto the network by itself, sees a disk whose driver it has
// brought, and is heard at home.
func TestPackedBIOS(t *testing.T) {
	source := shelftest.Source(t)
	if !lab.Inside() { // inside there is no way to a mirror
		for _, name := range []string{"linux-image-amd64", "kmod"} {
			list, err := source.Resolve(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range list {
				if _, err := source.Fetch(t.Context(), p); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if !alone(t) {
		return
	}
	lab.Ethernet(t)
	w := &watcher{t: t}
	c := config(t, w)
	c.Range = addresses()
	var system roster.System
	system, c.Blob = packed(t, source)
	s := boots(t, c)
	if _, err := s.Roster().Assign(roster.Order{MAC: mac(t), Name: "m1", System: system}, time.Now()); err != nil {
		t.Fatal(err)
	}
	m := lab.Run(t, "-machine", "pc,graphics=off", "-boot", "n", "-device", "virtio-net-pci,netdev=n0,mac="+card,
		"-drive", "if=none,id=d,format=raw,file="+bootSector(t), "-device", "virtio-blk-pci,drive=d")
	begun := time.Now()
	m.Expect(bootTime, `packed test: machine m1 has 10\.9\.0\.(5\d|60)/24, recipe cake, disks 1 end`)
	t.Logf("in memory and on the network after %v", time.Since(begun))
	if got := state(t, s); got.State != roster.Installing || len(got.Stages) != 1 {
		t.Errorf("installing: %+v", got)
	}
	m.Expect(bootTime, "this machine could not install itself: program: /usr/local/sbin/ore ended")
}
