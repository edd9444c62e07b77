//go:build system

package machine

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ore"
	"ore/image"
	"ore/install/configure"
	"ore/install/recipe"
)

// program is ore as make builds it.
func program(t *testing.T) string {
	t.Helper()
	p, err := filepath.Abs("../../bin/ore")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p); err != nil {
		t.Skip("bin/ore is not built: make build")
	}
	return p
}

// This package's test of volumes and arrays, in a machine whose kernel has both,
// whatever the host's has. Its disk is a file in memory, half of which files can
// have: an array that is filled takes 400 MiB of it.
func TestVolumesInAMachine(t *testing.T) {
	host, dir := program(t), t.TempDir()
	build := exec.Command("go", "test", "-c", "-o", filepath.Join(dir, "machine.test"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	argv := []string{"run", "--hypervisor", "uml", "--memory", "1536M", "--input", "machine.test"}
	for _, p := range []string{"lvm2", "mdadm", "xfsprogs", "btrfs-progs", "dosfstools", "e2fsprogs", "kmod", "mount", "fdisk"} {
		argv = append(argv, "--package", p)
	}
	c := exec.Command(host, append(argv, "--", "./machine.test", "-test.v", "-test.run", "TestVolumes")...)
	c.Dir = dir
	out, err := c.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestVolumes (") || !strings.Contains(string(out), "--- PASS: TestVolumesGoOn (") {
		t.Errorf("%v\n%s", err, out)
	}
}

// bootTime is what an emulated machine may take to a login.
const bootTime = 30 * time.Minute

// A machine installed with GRUB starts on its own, under plain QEMU, and asks for
// a login; its file system and its packages are whole.
func TestStartsOnItsOwn(t *testing.T) {
	for firmware, more := range map[ore.Firmware][]string{
		ore.BIOS: nil,
		ore.UEFI: {"-bios", "/usr/share/ovmf/OVMF.fd"},
	} {
		t.Run(string(firmware), func(t *testing.T) {
			if len(more) > 0 {
				if _, err := os.Stat(more[1]); err != nil {
					t.Skip("OVMF is not installed: apt-get install ovmf")
				}
				exec.Command("modprobe", "vfat").Run() // what lacks shows below
				if b, _ := os.ReadFile("/proc/filesystems"); !strings.Contains(string(b), "vfat") {
					t.Skip("this kernel has no vfat, so that no EFI system partition can be filled")
				}
			}
			device, file := loop(t, 4<<30)
			r := standing(t, device, firmware)
			if _, _, err := install(t, r, patient); err != nil {
				t.Fatal(err)
			}
			boots(t, file, more)
			l := look(t, r, device)
			at := t.TempDir()
			for _, m := range l.FileSystems() {
				if m.Mount == "/" {
					sh(t, "e2fsck", "-fn", m.Device)
					sh(t, "mount", "-o", "ro", m.Device, at)
					defer sh(t, "umount", at)
				}
			}
			for _, does := range []string{"--audit", "--verify"} {
				if out := sh(t, "chroot", at, "dpkg", does); out != "" {
					t.Errorf("dpkg %s: %s", does, out)
				}
			}
		})
	}
}

// standing is a recipe for a machine with a kernel, GRUB and somebody who may log in.
func standing(t *testing.T, device string, firmware ore.Firmware) recipe.Recipe {
	t.Helper()
	c := exec.Command(program(t), "build", "-q", "--json", "-p",
		"linux-image-amd64,grub-pc,grub-efi-amd64-bin,systemd-sysv,initramfs-tools,openssh-server,locales,tzdata,e2fsprogs,dosfstools,udev,kmod,lvm2,mdadm,xfsprogs")
	out, err := c.Output()
	if err != nil {
		t.Fatal(err)
	}
	m, err := image.DecodeManifest(out)
	if err != nil {
		t.Fatal(err)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	r := recipe.Recipe{
		Version: recipe.Version, Name: "standing", Seed: "test/standing", Environment: m.Environment, Strategy: recipe.Whole, Image: &m,
		Storage: ore.Storage{Disks: []ore.Disk{{Match: ore.Match{Path: device}, Partitions: []ore.Partition{
			{Size: ore.Share{Rest: true}, FileSystem: ore.FileSystem{FS: "ext4", Mount: "/"}}, {Size: ore.Share{Bytes: 128 * mib}, FileSystem: ore.FileSystem{FS: "swap"}},
		}}}},
		Console: "ttyS0,115200",
		System: ore.System{Loader: ore.GRUB, Firmware: firmware, Locale: "de_DE.UTF-8", TimeZone: "Europe/Berlin",
			Users: []ore.User{{Name: "ada", Groups: []string{"adm"}, Keys: []string{"ssh-ed25519 AAAA ada"}}}},
		Blobs: map[ore.Digest]recipe.Source{},
	}
	store := os.Getenv("ORE_TEST_STORE")
	if store == "" {
		store = filepath.Join(home, ".local/share/ore/images") // where bin/ore keeps them
	}
	s, err := image.OpenStore(store)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range m.Layers {
		p, err := s.Path(l.Digest)
		if err != nil {
			t.Fatal(err)
		}
		r.Blobs[l.Digest] = recipe.Source{Size: l.Size, From: []string{p}}
	}
	return r
}

// patient has systemd wait for devices as long as they take in a machine that is
// emulated on a busy host, also for the line on which it is to ask for a login
// (systemd-system.conf(5)).
func patient(o *Options) {
	o.Load = func(target string, _ configure.Start) (string, error) {
		name := filepath.Join(target, "etc/systemd/system.conf.d/slow.conf")
		err := os.MkdirAll(filepath.Dir(name), 0o755)
		if err == nil {
			err = os.WriteFile(name, []byte("[Manager]\nDefaultTimeoutStartSec=30min\nDefaultDeviceTimeoutSec=30min\n"), 0o644)
		}
		return "", err
	}
}

// boots starts a copy of a disk under QEMU until it asks for a login.
func boots(t *testing.T, file string, more []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bootTime)
	defer cancel()
	accel := []string{"-accel", "tcg", "-cpu", "qemu64,+rdrand"} // that /dev/kvm is there does not mean that it works
	c := exec.CommandContext(ctx, "qemu-system-x86_64", append(append(accel, more...), "-m", "512", "-display", "none", "-nodefaults", "-serial", "stdio",
		"-drive", "file="+file+",format=raw,if=virtio,snapshot=on", "-no-reboot")...)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Skipf("qemu: %v: apt-get install qemu-system-x86", err)
	}
	var said strings.Builder
	b := make([]byte, 4096)
	for !strings.Contains(said.String(), "standing login:") {
		n, err := out.Read(b)
		said.Write(b[:n])
		if err != nil {
			t.Errorf("no login: %v\n%s", err, said.String())
			break
		}
	}
	c.Process.Kill()
	c.Wait()
	io.Copy(io.Discard, out)
}
