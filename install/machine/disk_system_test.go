//go:build system

package machine

import (
	"os"
	"path/filepath"
	"testing"

	"ore"
	"ore/image"
	"ore/install/diskimage"
	"ore/install/recipe"
)

// A machine that was written from a disk image, and given its own boot loader after
// that, starts on its own as one whose file systems were made there.
func TestDiskImageStartsOnItsOwn(t *testing.T) {
	device, file := loop(t, 4<<30)
	r := standing(t, device, ore.BIOS)
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	dir := os.Getenv("ORE_TEST_STORE")
	if dir == "" {
		dir = filepath.Join(home, ".local/share/ore/images")
	}
	s, err := image.OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	shape, err := diskimage.ShapeOf(look(t, r, device))
	if err != nil {
		t.Fatal(err)
	}
	// It goes to a store of the test's: nobody would ever remove it from the other.
	own, err := image.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range r.Image.Layers {
		p, err := s.Path(l.Digest)
		if err == nil {
			err = os.Link(p, filepath.Join(own.Dir(), "blobs", "sha256", l.Digest.Hex()))
		}
		if err != nil {
			t.Skipf("the store's layers cannot be linked from a test's folder: %v", err)
		}
	}
	m, err := diskimage.Make(t.Context(), own, *r.Image, shape, nil)
	if err != nil {
		t.Fatal(err)
	}
	d, err := diskimage.Of(m, shape)
	if err != nil {
		t.Fatal(err)
	}
	path, err := own.Path(d.Layer.Digest)
	if err != nil {
		t.Fatal(err)
	}
	r.Strategy, r.Disk = recipe.Disk, &d
	r.Blobs = map[ore.Digest]recipe.Source{d.Layer.Digest: {Size: d.Layer.Size, From: []string{path}}}
	if _, _, err := install(t, r); err != nil {
		t.Fatal(err)
	}
	boots(t, file, nil)
	at := t.TempDir()
	for _, m := range look(t, r, device).FileSystems() {
		if m.Mount == "/" {
			sh(t, "e2fsck", "-fn", m.Device)
			sh(t, "mount", "-o", "ro", m.Device, at)
			defer sh(t, "umount", at)
		}
	}
	for _, does := range []string{"--audit", "--verify"} {
		if out := sh(t, "chroot", at, "dpkg", does); out != "" {
			t.Errorf("dpkg %s: %s", does, out)
		}
	}
}
