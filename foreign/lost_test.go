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

// TestNothingVanishes: what a description says and a job file does not is named.
func TestNothingVanishes(t *testing.T) {
	for text, says := range map[string]string{
		"timezone --isUtc --nontp UTC\n":                                 "f:1: timezone --nontp: ",
		"part / --size=8000 --grow\n":                                    "f:1: part / --size=8000: it grows",
		"%packages\n@core\n%end\n":                                       "f:2: @core: ",
		"%packages\n@^minimal-environment\n%end\n":                       "f:2: @^minimal-environment: ",
		"volgroup v p\nlogvol / --vgname=v --name=r --size=900 --grow\n": "f:2: logvol / --size=900: it grows",
	} {
		if _, left := imports(t, "kickstart", text); !strings.Contains(left, says) {
			t.Errorf("%s\nsays\n%swithout %q", text, left, says)
		}
	}
	if _, left := imports(t, "kickstart", "part / --size=1 --grow\n"); strings.Contains(left, "--size") {
		t.Errorf("a size that stands for none is said: %s", left)
	}
}
