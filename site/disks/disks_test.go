package disks

import (
	"context"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"ore"
	"ore/cache"
	"ore/image"
	"ore/install/diskimage"
	"ore/squashfs"
)

func machines() ore.Machines {
	return ore.Machines{Root: ore.OnDisk, Resources: ore.Resources{Disk: 2 << 30}}
}

// Of each machine's disk there is one image: as large as its disk, with what its
// firmware needs left out.
func TestShape(t *testing.T) {
	plain, err := Shape(machines())
	if err != nil || len(plain.Parts) != 1 || plain.Parts[0].Mount != "/" || plain.Parts[0].Bytes <= 2<<30-16<<20 || plain.Parts[0].Bytes >= 2<<30 {
		t.Fatalf("%+v, %v", plain, err)
	}
	uefi := machines()
	uefi.System = ore.System{Loader: ore.GRUB, Firmware: ore.UEFI}
	s, err := Shape(uefi)
	if err != nil || len(s.Empty) != 1 || s.Parts[0].Number != 2 {
		t.Errorf("with UEFI: %+v, %v", s, err)
	}
	for want, storage := range map[string]ore.Storage{
		"no volumes": {
			Disks:   []ore.Disk{{Partitions: []ore.Partition{{Size: ore.Share{Rest: true}, Group: "vg"}}}},
			Volumes: []ore.Volume{{Group: "vg", Name: "root", Size: ore.Share{Rest: true}, FileSystem: ore.FileSystem{FS: "ext4", Mount: "/"}}},
		},
		"root on ext4": {Disks: []ore.Disk{{Partitions: []ore.Partition{{Size: ore.Share{Rest: true}, FileSystem: ore.FileSystem{FS: "xfs", Mount: "/"}}}}}},
		"do not fit":   {Disks: []ore.Disk{{Partitions: []ore.Partition{{Size: ore.Share{Bytes: 9 << 30}, FileSystem: ore.FileSystem{FS: "ext4", Mount: "/"}}}}}},
	} {
		m := machines()
		m.Storage = storage
		if _, err := Shape(m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// What is kept is found by the tree and by all sizes, and only then.
func TestKept(t *testing.T) {
	c, err := cache.Config{}.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	tree, other := ore.Environment{Arch: "amd64"}.Key(), ore.Environment{Arch: "i386"}.Key()
	if k := Kept(t.Context(), c, tree, machines()); k == nil || k.Size != 0 {
		t.Errorf("before: %+v", k)
	}
	layer := register(t, c, tree)
	if k := Kept(t.Context(), c, tree, machines()); k == nil || *k != layer {
		t.Errorf("%+v is kept, not %+v", k, layer)
	}
	larger := machines()
	larger.Disk += 1 << 20
	volumes := machines()
	volumes.Storage = ore.Storage{Disks: []ore.Disk{{Partitions: []ore.Partition{{Size: ore.Share{Rest: true}, FileSystem: ore.FileSystem{FS: "xfs", Mount: "/"}}}}}}
	if k := Kept(t.Context(), c, tree, larger); k == nil || k.Size != 0 {
		t.Errorf("for another disk: %+v", k)
	}
	if k := Kept(t.Context(), c, other, machines()); k == nil || k.Size != 0 {
		t.Errorf("for another tree: %+v", k)
	}
	if k := Kept(t.Context(), c, tree, volumes); k != nil {
		t.Errorf("for a root on xfs: %+v", k)
	}
}

// register has a disk image of a tree in the cache.
func register(t *testing.T, c *cache.Cache, tree ore.Key) image.Layer {
	t.Helper()
	s, err := Shape(machines())
	if err != nil {
		t.Fatal(err)
	}
	d, n, err := c.Put(context.Background(), empty)
	if err != nil {
		t.Fatal(err)
	}
	env := diskimage.Environment(tree, s)
	m := image.Manifest{Version: image.ManifestVersion, Key: env.Key(), Environment: env, Tree: ore.DigestOf(nil),
		Layers: []image.Layer{{Digest: d, Size: n, Compression: "zstd", Key: env.Key()}}}
	if m, err = c.Register(t.Context(), m, time.Second); err != nil {
		t.Fatal(err)
	}
	return m.Layers[0]
}

// empty writes a layer with nothing in it.
func empty(f *os.File) error {
	w, err := squashfs.NewWriter(f, squashfs.Options{})
	if err != nil {
		return err
	}
	defer w.Abort()
	if err := w.Add(squashfs.Entry{Path: ".", Mode: fs.ModeDir | 0o755}, nil); err != nil {
		return err
	}
	return w.Close()
}
