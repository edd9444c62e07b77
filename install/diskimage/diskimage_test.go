package diskimage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ore"
	"ore/image"
	"ore/image/export/ext4"
	"ore/install/disk"
	"ore/install/disk/signature"
	"ore/squashfs"
)

const mib = 1 << 20

// entry is a name of a layer with its content.
type entry struct {
	squashfs.Entry
	data string
}

func folderOf(p string) entry { return entry{Entry: squashfs.Entry{Path: p, Mode: fs.ModeDir | 0o755}} }

func file(p, data string) entry {
	return entry{squashfs.Entry{Path: p, Mode: 0o644, Size: int64(len(data))}, data}
}

func noise(n int) string {
	r := rand.NewChaCha8([32]byte{3})
	b := make([]byte, n)
	r.Read(b)
	return string(b)
}

// tree puts an image of these layers into a new store.
func tree(t testing.TB, layers ...[]entry) (*image.Store, image.Manifest) {
	t.Helper()
	s, err := image.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m := image.Manifest{Version: image.ManifestVersion, Tree: ore.DigestOf(nil)}
	m.Environment = ore.Environment{Version: ore.EnvironmentVersion, Arch: "amd64", Base: ore.Base{Distribution: "debian", Suite: "bookworm"}}
	m.Key = m.Environment.Key()
	for _, l := range layers {
		d, n, err := s.Put(t.Context(), func(f *os.File) error {
			w, err := squashfs.NewWriter(f, squashfs.Options{BlockSize: 64 << 10, Level: 1, Jobs: 1})
			if err != nil {
				return err
			}
			defer w.Abort()
			for _, e := range l {
				if err := w.Add(e.Entry, strings.NewReader(e.data)); err != nil {
					return err
				}
			}
			return w.Close()
		})
		if err != nil {
			t.Fatal(err)
		}
		m.Layers = append(m.Layers, image.Layer{Digest: d, Size: n, Compression: "zstd", Key: m.Key})
	}
	return s, m
}

// sample is a tree with what a file system and a merge can get wrong.
func sample() [][]entry {
	ping := file("usr/ping", noise(70_000))
	ping.Mode = 0o755 | fs.ModeSetuid
	var log = folderOf("var/log")
	log.Mode, log.UID, log.GID = fs.ModeDir|0o750, 7, 4
	return [][]entry{{
		folderOf("."), folderOf("usr"), folderOf("etc"), folderOf("var"), log, folderOf("var/log/deep"), folderOf("home"),
		ping, file("usr/big", noise(5*mib)), file("usr/holes", noise(5000)+strings.Repeat("\x00", 2*mib)+noise(300)),
		file("etc/gone", "x"), file("etc/hostname", "image\n"), file("var/log/deep/a", "in another file system\n"),
		{Entry: squashfs.Entry{Path: "var/log/deep/b", Hardlink: "var/log/deep/a"}},
	}, {
		folderOf("."), folderOf("etc"), file("etc/hostname", "upper\n"),
		{Entry: squashfs.Entry{Path: "etc/gone", Mode: fs.ModeDevice | fs.ModeCharDevice}},
	}}
}

// layout has two partitions in files, with anything in them, and one for /home
// that is no ext4.
func layout(t testing.TB) disk.Layout {
	t.Helper()
	dir := t.TempDir()
	made := func(name string, size int64, f ore.FileSystem) disk.Made {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, bytes.Repeat([]byte{0x5a}, int(size)), 0o600); err != nil {
			t.Fatal(err)
		}
		return disk.Made{Device: p, Bytes: size, FileSystem: f}
	}
	return disk.Layout{Disks: []disk.Placed{{Parts: []disk.Made{
		made("swap", mib, ore.FileSystem{FS: "swap"}),
		made("root", 96*mib, ore.FileSystem{FS: "ext4", Mount: "/", UUID: "0f0e0d0c-0b0a-8908-8706-050403020100", Label: "rooty"}),
		made("log", 24*mib, ore.FileSystem{FS: "ext4", Mount: "/var/log", UUID: "1f0e0d0c-0b0a-8908-8706-050403020100"}),
		made("home", mib, ore.FileSystem{FS: "xfs", Mount: "/home"}),
	}}}}
}

// made makes the disk image of the sample for a layout.
func made(t testing.TB, l disk.Layout) (Disk, string) {
	t.Helper()
	shape, err := ShapeOf(l)
	if err != nil {
		t.Fatal(err)
	}
	s, m := tree(t, sample()...)
	m.Capabilities = []image.Capability{{Path: "usr/ping", Value: []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}}
	img, err := Make(t.Context(), s, m, shape, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := image.DecodeManifest(img.Encode()); err != nil {
		t.Error(err)
	}
	again, err := Make(t.Context(), s, m, shape, nil)
	if err != nil || again.Digest() != img.Digest() {
		t.Errorf("made again it is another: %v", err)
	}
	d, err := Of(img, shape)
	if err != nil {
		t.Fatal(err)
	}
	p, err := s.Path(d.Layer.Digest)
	if err != nil {
		t.Fatal(err)
	}
	return d, p
}

func sh(t testing.TB, argv ...string) string {
	t.Helper()
	c := exec.Command(argv[0], argv[1:]...)
	c.Env = append(os.Environ(), "LC_ALL=C", "DEBUGFS_PAGER=cat")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", argv, err, out)
	}
	return string(out)
}

// Written over anything, each partition is a whole file system with its own
// identity and its part of the tree, and no other partition is touched.
func TestWrite(t *testing.T) {
	l := layout(t)
	d, from := made(t, l)
	if err := Write(t.Context(), Target{Disk: d, Layout: l, From: []string{from}}); err != nil {
		t.Fatal(err)
	}
	parts := l.Disks[0].Parts
	root, log := parts[1], parts[2]
	for _, m := range []disk.Made{root, log} {
		sh(t, "e2fsck", "-fn", m.Device)
		if out := sh(t, "dumpe2fs", "-h", m.Device); !strings.Contains(out, m.UUID) || m.Label != "" && !strings.Contains(out, m.Label) {
			t.Errorf("%s: not its own identity:\n%s", m.Mount, out)
		}
	}
	for _, m := range []disk.Made{parts[0], parts[3]} {
		if b, err := os.ReadFile(m.Device); err != nil || !bytes.Equal(b, bytes.Repeat([]byte{0x5a}, len(b))) {
			t.Errorf("%s: something was written (%v)", m.Device, err)
		}
	}
	for _, c := range []struct {
		device, ask, want string
	}{
		{root.Device, "cat /etc/hostname", "upper\n"},
		{root.Device, "cat /usr/big", noise(5 * mib)},
		{root.Device, "cat /usr/holes", noise(5000) + strings.Repeat("\x00", 2*mib) + noise(300)},
		{log.Device, "cat /deep/b", "in another file system\n"},
	} {
		c1 := exec.Command("debugfs", "-R", c.ask, c.device)
		out, err := c1.Output() // what debugfs says of itself goes elsewhere
		if err != nil || string(out) != c.want {
			t.Errorf("%s: %v, %d bytes instead of %d", c.ask, err, len(out), len(c.want))
		}
	}
	for _, c := range []struct{ device, ask, want string }{
		{root.Device, "stat /usr/ping", "Mode:  04755"}, {root.Device, "ea_list /usr/ping", "security.capability"},
		{root.Device, "stat /var/log", "Type: directory"}, {log.Device, "stat /", "User:     7   Group:     4"}, {log.Device, "stat /deep/a", "Links: 2"},
		{root.Device, "stat /etc/gone", "File not found"}, {root.Device, "stat /var/log/deep", "File not found"},
	} {
		if out := sh(t, "debugfs", "-R", c.ask, c.device); !strings.Contains(out, c.want) {
			t.Errorf("%s: no %q:\n%s", c.ask, c.want, out)
		}
	}
}

// A layer that is not what its digest says makes no file system.
func TestLyingSource(t *testing.T) {
	l := layout(t)
	d, from := made(t, l)
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(t.TempDir(), "bad")
	b[len(b)/2]++
	if err := os.WriteFile(bad, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(t.Context(), Target{Disk: d, Layout: l, From: []string{bad}}); err == nil {
		t.Fatal("it was taken")
	}
	for _, m := range l.Disks[0].Parts[1:3] {
		f, err := os.Open(m.Device)
		if err != nil {
			t.Fatal(err)
		}
		found, err := signature.Read(f, m.Bytes)
		f.Close()
		if err != nil || found == nil || found.Kind != "data" {
			t.Errorf("%s is %v (%v)", m.Device, found, err)
		}
	}
}

func TestRefused(t *testing.T) {
	l := layout(t)
	shape, err := ShapeOf(l)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		summary string
		more    []entry
		want    string
	}{
		{"files below what is no ext4", []entry{file("home/x", "x")}, "the file system for /home is not ext4"},
		{"a file in two file systems", []entry{{Entry: squashfs.Entry{Path: "etc/b", Hardlink: "var/log/deep/a"}}}, "belong to different file systems"},
		{"too much for its partition", []entry{file("var/log/much", noise(30*mib))}, "too small"},
	} {
		layers := sample()
		s, m := tree(t, append(layers[0], c.more...))
		if _, err := Make(t.Context(), s, m, shape, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.summary, err)
		}
		left, err := os.ReadDir(filepath.Join(s.Dir(), "partial"))
		if err != nil || len(left) > 0 {
			t.Errorf("%s: %d files are left (%v)", c.summary, len(left), err)
		}
	}
}

func TestShapes(t *testing.T) {
	part := func(fs, mount string, size int64) disk.Made {
		return disk.Made{Bytes: size, FileSystem: ore.FileSystem{FS: fs, Mount: mount}}
	}
	of := func(all ...disk.Made) disk.Layout { return disk.Layout{Disks: []disk.Placed{{Parts: all}}} }
	one := of(part("ext4", "/", 64*mib), part("vfat", "/boot/efi", mib))
	shape, err := ShapeOf(one)
	if err != nil || shape.Fits(one) != nil || !shape.Has(one.Disks[0].Parts[0]) || shape.Has(one.Disks[0].Parts[1]) {
		t.Fatalf("%+v, %v, %v", shape, err, shape.Fits(one))
	}
	keys := map[ore.Key]string{Environment("k", shape).Key(): "the first"}
	for name, l := range map[string]disk.Layout{
		"another size":        of(part("ext4", "/", 65*mib), part("vfat", "/boot/efi", mib)),
		"another mount point": of(part("ext4", "/", 64*mib), part("vfat", "/efi", mib)),
		"a part more":         of(part("ext4", "/", 64*mib), part("vfat", "/boot/efi", mib), part("ext4", "/x", mib)),
		"another place":       of(part("vfat", "/boot/efi", mib), part("ext4", "/", 64*mib)),
	} {
		if err := shape.Fits(l); err == nil {
			t.Errorf("%s fits", name)
		}
		other, err := ShapeOf(l)
		key := Environment("k", other).Key()
		if err != nil || keys[key] != "" {
			t.Errorf("%s: %v, the key is that of %s", name, err, keys[key])
		}
		keys[key] = name
	}
	if keys[Environment("another tree", shape).Key()] != "" {
		t.Error("two trees have one key")
	}
	volumes := of(part("ext4", "/", 64*mib))
	volumes.Groups = []disk.Group{{Name: "vg"}}
	for name, l := range map[string]disk.Layout{
		"no root": of(part("ext4", "/x", mib)), "a root on xfs": of(part("xfs", "/", 400*mib)), "volumes": volumes,
		"two roots": of(part("ext4", "/", mib), part("ext4", "/", mib)),
	} {
		if _, err := ShapeOf(l); err == nil {
			t.Errorf("%s has a shape", name)
		}
	}
}

// What does not belong to the shape, or is out of order, is placed nowhere.
func TestPlaces(t *testing.T) {
	fresh := func() []*opened { return []*opened{{part: Part{Bytes: mib}}, {part: Part{Bytes: mib}}} }
	const block = ext4.HeadSize
	for _, c := range []struct {
		summary string
		names   []string
		sizes   []int64
		good    bool
	}{
		{"two parts", []string{"001/000000000000", "001/000000001000", "002/000000000000"}, []int64{block, mib - block, block}, true},
		{"no such part", []string{"003/000000000000"}, []int64{block}, false},
		{"another form", []string{"1/0"}, []int64{block}, false},
		{"another case", []string{"001/00000000A000"}, []int64{block}, false},
		{"a sign", []string{"001/-00000001000"}, []int64{block}, false},
		{"a folder more", []string{"001/x/000000000000"}, []int64{block}, false},
		{"no blocks", []string{"001/000000000000", "001/000000001001"}, []int64{block, block}, false},
		{"half a block", []string{"001/000000000000", "001/000000001000"}, []int64{block, 100}, false},
		{"beyond the end", []string{"001/000000000000", "001/000000001000"}, []int64{block, mib}, false},
		{"overlapping", []string{"001/000000000000", "001/000000001000", "001/000000002000"}, []int64{block, 2 * block, block}, false},
		{"the first twice", []string{"001/000000000000", "001/000000000000"}, []int64{block, block}, false},
		{"too much at first", []string{"001/000000000000"}, []int64{2 * block}, false},
		{"without the first", []string{"001/000000001000"}, []int64{block}, false},
	} {
		place := places(fresh())
		var err error
		for i, n := range c.names {
			if _, e := place(n, c.sizes[i]); e != nil {
				err = e
			}
		}
		if (err == nil) != c.good {
			t.Errorf("%s: %v", c.summary, err)
		}
	}
}

// FuzzPlaces: what is placed is within its partition, and overlaps nothing.
func FuzzPlaces(f *testing.F) {
	f.Add("001/000000000000", int64(4096), "001/000000001000", int64(8192))
	f.Add("001/000000000000", int64(4096), "001/0000000ff000", int64(4096))
	f.Add("002/7fffffffffff", int64(4096), "1/-0", int64(-1))
	f.Fuzz(func(t *testing.T, a string, n int64, b string, m int64) {
		open := []*opened{{part: Part{Bytes: mib}}}
		place := places(open)
		var spans [][2]int64
		for _, c := range []struct {
			name string
			size int64
		}{{a, n}, {b, m}} {
			room, err := place(c.name, c.size)
			if err != nil {
				continue
			}
			if _, kept := room.W.(*lead); kept != (room.At == 0) {
				t.Errorf("%s: in memory: %v", c.name, kept)
			}
			spans = append(spans, [2]int64{room.At, room.At + c.size})
		}
		slices.SortFunc(spans, func(a, b [2]int64) int { return int(a[0] - b[0]) })
		end := int64(0)
		for _, s := range spans {
			if s[0] < end || s[1] > mib || s[1] <= s[0] {
				t.Errorf("%v overlap or lie outside", spans)
			}
			end = s[1]
		}
	})
}

// The first block comes whole or not at all.
func TestLead(t *testing.T) {
	for _, c := range []struct{ at, n int64 }{{0, 100}, {4096, 4096}, {1, 4096}} {
		if _, err := (&lead{&opened{}}).WriteAt(make([]byte, c.n), c.at); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
	if err := (&opened{}).finish(); err == nil || errors.Is(err, fs.ErrClosed) {
		t.Errorf("without it: %v", err)
	}
}

func ExampleEnvironment() {
	e := Environment("6b4f...", Shape{Parts: []Part{{Number: 1, Mount: "/", Bytes: 2 << 30}}, Empty: []string{"/boot/efi"}})
	fmt.Println(strings.Join(e.Manual, "\n"))
	// Output:
	// /boot/efi: empty
	// disk 1 partition 1: /, 2147483648 bytes
	// image 6b4f...
}
