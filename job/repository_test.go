package job

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ore"
)

// rpmJob is a job whose base, wherever it stands, says what packages and
// repositories may be.
const rpmJob = `environment:
  packages: [NetworkManager, "lib_x=2:1.5-3"]
  repositories:
    - {uri: "http://example.org/os", key: ./key.asc}
    - {uri: "http://example.org/own", unsigned: true}
  base: rpm/tiny
`

func parseRPM(t *testing.T, text string) (ore.Job, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "key.asc"), []byte("a key"), 0o644); err != nil {
		t.Fatal(err)
	}
	return Parse("job.yaml", dir, []byte(text), Default("bookworm"))
}

func TestRPM(t *testing.T) {
	j, err := parseRPM(t, rpmJob)
	if err != nil {
		t.Fatal(err)
	}
	w := j.Wants
	if w.Base.String() != "rpm/tiny" || len(w.Packages) != 2 || w.Packages[1] != (ore.Wish{Name: "lib_x", Version: "2:1.5-3"}) {
		t.Errorf("%v with %v", w.Base, w.Packages)
	}
	if len(w.Repositories) != 2 || string(w.Repositories[0].Key) != "a key" || w.Repositories[1].Key != nil || w.Repositories[1].URI != "http://example.org/own" {
		t.Errorf("repositories %+v", w.Repositories)
	}
	if err := Check(j, false); err != nil {
		t.Error(err)
	}
	disk, debian := j, j
	disk.Machines.Root = ore.OnDisk
	debian.Wants.Base = ore.Base{Distribution: "debian", Suite: "bookworm"}
	for why, j := range map[string]ore.Job{"leave out root: disk": disk, "are of RPM packages": debian} {
		if err := Check(j, false); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want %q in it", err, why)
		}
	}
}

func TestRPMRefuses(t *testing.T) {
	for _, c := range []struct{ summary, from, to, why string }{
		{"neither key nor word", "key: ./key.asc", "", "needs uri, and either key or 'unsigned: true'"},
		{"key and word", "key: ./key.asc", "key: ./key.asc, unsigned: true", "needs uri, and either key or 'unsigned: true'"},
		{"no to the word", "unsigned: true", "unsigned: false", "needs uri, and either key or 'unsigned: true'"},
		{"a suite", "unsigned: true", "unsigned: true, suite: stable", "suite"},
		{"a name with a space", "NetworkManager", `"Network Manager"`, "not the name of an RPM package"},
		{"an open version", "lib_x=2:1.5-3", "lib_x=1.*", "malformed version"},
		{"another base", "base: rpm/tiny", "base: debian/bookworm", "Debian Policy 5.6.7"},
		{"unsigned packages for Debian", "base: rpm/tiny", "base: debian/bookworm", "unsigned"},
		{"a distribution that is none", "base: rpm/tiny", "base: arch/tiny", "use debian/SUITE, or rpm/NAME"},
	} {
		_, err := parseRPM(t, strings.Replace(rpmJob, c.from, c.to, 1))
		if err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %q in it", c.summary, err, c.why)
		}
	}
}
