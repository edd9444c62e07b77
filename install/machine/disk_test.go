package machine

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ore"
	"ore/image"
	"ore/install/disk"
	"ore/install/diskimage"
	"ore/install/recipe"
)

// A machine that writes a disk image ends as one that writes the tree: it makes
// neither file systems, but those that are none of the image's, nor files.
func TestDiskImage(t *testing.T) {
	device, file := loop(t, 300*mib)
	tree := sample(t, device)
	r := wholeDisk(t, tree, device)
	if err := os.Truncate(file, 0); err != nil { // what the test of the layout saw is a blank disk
		t.Fatal(err)
	}
	if err := os.Truncate(file, 300*mib); err != nil {
		t.Fatal(err)
	}
	var ran []string
	out, k, err := install(t, r, func(o *Options) {
		run := o.Command
		o.Command = func(ctx context.Context, argv []string) ([]byte, error) {
			if strings.HasPrefix(argv[0], "mk") {
				ran = append(ran, argv[0])
			}
			return run(ctx, argv)
		}
		o.Pour = nil // it would panic
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "+installer start -installer start +hardware -hardware +partition -partition +format -format +base -base +configure -configure +restart"; k.stages() != want {
		t.Errorf("told %s\nwant %s", k.stages(), want)
	}
	if strings.Join(ran, " ") != "mkswap" {
		t.Errorf("it ran %q", ran)
	}
	if out.Already {
		t.Error("it was installed before")
	}
	whole(t, r, device)
	before := sum(t, file)
	for _, again := range []recipe.Recipe{r, tree} { // the way does not matter
		if out, _, err := install(t, again); err != nil || !out.Already || sum(t, file) != before {
			t.Errorf("again: %v, already %v", err, out.Already)
		}
	}
}

// Over what a disk held before, with all zeros that matter, and as another machine
// than the first: the image is of neither.
func TestDiskImageOverOldData(t *testing.T) {
	device, file := loop(t, 300*mib)
	r := wholeDisk(t, sample(t, device), device)
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	junk := []byte(strings.Repeat("\xa5", mib))
	for at := int64(0); at < 300*mib; at += mib {
		if _, err := f.WriteAt(junk, at); err != nil {
			t.Fatal(err)
		}
	}
	ids := map[string]bool{}
	r.Storage.Disks[0].Wipe = true
	for _, seed := range []string{"test/m0", "test/m1"} {
		r.Seed = seed
		if _, _, err := install(t, r); err != nil {
			t.Fatal(err)
		}
		whole(t, r, device)
		for _, m := range look(t, r, device).FileSystems() {
			ids[m.UUID] = true
		}
	}
	if len(ids) != 6 {
		t.Errorf("two machines have the identifiers %v", ids)
	}
}

// On a disk of another size the tree is written, and it is said why; without the
// tree nothing is.
func TestDiskImageOfAnotherSize(t *testing.T) {
	small, _ := loop(t, 290*mib)
	large, file := loop(t, 300*mib)
	of := func(device string) recipe.Recipe {
		r := sample(t, small)
		r.Storage.Disks[0].Match.Path = device
		return r
	}
	r := of(large)
	r.Strategy, r.Disk = recipe.Disk, wholeDisk(t, of(small), small).Disk
	both := maps.Clone(r.Blobs)
	both[r.Disk.Layer.Digest] = recipe.Source{Size: r.Disk.Layer.Size, From: []string{"/nowhere"}}
	before := sum(t, file)
	r.Blobs = map[ore.Digest]recipe.Source{r.Disk.Layer.Digest: both[r.Disk.Layer.Digest]}
	if _, _, err := install(t, r); err == nil || !strings.Contains(err.Error(), "install from the image") || sum(t, file) != before {
		t.Errorf("without the tree: %v", err)
	}
	r.Blobs = both
	_, k, err := install(t, r)
	if err != nil {
		t.Fatal(err)
	}
	said := ""
	for _, report := range k.all {
		if report.Stage == recipe.Root && report.Event == recipe.Start {
			said = report.Text
		}
	}
	if !strings.Contains(said, ": the disk image is of ") {
		t.Errorf("it said %q", said)
	}
	whole(t, r, large)
}

// What fails in the midst is not taken for a machine, nor for a file system.
func TestDiskImageFails(t *testing.T) {
	device, _ := loop(t, 300*mib)
	r := wholeDisk(t, sample(t, device), device)
	b := r.Blobs[r.Disk.Layer.Digest]
	layer, err := os.ReadFile(b.From[0])
	if err != nil {
		t.Fatal(err)
	}
	layer[len(layer)/3]++
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, layer, 0o600); err != nil {
		t.Fatal(err)
	}
	r.Blobs = map[ore.Digest]recipe.Source{r.Disk.Layer.Digest: {Size: b.Size, From: []string{bad}}}
	fails := func(o *Options) {
		o.Disk = func(ctx context.Context, d diskimage.Target) error {
			return errors.Join(errors.New("as it should"), diskimage.Write(ctx, d))
		}
	}
	if _, k, err := install(t, r, fails); err == nil || !strings.HasSuffix(k.stages(), "+base !base") {
		t.Errorf("%v %s", err, k.stages())
	}
	l := look(t, r, device)
	if s := l.State(); s != disk.Begun {
		t.Errorf("it is %v", s)
	}
	for _, f := range l.Disks[0].Parts {
		if f.Array != "" || f.FS == "swap" {
			continue
		}
		for _, found := range l.Disks[0].Holds.Parts {
			if found.Kind == f.FS {
				t.Errorf("%s is %v", f.Device, found)
			}
		}
	}
	r.Blobs[r.Disk.Layer.Digest] = b
	if _, _, err := install(t, r); err != nil {
		t.Fatal(err)
	}
	whole(t, r, device)
}

// wholeDisk has a recipe write the disk image of a device instead of its tree.
func wholeDisk(t testing.TB, r recipe.Recipe, device string) recipe.Recipe {
	t.Helper()
	s, err := image.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range r.Image.Layers {
		b, err := os.ReadFile(r.Blobs[l.Digest].From[0])
		if err == nil {
			_, err = s.PutBytes(t.Context(), b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	shape, err := diskimage.ShapeOf(look(t, r, device))
	if err != nil {
		t.Fatal(err)
	}
	m, err := diskimage.Make(t.Context(), s, *r.Image, shape, nil)
	if err != nil {
		t.Fatal(err)
	}
	d, err := diskimage.Of(m, shape)
	if err != nil {
		t.Fatal(err)
	}
	path, err := s.Path(d.Layer.Digest)
	if err != nil {
		t.Fatal(err)
	}
	r.Strategy, r.Disk = recipe.Disk, &d
	r.Blobs = map[ore.Digest]recipe.Source{d.Layer.Digest: {Size: d.Layer.Size, From: []string{path}}}
	return r
}
