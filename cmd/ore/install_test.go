package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"ore"
	"ore/install/recipe"
)

// installed is a job whose machine installs itself and says what came of it.
const installed = `machines:
  root: disk
  disk: 2G
  memory: 384M
  system:
    timezone: Europe/Berlin
    users:
      - {name: ada, gecos: Ada Lovelace, ssh_authorized_keys: ["ssh-ed25519 AAAA ada"]}
run:
  script: |
    grep ' / ' /proc/mounts
    grep -c ^UUID= /etc/fstab
    hostname; cat /etc/timezone; getent passwd ada; cat ~ada/.ssh/authorized_keys
    dpkg --audit
`

// A machine installs itself onto its disk from this host's image, stage by stage,
// and is then that system, with nothing laid over it.
func TestRootOnDisk(t *testing.T) {
	p := someone(t)
	p.file(t, "installed.yaml", installed)
	results := p.results(t)
	o := p.must(t, "run", "-q", "-f", "installed.yaml", "--hypervisor", "uml", "--results", results)
	lines := strings.Split(strings.TrimSpace(o.out), "\n")
	for i, want := range []string{
		`^/dev/ubd[a-h]1 / ext4 `, `^1$`, `^m0$`, `^Europe/Berlin$`, `^ada:x:\d+:\d+:Ada Lovelace:/home/ada:/bin/bash$`, `^ssh-ed25519 AAAA ada$`,
	} {
		if i >= len(lines) || !regexp.MustCompile(want).MatchString(lines[i]) {
			t.Errorf("line %d of %q: not %s", i, lines, want)
		}
	}
	if len(lines) != 6 {
		t.Errorf("dpkg complains: %q", lines)
	}
	var stages []string
	for _, s := range result(t, results).Timeline {
		if s.Machine == "m0" {
			stages = append(stages, s.Name)
		}
	}
	for _, want := range []string{recipe.Begin, recipe.Hardware, recipe.Partition, recipe.Format, recipe.Root, recipe.Configure, recipe.Restart, recipe.Ready} {
		if !slices.Contains(stages, want) {
			t.Errorf("the timeline lacks %s: %q", want, stages)
		}
	}
}

// What cannot be installed is refused before anything is done.
func TestRootOnDiskRefusals(t *testing.T) {
	p := someone(t)
	p.file(t, "large.yaml", "machines: {root: disk, disk: 2G, disks: [{partitions: [{mount: /, fs: ext4, size: 3G}]}]}\n")
	p.file(t, "mounted.yaml", "machines: {system: {loader: grub}}\n")
	for _, c := range []struct {
		code int
		args []string
		want string
	}{
		{ore.ExitUsage, []string{"--root", "nowhere"}, `root is "nowhere": use mount or disk`},
		{ore.ExitUsage, []string{"--root", "disk", "--disk", "64M"}, "ask for a larger disk"},
		{ore.ExitUsage, []string{"--install-from", "image"}, "only machines with --root disk install anything"},
		{ore.ExitUsage, []string{"--root", "disk", "--install-from", "air"}, "use one of image, base, packages, disk, mirror"},
		{ore.ExitUsage, []string{"-f", "mounted.yaml"}, "a mounted root belongs to its image"},
		{ore.ExitUsage, []string{"-f", "large.yaml"}, "machines: disk"},
	} {
		p.refused(t, c.code, []string{c.want}, append(append([]string{"run", "-q", "--results", p.results(t)}, c.args...), "--", "true")...)
	}
}
