//go:build system

package main

import (
	"strconv"
	"strings"
	"testing"

	"ore/install/recipe"
	"ore/testbed"
)

// volumes is a layout that a kernel alone does not find.
const volumes = `machines:
  root: disk
  disk: 4G
  memory: 512M
  disks:
    - partitions:
        - {size: rest, group: vg0}
        - {mount: swap, size: 128M}
  volumes:
    - {group: vg0, name: root, size: 512M, mount: /, fs: xfs}
    - {group: vg0, name: usr, size: 1G, mount: /usr, fs: ext4}
    - {group: vg0, name: home, size: 512M, mount: /home, fs: ext4}
run:
  script: cut -d' ' -f1-3 /proc/mounts | grep ^/dev/mapper; tail -n +2 /proc/swaps | cut -c1-5; dpkg --audit
`

// several is a layout in which neither the programs nor what they keep are on the
// root, and two places below are file systems, too; of which one has the modules of
// no kernel, so that those of the one that runs must be seen there.
const several = `machines:
  root: disk
  disk: 3G
  memory: 512M
  disks:
    - partitions:
        - {mount: /, fs: ext4, size: 512M}
        - {mount: /usr, fs: ext4, size: 1G}
        - {mount: /usr/lib/modules, fs: ext4, size: 64M}
        - {mount: /usr/local, fs: ext4, size: 64M}
        - {mount: /var, fs: ext4, size: rest}
run:
  script: findmnt -rno TARGET,FSTYPE --real | grep ext4; test -d /lib/modules/$(uname -r) || echo no modules; dpkg --audit; dpkg --verify; exit 7
`

// Volumes, other file systems, every source and both hypervisors: each machine
// ends as what was described.
func TestRootOnDiskEverywhere(t *testing.T) {
	p := someone(t)
	p.file(t, "volumes.yaml", volumes)
	p.file(t, "several.yaml", several)
	for _, hypervisor := range []string{"uml", "qemu"} {
		t.Run(hypervisor+"/volumes", func(t *testing.T) {
			o := p.patiently(t, "run", "-q", "-f", "volumes.yaml", "--hypervisor", hypervisor, "--results", p.results(t))
			if want := "/dev/mapper/vg0-root / xfs\n/dev/mapper/vg0-usr /usr ext4\n/dev/mapper/vg0-home /home ext4\n/dev/\n"; o.out != want {
				t.Errorf("want %q: %v", want, o)
			}
		})
		for _, from := range []string{"image", "packages", "disk"} {
			t.Run(hypervisor+"/several/"+from, func(t *testing.T) {
				o := p.patiently(t, "run", "-q", "-f", "several.yaml", "--install-from", from, "--capture=false", "--hypervisor", hypervisor, "--results", p.results(t))
				if want := "/ ext4\n/usr ext4\n/usr/lib/modules ext4\n/usr/local ext4\n/var ext4\n"; o.code != 7 || o.out != want {
					t.Errorf("want %q and exit code 7: %v", want, o)
				}
			})
		}
	}
	for _, hypervisor := range []string{"uml", "qemu"} {
		for _, from := range []string{"image", "base", "packages", "disk"} {
			t.Run(hypervisor+"/"+from, func(t *testing.T) { p.installs(t, hypervisor, from, 1) })
		}
	}
	t.Run("qemu/two", func(t *testing.T) { p.installs(t, "qemu", "image", 2) })
}

// patiently runs a command that emulated machines make long. It has no limit of its
// own: machines that say nothing are given up by the command itself.
func (p *person) patiently(t *testing.T, args ...string) outcome {
	t.Helper()
	return finish(t, p.command(t.Context(), args...))
}

// installs has machines install themselves from a source, and sees that it was that
// one, and that each is what was asked for.
func (p *person) installs(t *testing.T, hypervisor, from string, machines int) {
	t.Helper()
	results := p.results(t)
	o := p.patiently(t, "run", "-q", "-n", strconv.Itoa(machines), "--root", "disk", "--disk", "2G", "-m", "512M", "--install-from", from, "--capture=false", "-p", "hello",
		"--hypervisor", hypervisor, "--results", results, "--", "sh", "-c", "hello; dpkg --audit; dpkg --verify; grep -o ' / ext4 ' /proc/mounts")
	if o.code != 0 || strings.Count(o.out, "Hello, world!\n") != machines || strings.Count(o.out, " / ext4 \n") != machines || strings.Count(o.out, "\n") != 2*machines {
		t.Errorf("%v", o)
	}
	r := result(t, results)
	whole := "image " + r.Key.Short()
	says := map[string]func(string) bool{
		"image":    func(s string) bool { return strings.HasPrefix(s, whole) },
		"base":     func(s string) bool { return strings.HasPrefix(s, "image ") && !strings.HasPrefix(s, whole) },
		"packages": func(s string) bool { return s == "none: packages from nothing" },
		"disk":     func(s string) bool { return strings.HasPrefix(s, "disk image of "+r.Key.Short()) },
	}[from]
	n := 0
	for _, s := range r.Timeline {
		if s.Name == recipe.Root {
			if n++; !says(s.Note) {
				t.Errorf("%s is installed from %q, not from %s", s.Machine, s.Note, from)
			}
		}
	}
	if n != machines {
		t.Errorf("%d machines say what they install from, not %d", n, machines)
	}
}

// Machines install themselves beside each other.
func TestRootOnDiskOfMany(t *testing.T) {
	p := someone(t)
	o := p.must(t, "run", "-q", "-n", "4", "--root", "disk", "--disk", "2G", "--hypervisor", "uml", "--results", p.results(t), "--", "hostname")
	if got := sorted(o.out); strings.Join(got, " ") != "0: m0 1: m1 2: m2 3: m3" {
		t.Errorf("%q", got)
	}
}

// Machines on hosts elsewhere install themselves from what reached their host by the
// chain: neither a tree nor a package leaves the source twice, however many machines
// and hosts there are.
func TestRootOnDiskOfHosts(t *testing.T) {
	p := someone(t)
	p.must(t, "build", "-q", "-p", "hello")
	p.must(t, "install", "image", "-q")
	p.must(t, "run", "-q", "--hypervisor", "uml", "--results", p.results(t), "--", "true") // the kernel is at hand now
	for _, from := range []string{"image", "packages", "disk"} {
		t.Run(from, func(t *testing.T) {
			f := lend(t, p, 2)
			before := f.sent(t, testbed.Head)
			o := f.run(t, "-n", "3", "--root", "disk", "--disk", "2G", "-m", "512M", "--install-from", from, "-p", "hello", "--hypervisor", "uml",
				"--results", p.results(t), "--", "sh", "-c", "hello; dpkg --audit; dpkg --verify")
			if strings.Count(o.out, "Hello, world!\n") != 3 || strings.Count(o.out, "\n") != 3 {
				t.Errorf("%q", o.out)
			}
			stored := f.stored(t, "h1")
			// A relay that a busy host holds up is gone round, and part of a blob leaves the
			// source again; were each host fed by the source, it would be twice as much.
			if out := f.sent(t, testbed.Head) - before; out > stored*16/10 {
				t.Errorf("%d bytes left the head, for %d that each of two hosts got", out, stored)
			}
		})
	}
}

// The root may lie on an array whose kernel needs what others leave out, or on a file
// system that a kernel alone does not mount.
func TestRootOnArrays(t *testing.T) {
	p := someone(t)
	p.file(t, "array.yaml", `machines:
  root: disk
  disk: 4G
  memory: 512M
  disks:
    - partitions:
        - {size: 24%, array: md0}
        - {size: 24%, array: md0}
        - {size: 24%, array: md0}
        - {size: 24%, array: md0}
  arrays:
    - {name: md0, level: 6, mount: /, fs: btrfs}
run:
  script: cut -d' ' -f1-3 /proc/mounts | grep ' / '; grep -o 'raid6 ubd\|raid6 vd' /proc/mdstat | cut -c-5; dpkg --audit
`)
	p.file(t, "btrfs.yaml", `machines:
  root: disk
  disk: 2G
  memory: 512M
  disks:
    - partitions: [{mount: /, fs: btrfs, size: rest}]
run:
  script: cut -d' ' -f2,3 /proc/mounts | grep '^/ '; dpkg --audit
`)
	for _, hypervisor := range []string{"uml", "qemu"} {
		for file, want := range map[string]string{"array.yaml": "/dev/md0 / btrfs\nraid6\n", "btrfs.yaml": "/ btrfs\n"} {
			t.Run(hypervisor+"/"+file, func(t *testing.T) {
				if o := p.patiently(t, "run", "-q", "-f", file, "--hypervisor", hypervisor, "--results", p.results(t)); o.out != want {
					t.Errorf("want %q: %v", want, o)
				}
			})
		}
	}
}
