package catalog

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"testing"

	"ore"
	"ore/cache/index"
)

var here = Identity{Schema: 3, Boot: "b", Dev: 1, Ino: 2}

func some() Published {
	rows := []Row{
		{Seq: 7, Key: ore.Key(ore.DigestOf([]byte("k")).Hex()), Manifest: ore.DigestOf([]byte("m")), Plain: true, Kind: 5, Sources: -1, Set: []uint32{1, 4}},
		{Seq: 9, Key: "no hash", Manifest: "d", Kind: 6, Steps: []string{"a", "b"}},
	}
	var images []index.Image
	for _, r := range rows {
		images = append(images, r.Image())
	}
	return Published{Generation: 12, Indexed: 10, Gone: []int64{3, 5}, Since: index.Build(nil, images)}
}

func publish(t *testing.T, p Published) File {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "index"), 0o755); err != nil {
		t.Fatal(err)
	}
	f := In(dir)
	if err := f.Write(p, here); err != nil {
		t.Fatal(err)
	}
	return f
}

func never(Published) bool { return false }

func TestPublishedIsRead(t *testing.T) {
	p := some()
	f := publish(t, p)
	got, err := f.Read(here, never)
	if err != nil || !reflect.DeepEqual(got, p) {
		t.Fatalf("read %+v, %v", got, err)
	}
	if got, err := f.Read(here, func(p Published) bool { return p.Generation == 12 }); err != nil || got.Since != nil || got.Indexed != 10 {
		t.Errorf("the first of it: %+v, %v", got, err)
	}
	if err := f.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Read(here, never); !errors.Is(err, ErrNone) {
		t.Errorf("what was taken back: %v", err)
	}
	if err := f.Remove(); err != nil {
		t.Errorf("nothing is taken back: %v", err)
	}
}

// What is of another database, of another schema or of another boot does not
// count, nor does anything where boots cannot be told apart.
func TestPublishedCountsOnlyHere(t *testing.T) {
	f := publish(t, some())
	for _, other := range []Identity{{4, "b", 1, 2}, {3, "c", 1, 2}, {3, "b", 2, 2}, {3, "b", 1, 3}, {3, "", 1, 2}} {
		if p, err := f.Read(other, never); !errors.Is(err, ErrNone) {
			t.Errorf("%+v: %+v, %v", other, p, err)
		}
	}
	if err := f.Write(some(), Identity{Schema: 3}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Read(Identity{Schema: 3}, never); !errors.Is(err, ErrNone) {
		t.Errorf("without a boot: %v", err)
	}
}

// TestDamageOfPublished changes each byte and cuts at each place: what is read is
// what was written, or it is none, or the index in it is refused.
func TestDamageOfPublished(t *testing.T) {
	p := some()
	good := p.encode(here)
	end := len(good) - len(p.Since)
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 0x10
		got, err := decode(bad, here)
		if i < end && !errors.Is(err, ErrNone) {
			t.Errorf("byte %d changed: %+v, %v", i, got, err)
		}
		if i >= end && (err != nil || !slices.Equal(got.Gone, p.Gone)) {
			t.Errorf("byte %d of the index changed: %+v, %v", i, got, err)
		}
		if got, err := decode(good[:i], here); i < end && !errors.Is(err, ErrNone) {
			t.Errorf("%d bytes: %+v, %v", i, got, err)
		}
	}
}

func TestRowsComeBack(t *testing.T) {
	x, err := index.Parse(some().Since)
	if err != nil {
		t.Fatal(err)
	}
	for _, place := range x.Named(name("no hash")) {
		m, err := x.Image(place)
		if err != nil {
			t.Fatal(err)
		}
		want := Row{Seq: 9, Key: "no hash", Manifest: "d", Steps: []string{"a", "b"}, Set: []uint32{}}
		if got, err := rowOf(m); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v", got, err)
		}
		for n := range m.Note {
			if got, err := rowOf(index.Image{Note: m.Note[:n]}); !errors.Is(err, index.ErrDamaged) {
				t.Errorf("%d bytes of a note are %+v, %v", n, got, err)
			}
		}
		return
	}
	t.Error("the image is not found by its key")
}

// FuzzPublished looks for a file that makes reading or asking panic.
func FuzzPublished(f *testing.F) {
	f.Add(some().encode(here), []byte("note"))
	f.Fuzz(func(t *testing.T, b, note []byte) {
		_, _ = rowOf(index.Image{Note: note})
		p, err := decode(b, here)
		if err != nil {
			return
		}
		c, err := p.Catalog(nil)
		if err != nil {
			return
		}
		_, _ = c.Candidates(NewAsk(ore.Environment{Arch: "amd64"}), index.DefaultRank(), 3)
	})
}
