package machine

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ore"
	"ore/install/disk"
	"ore/install/recipe"
)

// What devices ask for is loaded, also what asks only once another is there.
func TestModulesAreLoaded(t *testing.T) {
	root := t.TempDir()
	show := func(device, alias string) {
		t.Helper()
		dir := filepath.Join(root, "sys/devices", device)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "modalias"), []byte(alias+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	show("pci0/0", "pci:v00001AF4")
	var loaded []string
	u := &run{recipe: recipe.Recipe{Storage: ore.Storage{Volumes: []ore.Volume{{}}}}}
	u.Kernel.Root = root
	u.Command = func(_ context.Context, argv []string) ([]byte, error) {
		if argv[0] != "modprobe" || argv[4] != "--" {
			t.Errorf("ran %q", argv)
		}
		loaded = append(loaded, argv[5:]...)
		if slices.Contains(argv, "pci:v00001AF4") {
			show("pci0/0/virtio0", "virtio:d00000002")
		}
		return nil, nil
	}
	u.load(t.Context())
	for _, want := range []string{"pci:v00001AF4", "virtio:d00000002", "ext4", "dm_mod"} {
		if n := len(slices.DeleteFunc(slices.Clone(loaded), func(s string) bool { return s != want })); n != 1 {
			t.Errorf("%s is loaded %d times of %q", want, n, loaded)
		}
	}
	if slices.Contains(loaded, "raid1") {
		t.Error("modules for arrays are loaded without any")
	}
}

// The identifiers on a machine's disks are known before there is one, and do
// not depend on the way to it.
func TestWishDependsOnTheMachine(t *testing.T) {
	uuid := func(r recipe.Recipe) string {
		l, err := disk.Arrange(Wish(r), []disk.Seen{{Device: disk.Device{Name: "vda", Size: 1 << 30, Sector: 512}}})
		if err != nil {
			t.Fatal(err)
		}
		return l.FileSystems()[0].UUID
	}
	r := recipe.Recipe{Name: "m0", Seed: "a"}
	first := uuid(r)
	r.Strategy, r.Storage = recipe.Base, ore.Storage{}
	if uuid(r) != first {
		t.Error("it depends on the way")
	}
	r.Seed = "b"
	if uuid(r) == first {
		t.Error("two machines have one identifier")
	}
}

func TestLongTextsKeepBothEnds(t *testing.T) {
	s := Clip("first " + strings.Repeat("\xe4x", 5000) + " last")
	if len(s) > recipe.MaxText || !strings.HasPrefix(s, "first ") || !strings.HasSuffix(s, " last") {
		t.Errorf("%d bytes: %s", len(s), s)
	}
}
