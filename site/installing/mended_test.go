package installing

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"ore"
	"ore/install/recipe"
	"ore/site"
	"ore/site/ledger"
)

// Of a job that is mended only files and steps may differ: all else is named, and
// then nothing is kept. What is kept is what machines go on with.
func TestMend(t *testing.T) {
	s := &site.Site{Book: ledger.Book{Run: t.TempDir()}}
	if err := os.MkdirAll(s.Folder("bed"), 0o700); err != nil {
		t.Fatal(err)
	}
	job := func() ore.Job {
		return ore.Job{
			Wants: ore.Wants{
				Base: ore.Base{Distribution: "debian", Suite: "bookworm"}, Packages: []ore.Wish{{Name: "hello"}},
				Steps: []ore.Step{{Name: "one", Run: "true"}, {Name: "two", Needs: []string{"one"}, Run: "false"}},
			},
			Machines: ore.Machines{Root: ore.OnDisk, System: ore.System{TimeZone: "Europe/Berlin"}},
		}
	}
	first := job()
	Complete(&first)
	kept := Maker{Job: first, From: recipe.Base}.memory()
	for _, c := range []struct {
		change func(*ore.Job)
		want   string
	}{
		{func(j *ore.Job) { j.Wants.Packages = append(j.Wants.Packages, ore.Wish{Name: "jq"}) }, "other environment.packages than"},
		{func(j *ore.Job) { j.Wants.Base.Suite, j.Wants.Kernel = "trixie", "k" }, "other environment.base, environment.kernel than"},
		{func(j *ore.Job) { j.Machines.Storage = one(part(rest, "ext4", "/")) }, "other environment.packages, machines.disks than"},
		{func(j *ore.Job) { j.Machines.System.Users = []ore.User{{Name: "u"}} }, "other machines.system than"},
		{func(j *ore.Job) { j.Wants.Steps[0].Needs = []string{"two"} }, "needs itself"},
	} {
		j := job()
		c.change(&j)
		if _, err := Mend(s, "bed", kept, j); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.want, err)
		}
	}
	if d, err := mendedBefore(s, "bed"); d != nil || err != nil {
		t.Errorf("refused, and kept: %+v, %v", d, err)
	}
	j := job()
	j.Wants.Files = []ore.File{{Path: "/etc/motd", Content: []byte("hi")}}
	for _, c := range []struct {
		two  string
		want []string
	}{{"true", []string{"two"}}, {"true", nil}, {"echo", []string{"two"}}} {
		j.Wants.Steps[1].Run = c.two
		steps, err := Mend(s, "bed", kept, j)
		if err != nil || !slices.Equal(steps, c.want) {
			t.Errorf("%q, %v, want %q", steps, err, c.want)
		}
	}
	d, err := mendedBefore(s, "bed")
	if err != nil || !same(*d, mended{j.Wants.Files, j.Wants.Steps}) {
		t.Errorf("%+v, %v", d, err)
	}
	if left, _ := os.ReadDir(s.Folder("bed")); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
	image := Maker{Job: first, From: recipe.Whole}.memory()
	if _, err := Mend(s, "bed", image, j); err == nil || !strings.Contains(err.Error(), "install an image") {
		t.Errorf("of an image: %v", err)
	}
	if _, err := Mend(s, "bed", json.RawMessage("{"), j); err == nil {
		t.Error("what is not known is mended")
	}
}

// A recipe that goes on says by which one its disks were made.
func TestBegin(t *testing.T) {
	env := ore.Environment{Version: ore.EnvironmentVersion, Steps: []ore.Step{{Name: "one", Run: "false"}}}
	r := recipe.Recipe{Name: "m0", Seed: "bed/m0", Environment: env}
	was := r.Digest()
	Maker{}.begin(&r)
	if r.Begun != "" || r.Disks() != was {
		t.Errorf("nothing was mended: %s", r.Begun)
	}
	r.Environment.Steps = []ore.Step{{Name: "one", Run: "true"}}
	Maker{begun: &env}.begin(&r)
	if r.Begun != was || r.Disks() != was || r.Digest() == was {
		t.Errorf("begun by %s, not by %s", r.Begun, was)
	}
}
