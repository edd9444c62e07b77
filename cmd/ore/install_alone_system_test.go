//go:build system

package main

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// alone is a machine that can start without ore, and says on a serial line how far it
// is. Emulated on a busy host, it takes longer than systemd waits for that line
// (systemd-system.conf(5)).
const alone = `environment:
  packages: [linux-image-amd64, grub-pc, initramfs-tools, systemd-sysv, udev, kmod, e2fsprogs, login, passwd, zstd]
  files:
    /etc/default/grub.d/serial.cfg: {content: "GRUB_CMDLINE_LINUX=console=ttyS0,115200\nGRUB_CMDLINE_LINUX_DEFAULT=\n"}
    /etc/systemd/system.conf.d/slow.conf: {content: "[Manager]\nDefaultTimeoutStartSec=30min\nDefaultDeviceTimeoutSec=30min\n"}
machines: {root: disk, disk: 4G, memory: 512M, hypervisor: uml, system: {loader: grub}}
`

// The disk of a machine of ours, started later by plain QEMU, boots to a login, and
// its file system and its packages are whole.
func TestInstalledDiskStartsAlone(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("file systems are mounted by root alone: run it as root")
	}
	p := someone(t)
	p.file(t, "alone.yaml", alone)
	o := p.patiently(t, "up", "-q", "--name", "alone", "-f", "alone.yaml")
	defer p.ore(t, "down", "alone")
	if o.code != 0 {
		t.Fatal(o)
	}
	// From here on nothing is written, and nothing is left to be written (fsfreeze(8)).
	p.must(t, "exec", "alone", "--", "fsfreeze", "--freeze", "/")
	found, err := filepath.Glob(filepath.Join(p.home, "run", "*", "machine-m0", "disk"))
	if err != nil || len(found) != 1 {
		t.Fatalf("the machine's disk: %q, %v", found, err)
	}
	disk := filepath.Join(t.TempDir(), "disk")
	host(t, "cp", "--sparse=always", found[0], disk)
	p.must(t, "down", "alone")

	login(t, disk)
	root := partition(t, disk)
	host(t, "e2fsck", "-fn", root)
	at := t.TempDir()
	host(t, "mount", "-o", "ro", root, at)
	defer host(t, "umount", at)
	for _, does := range []string{"--audit", "--verify"} {
		if out := host(t, "chroot", at, "dpkg", does); out != "" {
			t.Errorf("dpkg %s: %s", does, out)
		}
	}
}

// silence is how long an emulated machine may say nothing on its way to a login.
const silence = 10 * time.Minute

// login starts a copy of a disk under QEMU until it asks for a login. Nobody looks at
// the display, but emulated firmware without one never returns to GRUB, which asks it.
func login(t *testing.T, disk string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := exec.Command("qemu-system-x86_64", "-accel", "tcg", "-cpu", "qemu64,+rdrand", "-m", "512", "-display", "none", "-nodefaults", "-vga", "std", "-serial", "stdio",
		"-drive", "file="+disk+",format=raw,if=virtio,snapshot=on", "-no-reboot")
	c.Stdout, c.Stderr = w, w
	err = c.Start()
	w.Close()
	if err != nil {
		t.Fatalf("%v: apt-get install qemu-system-x86", err)
	}
	defer func() {
		c.Process.Kill()
		c.Wait()
	}()
	var said strings.Builder
	b := make([]byte, 4096)
	for !strings.Contains(said.String(), "m0 login:") {
		r.SetReadDeadline(time.Now().Add(silence))
		n, err := r.Read(b)
		said.Write(b[:n])
		if err == io.EOF {
			err = c.Wait()
		}
		if err != nil || n == 0 {
			t.Fatalf("no login: %v\n%s", err, said.String())
		}
	}
}

// partition shows the last partition with Linux's files of a disk as a device.
func partition(t *testing.T, disk string) string {
	t.Helper()
	var listed struct {
		PartitionTable struct {
			Partitions []struct {
				Start, Size int64
				Type        string
			}
		}
	}
	if err := json.Unmarshal([]byte(host(t, "sfdisk", "--json", disk)), &listed); err != nil {
		t.Fatal(err)
	}
	const sector = 512
	for _, e := range listed.PartitionTable.Partitions {
		if bytes := e.Size * sector; bytes > 1<<30 {
			device := host(t, "losetup", "--find", "--show", "--offset", strconv.FormatInt(e.Start*sector, 10), "--sizelimit", strconv.FormatInt(bytes, 10), disk)
			t.Cleanup(func() { host(t, "losetup", "--detach", device) })
			return device
		}
	}
	t.Fatalf("no partition with a root: %+v", listed)
	return ""
}
