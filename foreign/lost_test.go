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
	if len(u) != 2 || u[0].Name != "root" || u[0].Password != "$6$root$hash" || u[1].Password != "$6$ada$hash" || len(u[1].Keys) != 1 {
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
