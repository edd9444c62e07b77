package fit

import (
	"errors"
	"io"
	"io/fs"
	"maps"
	"strings"
	"testing"

	"ore"
	"ore/image"
	"ore/image/export/ext4"
	"ore/install/disk"
	"ore/install/recipe"
	"ore/squashfs"
)

const mib = 1 << 20

// layout is that of a disk with these file systems, each of so many MiB.
func layout(t *testing.T, sizes map[string]int64) disk.Layout {
	t.Helper()
	d := ore.Disk{}
	for _, mount := range []string{"/", "/boot", "/usr", "/var", "/home", "/scratch"} {
		if n := sizes[mount]; n > 0 {
			d.Partitions = append(d.Partitions, ore.Partition{Size: ore.Share{Bytes: n * mib}, FileSystem: ore.FileSystem{FS: "ext4", Mount: mount}})
		}
	}
	l, err := disk.Arrange(disk.Wish{Storage: ore.Storage{Disks: []ore.Disk{d}}}, []disk.Seen{{Device: disk.Device{Name: "vda", Size: 64 << 30, Sector: 512}}})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// What is counted is what each file system gets; none lends another its room.
func TestRoom(t *testing.T) {
	env := ore.Environment{Packages: []ore.Package{{Size: 300 * mib}}} // which take as much at least, and 24
	whole := &image.Manifest{Bytes: 300 * mib}
	given := env
	given.Files = []ore.LockedFile{{Path: "/scratch/db/x"}}
	for _, c := range []struct {
		summary string
		r       recipe.Recipe
		sizes   map[string]int64
		want    string // "" where it fits
	}{
		{"all on /", recipe.Recipe{Image: whole}, map[string]int64{"/": 330}, ""},
		{"/ is too small", recipe.Recipe{Image: whole}, map[string]int64{"/": 328}, "have room for 322 MiB of packages' files, which take 324 MiB"},
		{"what users have is no room", recipe.Recipe{Image: whole}, map[string]int64{"/": 40, "/scratch": 1900, "/home": 500}, "have room for 39 MiB"},
		{"what packages have is", recipe.Recipe{Image: whole}, map[string]int64{"/": 40, "/usr": 200, "/var": 100}, ""},
		{"it was looked at", recipe.Recipe{Image: whole, Holds: map[string]int64{"/": 10 * mib, "/usr": 210 * mib, "/var": 80 * mib}}, map[string]int64{"/": 40, "/usr": 200, "/var": 100}, "/usr has room for 196 MiB, and its files take 210 MiB"},
		{"it was looked at, and fits", recipe.Recipe{Image: whole, Holds: map[string]int64{"/": 10 * mib, "/usr": 190 * mib, "/var": 80 * mib}}, map[string]int64{"/": 40, "/usr": 200, "/var": 100}, ""},
		{"/ for itself", recipe.Recipe{Image: whole, Holds: map[string]int64{"/": 20 * mib}}, map[string]int64{"/": 40, "/usr": 400}, "/ has room for 39 MiB, and its files take 44 MiB"},
		{"the way is not known", recipe.Recipe{Environment: env}, map[string]int64{"/": 40, "/scratch": 1900}, "have room for 39 MiB"},
		{"the way is not known, and one may fit", recipe.Recipe{Environment: env}, map[string]int64{"/": 40, "/usr": 300}, ""},
		{"a file of the environment's lies there", recipe.Recipe{Environment: given}, map[string]int64{"/": 40, "/scratch": 1900}, ""},
		{"packages are installed on /", recipe.Recipe{Environment: env, Strategy: recipe.Packages}, map[string]int64{"/": 40, "/usr": 300}, "/ has room for 39 MiB, and its files take 324 MiB at least, where packages are installed before they are moved"},
		{"so they are over a base", recipe.Recipe{Environment: env, Strategy: recipe.Base, Image: whole, Partial: true}, map[string]int64{"/": 40, "/usr": 300}, "(--install-from image)"},
	} {
		err := Room(c.r, layout(t, c.sizes))
		if c.want == "" && err == nil {
			continue
		}
		var fault recipe.Fault
		if c.want == "" || err == nil || !strings.Contains(err.Error(), c.want) || !errors.As(err, &fault) {
			t.Errorf("%s: %v, want %q", c.summary, err, c.want)
		}
	}
}

// file is an entry with this content.
func file(name, content string) ext4.Entry {
	return ext4.Entry{Entry: squashfs.Entry{Path: name, Mode: 0o644, Size: int64(len(content))},
		Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(content)), nil }}
}

func TestHolds(t *testing.T) {
	again := file("usr/share/b", "12345")
	again.Hardlink = "usr/share/a"
	link := file("var/link", "")
	link.Mode = fs.ModeSymlink
	link.Link = strings.Repeat("x", inline)
	long, folder := link, file("usr", "")
	long.Path, long.Link, folder.Mode = "var/long", link.Link+"x", fs.ModeDir
	tree := []ext4.Entry{file("etc/none", ""), file("etc/x", "1"), folder, file("usr/share/a", strings.Repeat("x", block+1)), again, file("usrx", strings.Repeat("x", block)), link, long}
	got := Holds(tree, []string{"/", "/usr", "/var", "/usr/share"})
	if want := map[string]int64{"/": 2 * block, "/usr": block, "/usr/share": 2 * block, "/var": block}; !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	s := ore.Storage{Disks: []ore.Disk{{Partitions: []ore.Partition{{FileSystem: ore.FileSystem{Mount: "/"}}, {}}}}, Arrays: []ore.RAID{{FileSystem: ore.FileSystem{Mount: "/a"}}}, Volumes: []ore.Volume{{FileSystem: ore.FileSystem{Mount: "/v"}}}}
	if got := strings.Join(Mounts(s), " "); got != "/ /a /v" {
		t.Errorf("mounted are %s", got)
	}
}

// What the tree does not have is refused; what it has, or an account before brings, is not.
func TestSystem(t *testing.T) {
	zone := ext4.Entry{Entry: squashfs.Entry{Path: "usr/share/zoneinfo/Europe", Mode: fs.ModeDir}}
	tree := []ext4.Entry{{Entry: squashfs.Entry{Path: ".", Mode: fs.ModeDir}}, file("etc/group", "root:x:0:\nsudo:x:27:\n"), zone, file("usr/share/zoneinfo/Europe/Berlin", "")}
	member := func(name string, groups ...string) ore.User { return ore.User{Name: name, Groups: groups} }
	for _, c := range []struct {
		summary string
		s       ore.System
		want    string
	}{
		{"nothing", ore.System{}, ""},
		{"a zone that is there", ore.System{TimeZone: "Europe/Berlin"}, ""},
		{"a zone that is not", ore.System{TimeZone: "Mars/Base"}, "tzdata has no zone Mars/Base"},
		{"a folder of zones", ore.System{TimeZone: "Europe"}, "tzdata has no zone Europe"},
		{"groups that are there", ore.System{Users: []ore.User{member("ada", "sudo", "root")}}, ""},
		{"a group that is not", ore.System{Users: []ore.User{member("ada", "sudo"), member("bob", "docker")}}, "user bob: groups: no package has a group docker"},
		{"an account's group", ore.System{Users: []ore.User{member("ada"), member("bob", "ada")}}, ""},
		{"an account's that comes later", ore.System{Users: []ore.User{member("ada", "bob"), member("bob")}}, "no package has a group bob"},
	} {
		err := System(c.s, tree)
		var fault recipe.Fault
		if (err == nil) != (c.want == "") || err != nil && (!strings.Contains(err.Error(), c.want) || !errors.As(err, &fault)) {
			t.Errorf("%s: %v, want %q", c.summary, err, c.want)
		}
	}
}
