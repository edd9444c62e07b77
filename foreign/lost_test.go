package foreign

import (
	"slices"
	"strings"
	"testing"

	"ore/job"
)

// imports reads a description, which becomes a job file, and returns what became
// of it and the list of what was left.
func imports(t *testing.T, kind, text string) (file, left string) {
	t.Helper()
	r := Request{Kind: kind, Name: "f", Sources: []Source{{"f", []byte(text)}}}
	if kind == "fai" {
		r.Classes, r.Sources = []string{"A"}, []Source{{"disk_config/A", []byte(text)}, {"package_config/A", nil}}
		if text == "" {
			r.Classes = []string{"B"}
		}
	}
	res, err := Import(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range res.Left {
		left += l.String() + "\n"
	}
	return string(res.Job), left
}

// TestWipe: a job file gives up what a disk holds only where the description
// gives up all of it, of that very disk.
func TestWipe(t *testing.T) {
	const two = "part / --size=1 --grow --ondisk=sda\npart /scratch --size=1 --grow --ondisk=sdb\n"
	const all = "clearpart --all\n" + two
	const group = "disk_config sda\nprimary /boot 1G ext4 rw\nprimary - 10G- - -\n"
	const taken = "d-i partman-auto/disk string /dev/sda\nd-i partman-auto/method string regular\n"
	lucie := func(slice, mount, preserve string) string {
		return "partition 'x' do |p|\np.slice = '" + slice + "'\np.mount_point = '" + mount + "'\np.size = 900\np.preserve = " + preserve + "\nend\n"
	}
	for _, c := range []struct {
		kind, text string
		wiped      []string // paths of the disks that may be lost
		says       string
	}{
		{"kickstart", "clearpart --all\n" + two, []string{"/dev/sda", "/dev/sdb"}, ""},
		{"kickstart", "clearpart --all --drives=sda\n" + two, []string{"/dev/sda"}, "disk /dev/sdb: clearpart --drives does not name it"},
		{"kickstart", two + "clearpart --all --drives=/dev/sdb,sda\n", []string{"/dev/sda", "/dev/sdb"}, ""},
		{"kickstart", "clearpart --linux --drives=sda,sdb\n" + two, nil, "clearpart --linux: a disk is taken as a whole"},
		{"kickstart", "clearpart --none --drives=sda\n" + two, nil, ""},
		{"kickstart", "clearpart --list=sda2,sda3 --drives=sda\n" + two, nil, "clearpart --list"},
		{"kickstart", "clearpart --all --drives=vdb\npart / --size=1 --grow\n", []string{"/dev/vdb"}, ""},
		{"kickstart", two, nil, ""},
		{"fai", "disk_config sda\nprimary / 5G ext4 rw\nprimary /home 10G- ext4 rw\n", []string{"/dev/sda"}, ""},
		{"fai", "disk_config sda preserve_always:2\nprimary / 5G ext4 rw\nprimary /home 10G- ext4 rw\n", nil, "preserve_always:2: nothing is kept"},
		{"fai", "disk_config sda\nprimary / 5G ext4 rw\nprimary /home 10G:preserve_always ext4 rw\n", nil, "nothing is kept"},
		{"fai", "disk_config sda preserve_always:2\nprimary / 5G ext4 rw\ndisk_config sdb\nprimary /b 5G ext4 rw\n", []string{"/dev/sdb"}, "nothing is kept"},
		{"fai", "disk_config sda preserve_always:2\nprimary / 5G ext4 rw\ndisk_config sda\nprimary /b 5G ext4 rw\n", nil, "nothing is kept"},
		{"fai", "disk_config sda virtual\nprimary / 5G ext4 rw\n", nil, "virtual: nothing is kept"},
		{"fai", group + "disk_config lvm preserve_always:v-h\nvg v sda2\nv-r / 5G ext4 rw\n", nil, "preserve_always:v-h: nothing is kept"},
		{"fai", group + "disk_config lvm\nvg v sda2\nv-r / 5G ext4 rw\nv-h /home 5G:preserve_always ext4 rw\n", nil, "v-h /home 5G:preserve_always ext4 rw: nothing is kept"},
		{"fai", group + "disk_config lvm\nvg v sda2\nv-r / 5G ext4 rw\n", []string{"/dev/sda"}, ""},
		{"kickstart", all + "part /home --noformat --onpart=sda3\n", []string{"/dev/sdb"}, "part /home: nothing is kept"},
		{"kickstart", all + "part /home --onpart=/dev/sdb1\n", []string{"/dev/sda"}, "part /home: nothing is kept"},
		{"kickstart", all + "part /home --noformat --ondisk=sdb\n", []string{"/dev/sda"}, "part /home: nothing is kept"},
		{"kickstart", all + "part /home --onpart=LABEL=home\n", nil, "part /home: nothing is kept"},
		{"kickstart", all + "part /home --usepart=nvme0n1p2\n", []string{"/dev/sda", "/dev/sdb"}, "part /home: nothing is kept"},
		{"kickstart", "clearpart --all\npart / --size=1 --grow\npart /home --onpart=sda2\n", nil, "part /home: nothing is kept"},
		{"kickstart", "clearpart --all\npart / --size=1 --grow --ondisk=disk/by-id/ata-1\npart /home --onpart=sda2\n", nil, "part /home: nothing is kept"},
		{"kickstart", all + "logvol /home --vgname=v --name=h --useexisting\n", nil, "logvol /home: nothing is kept"},
		{"kickstart", all + "volgroup v --noformat\n", nil, "volgroup: nothing is kept"},
		{"kickstart", all + "raid /home --device=md0 --level=1 --noformat\n", nil, "raid /home: nothing is kept"},
		{"kickstart", all + "clearpart --none\n", nil, "disk /dev/sda: another clearpart gives up less"},
		{"kickstart", all + "clearpart --linux\n", nil, "disk /dev/sda: another clearpart gives up less"},
		{"kickstart", all + "ignoredisk --drives=sdb\n", []string{"/dev/sda"}, "disk /dev/sdb: it may be one that ignoredisk keeps"},
		{"kickstart", all + "ignoredisk --only-use=sdb\n", []string{"/dev/sdb"}, "disk /dev/sda: it may be one that ignoredisk keeps"},
		{"kickstart", "clearpart --all\nignoredisk --only-use=sdb\npart / --size=1 --grow\n", []string{"/dev/sdb"}, ""},
		{"kickstart", "clearpart --all\nignoredisk --drives=sda\npart / --size=1 --grow\n", nil, "it may be one that ignoredisk keeps"},
		{"preseed", taken, []string{"/dev/sda"}, ""},
		{"preseed", taken + "d-i partman-auto/purge_lvm_from_device boolean false\n", nil, "purge_lvm_from_device false: nothing is kept"},
		{"preseed", taken + "d-i partman-lvm/device_remove_lvm boolean false\n", nil, "device_remove_lvm false: nothing is kept"},
		{"preseed", taken + "d-i partman-md/device_remove_md boolean false\n", nil, "device_remove_md false: nothing is kept"},
		{"preseed", taken + "d-i partman-lvm/device_remove_lvm boolean true\nd-i partman/confirm_nooverwrite boolean true\n", []string{"/dev/sda"}, ""},
		{"preseed", taken + "d-i partman/confirm boolean false\n", nil, "partman/confirm false: nothing is kept"},
		{"preseed", taken + "d-i partman-auto/init_automatically_partition select biggest_free\n", nil, "biggest_free: nothing is kept"},
		{"preseed", taken + "d-i partman-auto/expert_recipe string x :: 900 1 -1 ext4 mountpoint{ / } . 900 1 900 ext4 method{ keep } mountpoint{ /home } .\n", nil, "method{ keep }: nothing is kept"},
		{"lucie", lucie("sda", "/", "false"), []string{"/dev/sda"}, ""},
		{"lucie", lucie("sda", "/", "false") + lucie("sda", "/data", "true"), nil, "f:7: partition x: nothing is kept"},
		{"lucie", lucie("hda", "/data", "true") + lucie("/dev/hda", "/", "false"), nil, "f:1: partition x: nothing is kept"},
		{"lucie", lucie("sda", "/", "false") + lucie("sdb", "/data", "true"), []string{"/dev/sda"}, "f:7: partition x: nothing is kept"},
		{"lucie", lucie("sda", "/", "false") + lucie("disk/by-id/ata-1", "/data", "true"), nil, "f:7: partition x: nothing is kept"},
		{"lucie", lucie("sda", "/", "false") + lucie("sda", "/data", "KEEP"), nil, "f:7: partition x: nothing is kept"},
		{"lucie", lucie("sda", "/", "false") + lucie("sda", "/data", "!fresh?"), nil, "f:7: partition x: nothing is kept"},
		{"lucie", lucie("sda", "/", "false") + "p.preserve = true\n", nil, "f:7: p.preserve = true: nothing is kept"},
		{"lucie", lucie("sda", "/", "false") + strings.TrimSuffix(lucie("sda", "/data", "true"), "end\n"), nil, "f:7: partition x: nothing is kept"},
		{"lucie", "disk_config hda\nprimary / 5000 rw ; -j ext3\nprimary /data preserve2 rw\n", nil, "nothing is kept"},
	} {
		file, left := imports(t, c.kind, c.text)
		j, err := job.Parse("job.yaml", "/", []byte(file), job.Default(""))
		if err != nil {
			t.Fatal(err)
		}
		var wiped []string
		for _, d := range j.Machines.Storage.Disks {
			if d.Wipe {
				wiped = append(wiped, d.Match.Path)
			}
		}
		if !slices.Equal(wiped, c.wiped) || !strings.Contains(left, c.says) {
			t.Errorf("%s\ngives up %q, want %q, and says\n%swithout %q", c.text, wiped, c.wiped, left, c.says)
		}
	}
}

// TestSecretsAreNoImages: what lets somebody in is given to machines while they
// install themselves, and is in no step: what steps do is in an image, which all
// who use the cache may read.
func TestSecretsAreNoImages(t *testing.T) {
	const text = "rootpw --iscrypted $6$root$hash\nuser --name=ada --uid=nan --password=$6$ada$hash --iscrypted\n" +
		"user --name=old --password=abJnggxhB/yWI --iscrypted\nsshkey --username=ada \"ssh-ed25519 AAAA ada@h\"\n"
	file, left := imports(t, "kickstart", text+"part / --size=1 --grow\n")
	j, err := job.Parse("job.yaml", "/", []byte(file), job.Default(""))
	if err != nil {
		t.Fatal(err)
	}
	u := j.Machines.System.Users
	if len(u) != 3 || u[2].Password != "" || u[0].Name != "root" || u[0].Password != "$6$root$hash" || u[1].Password != "$6$ada$hash" || len(u[1].Keys) != 1 {
		t.Errorf("users %+v", u)
	}
	for _, s := range j.Wants.Steps {
		if strings.Contains(s.Run, "$hash") || strings.Contains(s.Run, "AAAA") || strings.Contains(s.Run, "nan") {
			t.Errorf("step %s: %s", s.Name, s.Run)
		}
	}
	for _, says := range []string{"uid nan of ada: this is no user's number", "password of old: passwd is not as crypt(5) has it"} {
		if !strings.Contains(left, says) {
			t.Errorf("without %q:\n%s", says, left)
		}
	}
	if file, _ := imports(t, "kickstart", text); !strings.Contains(file, "usermod -p '$6$ada$hash' ada") || strings.Contains(file, "system:") {
		t.Errorf("machines without a disk of their own:\n%s", file)
	}
}

// TestLateCommand: what a late command quotes stays as it is, and packages that it
// has installed are the job's.
func TestLateCommand(t *testing.T) {
	file, _ := imports(t, "preseed", "d-i preseed/late_command string apt-install zsh libc6-dev; in-target sh -c 'case $1 in a) echo \"x; y\";; esac' && apt-install vim; cp /x /target/y\n")
	j, err := job.Parse("job.yaml", "/", []byte(file), job.Default(""))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(file, "packages:\n        - zsh\n        - libc6-dev\n        - vim\n") {
		t.Errorf("packages %v", j.Wants.Packages)
	}
	const want = "set +e\n:; sh -c 'case $1 in a) echo \"x; y\";; esac' && :; cp /x /y\n"
	if len(j.Wants.Steps) != 1 || j.Wants.Steps[0].Run != want {
		t.Errorf("steps %+v\nwant %s", j.Wants.Steps, want)
	}
}

// TestNothingIsLeftInSilence: what has no place in a job file is on the list.
func TestNothingIsLeftInSilence(t *testing.T) {
	for _, c := range []struct{ kind, text, says string }{
		{"kickstart", "%post\necho x\n", "f:1: %post: it has no %end"},
		{"kickstart", "user --name=root --uid=5\n", "user root: it is there already"},
		{"kickstart", "%post --erroronfail\nfalse\n%end\n", "take set +e"},
		{"preseed", "d-i partman-auto/expert_recipe string x :: 1 2 3 ext4 method{ format }\n", "without partman-auto/method"},
		{"fai", "", "no file is for these classes"},
		{"preseed", "d-i localechooser/supported-locales multiselect en_US.UTF-8, nl_NL.UTF-8\n", "/etc/locale.gen"},
	} {
		if _, left := imports(t, c.kind, c.text); !strings.Contains(left, c.says) {
			t.Errorf("%s: without %q:\n%s", c.text, c.says, left)
		}
	}
}

// TestMachinesOwn: where machines install themselves, accounts and the time zone are
// theirs and in no step, unless a script of the image is about the account; the groups
// are made first. Machines with a mounted root have it all by steps.
func TestMachinesOwn(t *testing.T) {
	const text = "timezone --utc Europe/Berlin\nuser --name=ada --gecos=\"A L\" --uid=1500 --groups=lab\nuser --name=eve --shell=/bin/sh\nuser --name=away --homedir=/srv/away\n"
	const disk = "part / --size=8000 --grow\n"
	const script = "%post\nchown ada /srv\n%end\n"
	for _, c := range []struct {
		summary, text string
		users, steps  []string
		zone          string
	}{
		{"on disks", text + disk, []string{"ada", "eve"}, []string{"groups-ada", "user-away"}, "Europe/Berlin"},
		{"a script is about one of them", text + disk + script, []string{"eve"}, []string{"user-ada", "user-away", "post"}, "Europe/Berlin"},
		{"with a mounted root", text, nil, []string{"timezone", "user-ada", "user-eve", "user-away"}, ""},
	} {
		file, left := imports(t, "kickstart", c.text)
		j, err := job.Parse("job.yaml", "/", []byte(file), job.Default(""))
		if err != nil {
			t.Fatal(err)
		}
		var users, steps []string
		for _, u := range j.Machines.System.Users {
			users = append(users, u.Name)
		}
		for i, s := range j.Wants.Steps {
			steps = append(steps, s.Name)
			if i > 0 && !slices.Equal(s.Needs, steps[i-1:i]) {
				t.Errorf("%s: step %s needs %v", c.summary, s.Name, s.Needs)
			}
		}
		if !slices.Equal(users, c.users) || !slices.Equal(steps, c.steps) || j.Machines.System.TimeZone != c.zone {
			t.Errorf("%s: users %v, steps %v, time zone %q in\n%s", c.summary, users, steps, j.Machines.System.TimeZone, file)
		}
		if !strings.Contains(left, "f:1: timezone --utc: ") {
			t.Errorf("%s: said is\n%s", c.summary, left)
		}
	}
}

// TestNothingVanishes: what a description says and a job file does not is named, at
// its line.
func TestNothingVanishes(t *testing.T) {
	const method = "d-i partman-auto/method string regular\n"
	for _, c := range []struct{ kind, text, says string }{
		{"kickstart", "timezone --isUtc --nontp UTC\n", "f:1: timezone --nontp: "},
		{"kickstart", "part / --size=8000 --grow\n", "f:1: part / --size=8000: it grows"},
		{"kickstart", "part / --size=8000 --percent=50\n", "f:1: part / --size=8000: it has a part of the disk"},
		{"kickstart", "%packages\n@core\n%end\n", "f:2: @core: "},
		{"kickstart", "%packages\n@^minimal-environment\n%end\n", "f:2: @^minimal-environment: "},
		{"kickstart", "volgroup v p\nlogvol / --vgname=v --name=r --size=900 --grow\n", "f:2: logvol / --size=900: it grows"},
		{"kickstart", "network --bootproto=dhcp --device=eth1\n", "f:1: network --device: "},
		{"kickstart", "network --onboot=off\n", "f:1: network --onboot: "},
		{"kickstart", "network --noipv6\n", "f:1: network --noipv6: "},
		{"kickstart", "bootloader --location=none\n", "f:1: bootloader --location: "},
		{"kickstart", "bootloader --timeout=5\n", "f:1: bootloader --timeout: "},
		{"kickstart", "bootloader --boot-drive=sda\n", "f:1: bootloader --boot-drive: "},
		{"kickstart", "poweroff\n", "f:1: poweroff: "},
		{"kickstart", "halt\n", "f:1: halt: "},
		{"kickstart", "reboot --kexec\n", "f:1: reboot --kexec: "},
		{"kickstart", "firstboot --enable\n", "f:1: firstboot --enable: "},
		{"kickstart", "logging --host=10.0.0.1\n", "f:1: logging --host=10.0.0.1: "},
		{"kickstart", "autopart\n", "f:1: autopart: "},
		{"kickstart", "autopart --type=plain --nohome\n", "f:1: autopart --type=plain --nohome: "},
		{"kickstart", "%packages --ignoremissing\n%end\n", "f:1: %packages --ignoremissing: "},
		{"kickstart", "%packages\nhttpd --odd\n%end\n", "f:2: --odd: "},
		{"kickstart", "%post --odd\ntrue\n%end\n", "f:1: %post --odd: "},
		{"kickstart", "part swap --hibernation\n", "f:1: part swap --hibernation: "},
		{"kickstart", "part swap --recommended --size=5\n", "f:1: part swap --recommended: "},
		{"kickstart", "part / --size=5 odd\n", "f:1: part odd: "},
		{"kickstart", "part pv.1 --size=5 --label=x\n", "f:1: part --label: "},
		{"kickstart", "text\nclearpart --all --drives=sdb\npart / --size=1 --grow --ondisk=sda\n", "f:2: disk /dev/sda: clearpart --drives does not name it"},
		{"kickstart", "clearpart --all --disklabel=dasd\n", "f:1: clearpart --disklabel=dasd: "},
		{"kickstart", "zerombr\npart / --size=1 --grow\n", "f:1: zerombr: "},
		{"kickstart", "user --name=ada --password=x --lock\n", "f:1: password of ada: "},
		{"kickstart", "rootpw --lock x\n", "f:1: password of root: "},
		{"kickstart", "sshkey --username=ada\n", "f:1: sshkey: "},

		{"preseed", "d-i debian-installer/add-kernel-opts string nomodeset\n", "f:1: debian-installer/add-kernel-opts: "},
		{"preseed", "d-i partman-auto/disk string /dev/sda\n" + method + "d-i grub-installer/bootdev string /dev/sdb\n", "f:3: grub-installer/bootdev: "},
		{"preseed", "d-i base-installer/install-recommends boolean true\n", "f:1: base-installer/install-recommends: "},
		{"preseed", "d-i debian-installer/country string NL\n", "f:1: debian-installer/country: "},
		{"preseed", "d-i debian-installer/language string fr\nd-i debian-installer/locale string en_US\n", "f:1: debian-installer/language: "},
		{"preseed", "d-i debian-installer/locale string en_US.UTF-8\nd-i debian-installer/language string e\n", "f:2: debian-installer/language: "},
		{"preseed", "d-i debian-installer/locale string en_US.UTF-8\nd-i debian-installer/country string FR\n", "f:2: debian-installer/country: "},
		{"preseed", "d-i clock-setup/ntp-server string ntp.example.org\n", "f:1: clock-setup/ntp-server: "},
		{"preseed", "d-i partman/early_command string true\n", "f:1: partman/early_command: it runs in the installer"},
		{"preseed", "d-i netcfg/choose_interface select eth1\n", "f:1: netcfg/choose_interface: "},
		{"preseed", "d-i passwd/user-fullname string Ada\n", "f:1: passwd/user-fullname: "},
		{"preseed", "d-i partman-auto-lvm/new_vg_name string vg1\n" + method, "f:1: partman-auto-lvm/new_vg_name: "},
		{"preseed", "d-i partman-auto/choose_recipe select server\n" + method, "f:1: partman-auto/choose_recipe server: "},
		{"preseed", method + "d-i partman-auto/expert_recipe string x :: 1 2 -1 ext4 mountpoint{ / } device{ /dev/sdb } .\n", "f:2: device{ /dev/sdb } of /: "},
		{"preseed", "d-i partman-partitioning/choose_label select sun\n" + method, "f:1: partman-partitioning/choose_label sun: "},
		{"preseed", "d-i time/zone string UTC\nd-i time/zone string CET\n", "f:1: time/zone: line 2 answers it again"},
		{"preseed", "d-i time/zone string UTC\nd-i time/zone seen false\n", "f:2: time/zone seen false: "},

		{"fai", "disk_config sda\nprimary / 5G ext4 rw,noatime\n", "disk_config/A:2: mount option noatime: "},
		{"fai", "disk_config sda\nprimary / 5G ext4 rw mkfsopts=\"-m 0\"\n", "disk_config/A:2: mkfsopts=-m 0: "},
		{"fai", "disk_config sda\nprimary / 5G ext4 rw createopts=\"-m 0 -L root -i 50\"\n", "disk_config/A:2: createopts=-m 0 -i 50: "},
		{"fai", "disk_config sda\nprimary / 5G ext4 rw tuneopts=\"-c 0\"\n", "disk_config/A:2: tuneopts=-c 0: "},
		{"fai", "disk_config lvm fstabkey:label\n", "disk_config/A:1: fstabkey:label: "},
		{"fai", "disk_config lvm\nvg v sda1 pvcreateopts=\"-M 2\"\n", "disk_config/A:2: pvcreateopts=-M 2: "},
		{"fai", "disk_config lvm\nv-a /a 5G ext4 ro tuneopts=\"-c 0\"\n", "disk_config/A:2: mount option ro: "},
		{"fai", "disk_config lvm\nv-a /a 5G ext4 ro tuneopts=\"-c 0\"\n", "disk_config/A:2: tuneopts=-c 0: "},
		{"fai", "disk_config raid\nraid1 /a sda1,sdb1 ext4 rw mdcreateopts=\"--chunk=64\"\n", "disk_config/A:2: mdcreateopts=--chunk=64: "},
		{"fai", "disk_config sda\nprimary - 1G - -\nprimary / 1G ext4 rw\nprimary - 1G - -\ndisk_config raid\nraid1 /a sda1,sda3:spare ext4 rw\n", "disk_config/A:6: array sda3:spare: "},
		{"fai", "disk_config sda bootable:2\nprimary / 5G ext4 rw\nprimary /a 5G ext4 rw\n", "disk_config/A:1: bootable:2: "},
		{"fai", "disk_config cryptsetup\nluks /a sda1 ext4 rw\n", "disk_config/A:2: luks /a sda1 ext4 rw: "},
		{"lucie", "partition 'a' do |p|\np.slice = 'sda'\np.frobnicate = 3\np.size = 100\nend\n", "f:3: partition.frobnicate = 3: "},
		{"lucie", "partition 'a' do |p|\np.slice = 'sda'\np.fstab_option << 'ro'\np.fstab_option << 'sync'\np.size = 100\nend\n", "f:3: partition.fstab_option = ro: "},
		{"lucie", "installer do |i|\ni.odd = 1\nend\n", "f:2: installer.odd = 1: "},
		{"lucie", "install( %w(ssh), MORE )\n", "f:1: MORE: "},
	} {
		if _, left := imports(t, c.kind, c.text); !strings.Contains("\n"+left, "\n"+c.says) {
			t.Errorf("%s\nsays\n%swithout %q", c.text, left, c.says)
		}
	}
}

// TestNothingIsSaidInVain: what asks for nothing that is not so anyway needs no word.
func TestNothingIsSaidInVain(t *testing.T) {
	for kind, text := range map[string]string{
		"kickstart": "text\ninstall\nskipx\neula --agreed\nfirstboot --disable\nreboot\nzerombr\nclearpart --all --initlabel\nbootloader --location=mbr\n" +
			"network --bootproto=dhcp --onboot=yes --activate\nautopart --type=plain --nohome --noswap --noboot --fstype=ext4\n%packages --nobase --exclude-weakdeps\nhttpd\n%end\n" +
			"part / --size=1 --grow --asprimary\n",
		"preseed": "d-i debian-installer/locale string nl_NL.UTF-8\nd-i debian-installer/country string NL\nd-i debian-installer/language string nl\nd-i clock-setup/utc boolean true\nd-i mirror/http/proxy string\n" +
			"d-i partman-auto/disk string /dev/sda\nd-i partman-auto/method string lvm\nd-i partman-auto/choose_recipe select atomic\nd-i partman-lvm/confirm boolean true\n" +
			"d-i partman/confirm boolean true\nd-i grub-installer/bootdev string /dev/sda\nd-i passwd/root-login boolean true\nd-i time/zone seen true\n" +
			"d-i base-installer/install-recommends boolean false\nd-i finish-install/reboot_in_progress note\n",
		"fai": "disk_config disk1 disklabel:gpt bootable:1 fstabkey:uuid align-at:1M\nprimary /boot 1G ext4 rw\nprimary / 5G- ext4 rw,errors=remount-ro createopts=\"-L root\"\n",
		"lucie": "partition 'a' do |p|\np.slice = 'sda'\np.kind = 'primary'\np.fs = 'ext4'\np.mount_point = '/'\np.size = 100\np.bootable = true\np.preserve = false\nend\n" +
			"installer do |i|\ni.name = 'x'\ni.distribution = 'debian'\nend\n",
	} {
		_, left := imports(t, kind, text)
		if kind == "preseed" && strings.Count(left, "\n") == 1 && strings.Contains(left, "how much memory") {
			continue // of the recipe's swap
		}
		if left != "" {
			t.Errorf("%s\nsays\n%s", text, left)
		}
	}
}

// TestPartitionsWithoutADisk: they are put on the first disk that is named, and
// that is said.
func TestPartitionsWithoutADisk(t *testing.T) {
	lucie := func(name, slice, mount string) string {
		return "partition '" + name + "' do |p|\np.slice = " + slice + "\np.mount_point = '" + mount + "'\np.size = 900\nend\n"
	}
	for _, c := range []struct {
		summary, text string
		disks         []string // path and mount points
		says          string
	}{
		{"what cannot be read, with Lucie", lucie("a", "target", "/") + lucie("b", "'sda'", "/home"), []string{"/dev/sda: /home /"}, "f:2: p.slice = target: only values that stand there are read"},
		{"alone, with Lucie", lucie("a", "@target", "/"), []string{": /"}, "f:1: slice: only a device's name is understood: the first disk is taken"},
		{"none is named", "part / --size=1 --grow\npart swap --size=100\n", []string{": / swap"}, ""},
		{"two are", "part / --size=900 --ondisk=sda\npart swap --size=100\npart /data --size=900 --ondisk=sdb\nclearpart --all\n",
			[]string{"/dev/sda: / swap", "/dev/sdb: /data"}, "f:2: part swap: it names no disk, and any that has room would do: it is put on sda, the first that is named\n"},
		{"after it", "part swap --size=100\npart pv.1 --size=1 --grow --ondisk=sdb\npart / --size=900 --ondisk=sda\nvolgroup v pv.1\nlogvol /v --vgname=v --name=v --size=50\n",
			[]string{"/dev/sdb: swap v", "/dev/sda: /"}, "f:1: part swap: it names no disk"},
		{"of a group", "part / --size=900 --ondisk=sda\npart pv.1 --size=1 --grow\nvolgroup v pv.1\nlogvol /v --vgname=v --name=v --size=50\n",
			[]string{"/dev/sda: / v"}, "f:2: part pv.1: it names no disk"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			kind := "kickstart"
			if strings.Contains(c.summary, "Lucie") {
				kind = "lucie"
			}
			file, left := imports(t, kind, c.text)
			j, err := job.Parse("job.yaml", "/", []byte(file), job.Default(""))
			if err != nil {
				t.Fatal(err)
			}
			var disks []string
			for _, d := range j.Machines.Storage.Disks {
				line := d.Match.Path + ":"
				for _, p := range d.Partitions {
					if p.FS == "swap" {
						p.Mount = p.FS
					}
					line += " " + p.Mount + p.Group
				}
				disks = append(disks, line)
			}
			if !slices.Equal(disks, c.disks) || !strings.Contains(left, c.says) || c.says == "" && left != "" {
				t.Errorf("disks %q, want %q, and says\n%s", disks, c.disks, left)
			}
		})
	}
}
