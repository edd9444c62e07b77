package site

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"ore"
	"ore/cluster"
	"ore/node"
	"ore/plan"
	"ore/site/driver"
	"ore/site/given"
	"ore/site/inputs"
	"ore/site/ledger"
)

func newSite(t *testing.T) *Site {
	t.Helper()
	home := t.TempDir()
	d, err := FindDirs(func(name string) string { return map[string]string{HomeVariable: home}[name] })
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), Config{Dirs: d})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestFindDirs(t *testing.T) {
	for _, c := range []struct {
		summary string
		env     map[string]string
		want    Dirs
		err     string
	}{
		{"one folder", map[string]string{"ORE_HOME": "/o", "HOME": "/h"}, Dirs{"/o/cache", "/o/images", "/o/state", "/o/run"}, ""},
		{"the usual ones", map[string]string{"HOME": "/h"},
			Dirs{"/h/.cache/ore", "/h/.local/share/ore/images", "/h/.local/state/ore", "/h/.local/state/ore/run"}, ""},
		{"those of XDG", map[string]string{"HOME": "/h", "XDG_CACHE_HOME": "/c", "XDG_DATA_HOME": "/d", "XDG_STATE_HOME": "relative"},
			Dirs{"/c/ore", "/d/ore/images", "/h/.local/state/ore", "/h/.local/state/ore/run"}, ""},
		{"none", nil, Dirs{}, "set ORE_HOME"},
	} {
		got, err := FindDirs(func(name string) string { return c.env[name] })
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%s: %+v, %v", c.summary, got, err)
		}
	}
}

func TestLockFiles(t *testing.T) {
	s := newSite(t)
	src := t.TempDir()
	if err := os.MkdirAll(filepath.Join(src, "d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(src, "d", "f"), []byte("x"), 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("d/f", filepath.Join(src, "l")); err != nil {
		t.Fatal(err)
	}
	files, sources, err := s.lockFiles(t.Context(), []ore.File{
		{Path: "/etc/motd", Content: []byte("hello")}, {Path: "/opt/s", Source: src},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]uint32{"/etc/motd": 0o100644, "/opt/s": 0o40755, "/opt/s/d": 0o40755, "/opt/s/d/f": 0o100640, "/opt/s/l": 0o120777}
	for _, f := range files {
		mode, ok := want[f.Path]
		if !ok || f.Mode&0o170000 != mode&0o170000 || f.Mode&0o170000 == 0o100000 && f.Mode != mode {
			t.Errorf("%s: mode %o, want %o", f.Path, f.Mode, mode)
		}
		if f.Digest != "" {
			if d, _, err := given.Digest(sources[f.Digest]); err != nil || d != f.Digest {
				t.Errorf("%s: its source has %s, %v", f.Path, d, err)
			}
		}
		delete(want, f.Path)
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
	// A content that stood in a job file is found again without it.
	found := map[ore.Digest]string{}
	given.AddKept(s.Cache.Store, files, found)
	if found[ore.DigestOf([]byte("hello"))] == "" {
		t.Errorf("not kept: %v", found)
	}
}

// A source that looks as it did when it was read is not read again: what was
// found then is taken, here something that reading would not find.
func TestSourcesAreReadOnce(t *testing.T) {
	s := newSite(t)
	const old = "/etc/passwd" // whatever is long settled
	lock := func() ore.LockedFile {
		t.Helper()
		files, _, err := s.lockFiles(t.Context(), []ore.File{{Path: "/x", Source: old, Mode: 0o600}})
		if err != nil || len(files) != 1 || files[0].Path != "/x" || files[0].Mode != 0o100600 {
			t.Fatalf("%+v, %v", files, err)
		}
		return files[0]
	}
	want, _, err := given.Digest(old)
	if got := lock(); err != nil || got.Digest != want {
		t.Errorf("%s, %v; want %s", got.Digest, err, want)
	}
	list, err := inputs.Look(old)
	if err != nil {
		t.Fatal(err)
	}
	mark := ore.DigestOf([]byte("remembered"))
	inputs.MemoOf(s.inputsDir()).Keep(given.Sources, list, list, []ore.LockedFile{{Path: ".", Mode: 0o100644, Digest: mark}})
	if got := lock(); got.Digest != mark {
		t.Errorf("%s was read again", old)
	}
}

// A plan may take more than was asked where the site's settings say so.
func TestAskFollowsTheSite(t *testing.T) {
	for _, superset := range []bool{false, true} {
		s := &Site{Config: Config{Superset: superset}}
		if got := s.ask("uml"); got.Superset != superset || got.Locked || got.Starts[0] != "uml" {
			t.Errorf("superset %v: %+v", superset, got)
		}
	}
}

func TestChooseHypervisor(t *testing.T) {
	s := &Site{}
	for _, c := range []struct {
		hypervisor, kernel string
		cpus, mounts       int
		want               string
	}{
		{"auto", "", 1, 0, "uml"}, {"auto", "", 2, 0, "qemu"}, {"auto", "linux-image-amd64", 1, 0, "qemu"}, {"qemu", "", 1, 0, "qemu"},
		{"uml", "", 1, 0, "uml"}, {"uml", "", 2, 0, ""}, {"uml", "linux-image-amd64", 1, 0, ""},
		{"auto", "", 1, 1, "uml"}, {"auto", "", 1, 2, "qemu"}, {"uml", "", 1, 2, "uml"},
	} {
		got, _, err := driver.Choose(cluster.Reservation{Kernel: c.kernel, Mounts: c.mounts, Machines: ore.Machines{
			Hypervisor: c.hypervisor, Resources: ore.Resources{CPUs: c.cpus}}})
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
		j := ore.Job{Wants: ore.Wants{Kernel: c.kernel}, Machines: ore.Machines{Hypervisor: c.hypervisor, Resources: ore.Resources{CPUs: c.cpus}}}
		for range c.mounts {
			j.Run.Inputs = append(j.Run.Inputs, ore.Input{Mount: "/in"})
		}
		if got := s.driver(reservation(j)); c.want != "" && got != c.want || c.want == "" && got != c.hypervisor {
			t.Errorf("%+v: times are kept as those of %q", c, got)
		}
	}
}

func TestReadLock(t *testing.T) {
	env := ore.Environment{Version: ore.EnvironmentVersion, Base: ore.Base{Distribution: "debian", Suite: "bookworm"}, Packages: []ore.Package{{Name: "a", Version: "1"}}}
	write := func(l any) string {
		b, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		p := filepath.Join(t.TempDir(), "lock")
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	l, err := ReadLock(write(Lock{Key: env.Key(), Environment: env, Kernel: "k"}))
	if err != nil {
		t.Fatal(err)
	}
	var w ore.Wants
	if l.Pin(&w); w.Base != env.Base || w.Kernel != "k" {
		t.Errorf("pinned %+v", w)
	}
	changed := env
	changed.Packages = []ore.Package{{Name: "a", Version: "2"}}
	for word, l := range map[string]any{
		"it was changed": Lock{Key: env.Key(), Environment: changed}, "not a lock of this version": Lock{}, "cannot unmarshal": "text",
	} {
		if _, err := ReadLock(write(l)); err == nil || !strings.Contains(err.Error(), word) || !strings.Contains(err.Error(), "make it again with 'ore lock'") {
			t.Errorf("%s: %v", word, err)
		}
	}
}

// Doctor names what dead supervisors left, and says how to be rid of it.
func TestFindJobs(t *testing.T) {
	s := newSite(t)
	if f := s.findJobs(); !f.Works || f.What != "0 run" || f.Fix != "" {
		t.Errorf("a new site: %+v", f)
	}
	if err := s.Keep(ledger.Record{ID: "job-1", Begun: time.Now()}); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.Folder("job-1"), 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := ledger.Claim(s.Folder("job-1"))
	if err != nil {
		t.Fatal(err)
	}
	if f := s.findJobs(); !f.Works || f.What != "1 run" {
		t.Errorf("a job that runs: %+v", f)
	}
	if err := lock.Close(); err != nil { // its supervisor dies
		t.Fatal(err)
	}
	f := s.findJobs()
	if f.Works || f.Needed || !strings.Contains(f.What, s.Folder("job-1")) || !strings.Contains(f.Fix, "rm -r "+s.Folder("job-1")) || !strings.Contains(f.Fix, "'ore jobs rm job-1'") {
		t.Errorf("a job whose supervisor died: %+v", f)
	}
	again, err := Open(t.Context(), Config{Dirs: s.Dirs})
	if err != nil {
		t.Fatal(err)
	}
	f = again.findJobs()
	if f.Works || !strings.Contains(f.What, "removed what dead supervisors left: "+s.Folder("job-1")) || strings.Contains(f.Fix, "rm -r") {
		t.Errorf("swept: %+v", f)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestReadLockOfNoFile(t *testing.T) {
	dir := t.TempDir()
	for path, do := range map[string]string{filepath.Join(dir, "lock"): "make it with 'ore lock'", dir: "name a file"} {
		if _, err := ReadLock(path); err == nil || !strings.Contains(err.Error(), do) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestAcceleratorIsRemembered(t *testing.T) {
	s := newSite(t)
	program := filepath.Join(t.TempDir(), "qemu")
	if err := os.WriteFile(program, nil, 0o755); err != nil {
		t.Fatal(err)
	}
	b := node.Boot{Program: []string{program}}
	want, err := asked(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, []byte("another"), 0o755); err != nil {
		t.Fatal(err)
	}
	if other, err := asked(b); err != nil || other == want {
		t.Errorf("another program is the same: %+v, %v", other, err)
	}
	want.Accelerator = "kvm"
	if err := s.remember(want); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(s.accelerationPath())
	if err != nil {
		t.Fatal(err)
	}
	var got acceleration
	now := time.Now()
	if err := json.Unmarshal(text, &got); err != nil || !got.stands(want, now) {
		t.Errorf("%+v, %v", got, err)
	}
	if got.User++; got.stands(want, now) {
		t.Error("another user has the same")
	}
	unsure := want
	unsure.Until = now.Add(unsureTime).Round(0)
	if !unsure.stands(want, now) || unsure.stands(want, now.Add(unsureTime)) {
		t.Error("an answer that was none does not stand, or for ever")
	}
}

func TestDamagedRatesAreNone(t *testing.T) {
	s := newSite(t)
	if r := s.Rates(); !reflect.DeepEqual(r, plan.Rates{}) {
		t.Errorf("rates of a new site: %v", r)
	}
	if err := os.WriteFile(s.memory().RatesPath(), []byte("{damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := s.Rates(); !reflect.DeepEqual(r, plan.Rates{}) {
		t.Errorf("rates of a damaged file: %v", r)
	}
}

func TestVerifyUnknownImage(t *testing.T) {
	s := newSite(t)
	if err := s.Verify(context.Background(), ore.Key(strings.Repeat("0", 64))); err == nil {
		t.Error("no error")
	}
}
