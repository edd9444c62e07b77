//go:build system

package main

import (
	"strings"
	"testing"

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
    - {group: vg0, name: root, size: 2G, mount: /, fs: xfs}
    - {group: vg0, name: home, size: 512M, mount: /home, fs: ext4}
run:
  script: cut -d' ' -f1-3 /proc/mounts | grep ^/dev/mapper; tail -n +2 /proc/swaps | cut -c1-5; dpkg --audit
`

// Volumes, other file systems, every source and both hypervisors: each machine
// ends as what was described.
func TestRootOnDiskEverywhere(t *testing.T) {
	p := someone(t)
	p.file(t, "volumes.yaml", volumes)
	for _, hypervisor := range []string{"uml", "qemu"} {
		t.Run(hypervisor, func(t *testing.T) {
			o := p.must(t, "run", "-q", "-f", "volumes.yaml", "--hypervisor", hypervisor, "--results", p.results(t))
			if want := "/dev/mapper/vg0-root / xfs\n/dev/mapper/vg0-home /home ext4\n/dev/\n"; o.out != want {
				t.Errorf("%q, want %q", o.out, want)
			}
		})
	}
	for _, from := range []string{"image", "base", "packages", "disk"} {
		t.Run(from, func(t *testing.T) {
			o := p.must(t, "run", "-q", "--root", "disk", "--disk", "2G", "-m", "512M", "--install-from", from, "-p", "hello", "--hypervisor", "uml",
				"--results", p.results(t), "--", "sh", "-c", "hello; dpkg --audit; dpkg --verify")
			if o.out != "Hello, world!\n" {
				t.Errorf("%q", o.out)
			}
		})
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

// The root may lie on an array whose kernel needs what others leave out, and on a
// file system that a kernel alone does not mount.
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
  script: cut -d' ' -f1-3 /proc/mounts | grep ' / '; dpkg --audit
`)
	o := p.must(t, "run", "-q", "-f", "array.yaml", "--hypervisor", "uml", "--results", p.results(t))
	if !strings.HasPrefix(o.out, "/dev/md0 / btrfs\n") {
		t.Errorf("%q", o.out)
	}
}
