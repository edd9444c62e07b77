package recipe

import (
	"bytes"
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"ore"
	"ore/image"
	"ore/install/diskimage"
)

func digest(s string) ore.Digest { return ore.DigestOf([]byte(s)) }

// example is a recipe with all that one can have.
func example() Recipe {
	env := ore.Environment{
		Version: ore.EnvironmentVersion, Base: ore.Base{Distribution: "debian", Suite: "bookworm"}, Arch: "amd64",
		Packages: []ore.Package{{Name: "libc6", Version: "2.36-9", Arch: "amd64", Path: "pool/main/g/glibc/libc6.deb", Size: 7, Digest: digest("libc6"), Base: true}},
		Files:    []ore.LockedFile{{Path: "/etc/motd", Mode: 0o100644, Digest: digest("hello"), Size: 5}},
		Sources:  []ore.LockedSource{{URI: "http://repo.example.org", Suite: "stable", Components: []string{"main"}, Key: digest("key")}},
	}
	layer := image.Layer{Digest: digest("layer"), Size: 4096, Compression: "zstd", Key: env.Key()}
	return Recipe{
		Version: Version, Name: "m0", Seed: "run/m0", Console: "ttyS0,115200", Environment: env,
		Storage: ore.Storage{
			Disks: []ore.Disk{{Partitions: []ore.Partition{
				{Size: ore.Share{Bytes: 1 << 30}, FileSystem: ore.FileSystem{FS: "ext4", Mount: "/", Label: "root"}},
				{Size: ore.Share{Rest: true}, Group: "vg0"},
			}}},
			Volumes: []ore.Volume{{Group: "vg0", Name: "home", Size: ore.Share{Rest: true}, FileSystem: ore.FileSystem{FS: "xfs", Mount: "/home"}}},
		},
		System:   ore.System{Users: []ore.User{{Name: "ada", Gecos: "Ada Lovelace", Groups: []string{"sudo"}, Password: "$6$x$y", Keys: []string{"ssh-ed25519 AAAA ada"}}}, Locale: "de_DE.UTF-8", TimeZone: "Europe/Berlin", Loader: ore.GRUB, Firmware: ore.BIOS},
		Strategy: Whole, Image: &image.Manifest{Version: image.ManifestVersion, Key: env.Key(), Environment: env, Tree: digest("tree"), Layers: []image.Layer{layer}},
		Blobs:   map[ore.Digest]Source{layer.Digest: {Size: 4096, From: []string{"/layers/0", "http://10.0.0.1/x"}}},
		Archive: []string{"proxy:http://10.0.0.1:3142", "mirror:http://mirror.example.org/debian"},
	}
}

// whole makes a recipe one of a disk image.
func whole(c *Recipe) {
	c.Strategy, c.Disk = Disk, &diskimage.Disk{Layer: image.Layer{Digest: digest("disk"), Size: 77}, Shape: diskimage.Shape{Parts: []diskimage.Part{{Number: 1, Mount: "/", Bytes: 1 << 30}}}}
	c.Blobs[digest("disk")] = Source{Size: 77, From: []string{"/disk"}}
}

// A disk image is enough, and its tree may be there for disks that it does not fit.
func TestDisk(t *testing.T) {
	c := example()
	whole(&c)
	if err := c.Check(); err != nil || !c.Pourable() {
		t.Errorf("with the tree: %v", err)
	}
	delete(c.Blobs, digest("layer"))
	if err := c.Check(); err != nil || c.Pourable() {
		t.Errorf("without: %v", err)
	}
}

func TestParse(t *testing.T) {
	c := example()
	got, err := Parse(bytes.NewReader(c.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Encode(), c.Encode()) {
		t.Errorf("%s became %s", c.Encode(), got.Encode())
	}
	for text, want := range map[string]string{
		`{"Versoin": 1}`:                       `unknown field "Versoin"`,
		string(c.Encode()) + "{}":              "something follows it",
		strings.Repeat(" ", 10) + `{"Name":1}`: "cannot unmarshal",
		``:                                     "EOF",
	} {
		if _, err := Parse(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v", text, err)
		}
	}
}

func TestCheck(t *testing.T) {
	for want, change := range map[string]func(c *Recipe){
		"version 2":               func(c *Recipe) { c.Version = 2 },
		"not a host's name":       func(c *Recipe) { c.Name = "a b" },
		"seed of 0 bytes":         func(c *Recipe) { c.Seed = "" },
		"not a serial line":       func(c *Recipe) { c.Console = "ttyS0 init=/bin/sh" },
		"not a locale's name":     func(c *Recipe) { c.System.Locale = "../x" },
		"not a zone":              func(c *Recipe) { c.System.TimeZone = "../../etc/shadow" },
		"use dhcp or none":        func(c *Recipe) { c.System.Network = "x" },
		"use grub":                func(c *Recipe) { c.System.Loader = "lilo" },
		"use bios or uefi":        func(c *Recipe) { c.System.Firmware = "x" },
		"one needs the other":     func(c *Recipe) { c.System.Firmware = "" },
		"strategy \"x\"":          func(c *Recipe) { c.Strategy = "x" },
		"packages has none":       func(c *Recipe) { c.Strategy = Packages },
		"disk has one":            func(c *Recipe) { c.Strategy = Disk },
		"the others have none":    func(c *Recipe) { whole(c); c.Strategy = Whole },
		"of a finished image":     func(c *Recipe) { whole(c); c.Partial = true },
		"layer \"x\"":             func(c *Recipe) { whole(c); c.Disk.Layer.Digest = "x" },
		"0 partitions":            func(c *Recipe) { whole(c); c.Disk.Parts = nil },
		"of 77 bytes: of 0":       func(c *Recipe) { whole(c); delete(c.Blobs, digest("disk")) },
		"set Partial":             func(c *Recipe) { c.Environment.Manual = []string{"x"} },
		"no archive":              func(c *Recipe) { c.Partial, c.Archive = true, nil },
		"use proxy: or mirror:":   func(c *Recipe) { c.Archive[0] = "http://x" },
		"manifest: version 7":     func(c *Recipe) { c.Image.Version = 7 },
		"from 0 sources":          func(c *Recipe) { c.Blobs = nil },
		"of 5 bytes: of 0":        func(c *Recipe) { c.Partial = true },
		"use an absolute path or": func(c *Recipe) { c.Blobs[digest("x")] = Source{From: []string{"../x"}} },
		"not a digest":            func(c *Recipe) { c.Blobs["x"] = Source{} },
		"use gpt or mbr":          func(c *Recipe) { c.Storage.Disks[0].Table = "bsd" },
		"of an array, group":      func(c *Recipe) { c.Storage.Volumes[0].Name = "--force" },
		"file system \"zfs\"":     func(c *Recipe) { c.Storage.Volumes[0].FS = "zfs" },
		"without . or ..":         func(c *Recipe) { c.Storage.Volumes[0].Mount = "/../x" },
		"no - first":              func(c *Recipe) { c.Storage.Disks[0].Partitions[0].Label = "-x" },
		"malformed":               func(c *Recipe) { c.Storage.Volumes[0].UUID = "x" },
		"mounted on /":            func(c *Recipe) { c.Storage.Disks[0].Partitions[0].Mount = "/x" },
		"not an account's name":   func(c *Recipe) { c.System.Users[0].Name = "a:0" },
		"uid -1":                  func(c *Recipe) { c.System.Users[0].UID = -1 },
		"gecos or password":       func(c *Recipe) { c.System.Users[0].Password = "x\nroot::0" },
		"shell \"sh\"":            func(c *Recipe) { c.System.Users[0].Shell = "sh" },
		"not a group's name":      func(c *Recipe) { c.System.Users[0].Groups[0] = "x y" },
		"a key with a line's end": func(c *Recipe) { c.System.Users[0].Keys[0] += "\nx" },
	} {
		c := example()
		change(&c)
		if err := c.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// The digest depends on what the machine is to be, and on nothing else.
func TestDigest(t *testing.T) {
	want := example().Digest()
	for name, change := range map[string]func(c *Recipe){
		"strategy": func(c *Recipe) { c.Strategy, c.Image = Packages, nil },
		"blobs":    func(c *Recipe) { c.Blobs = nil },
		"archive":  func(c *Recipe) { c.Archive = nil },
		"wipe":     func(c *Recipe) { c.Storage.Disks[0].Wipe = true },
		"mirror":   func(c *Recipe) { c.Environment.Packages[0].Path = "x" },
	} {
		c := example()
		change(&c)
		if c.Digest() != want {
			t.Errorf("%s changes it", name)
		}
	}
	seen := map[ore.Digest]string{want: "nothing"}
	changes := map[string]func(c *Recipe){
		"name": func(c *Recipe) { c.Name = "m1" }, "seed": func(c *Recipe) { c.Seed = "x" },
		"console": func(c *Recipe) { c.Console = "" }, "storage": func(c *Recipe) { c.Storage.Volumes[0].FS = "ext4" },
		"system": func(c *Recipe) { c.System.Locale = "" }, "environment": func(c *Recipe) { c.Environment.Manual = []string{"x"} },
	}
	for name, change := range maps.All(changes) {
		c := example()
		change(&c)
		if other, twice := seen[c.Digest()]; twice {
			t.Errorf("%s has the digest of %s", name, other)
		}
		seen[c.Digest()] = name
	}
}

// An image's place is taken by packages only where the recipe says where all of these,
// and all that goes with them, is to be had; the machine is to be the same.
func TestInstead(t *testing.T) {
	file := example().Environment.Files[0]
	for summary, c := range map[string]struct {
		change func(c *Recipe)
		want   bool
	}{
		"all is there":             {func(*Recipe) {}, true},
		"a partial image":          {func(c *Recipe) { c.Partial = true }, true},
		"a disk image":             {whole, true},
		"no archive":               {func(c *Recipe) { c.Archive = nil }, false},
		"a file's content is away": {func(c *Recipe) { delete(c.Blobs, file.Digest) }, false},
		"a certificate is away":    {func(c *Recipe) { delete(c.Blobs, digest("key")) }, false},
		"packages from the start":  {func(c *Recipe) { c.Strategy, c.Image = Packages, nil }, false},
	} {
		r := example()
		r.Blobs[file.Digest] = Source{Size: file.Size, From: []string{"/x"}}
		r.Blobs[digest("key")] = Source{Size: 3, From: []string{"/key"}}
		c.change(&r)
		i, ok := r.Instead()
		if ok != c.want {
			t.Errorf("%s: %v", summary, ok)
		}
		if ok && (i.Strategy != Packages || i.Image != nil || i.Disk != nil || i.Partial || i.Digest() != r.Digest()) {
			t.Errorf("%s: %+v", summary, i)
		}
	}
}

func TestReportIsARostersReport(t *testing.T) {
	b, err := json.Marshal(Report{Number: 1, Stage: Root, Event: Advance, Done: 2, Total: 3, Text: "x"})
	if err != nil || string(b) != `{"n":1,"stage":"base","event":"advance","at":"0001-01-01T00:00:00Z","done":2,"total":3,"text":"x"}` {
		t.Errorf("%s %v", b, err)
	}
}

// Whatever comes, what Parse takes is what Encode gives again, with its digest.
func FuzzParse(f *testing.F) {
	f.Add(example().Encode())
	f.Add([]byte(`{"Version":1,"Name":"a"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse(bytes.NewReader(b))
		if err != nil {
			return
		}
		again, err := Parse(bytes.NewReader(c.Encode()))
		if err != nil || again.Digest() != c.Digest() || !bytes.Equal(again.Encode(), c.Encode()) {
			t.Errorf("%v\n%s\n%s", err, c.Encode(), again.Encode())
		}
	})
}
