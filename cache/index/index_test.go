package index

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ore"
)

func pkg(id uint32) Package {
	return Package{ID: id, Package: ore.Package{
		Name: fmt.Sprintf("lib%d", id), Version: fmt.Sprintf("1.%d-1", id%7), Arch: "amd64",
		Size: int64(id%50) * 10_000, Digest: ore.DigestOf([]byte{byte(id), byte(id >> 8)}),
	}}
}

// naive is the search by the definition: every image, every package.
func naive(images []Image, kind uint64, packages []Wanted, r Rank, max int) []Hit {
	var all []Hit
	for _, m := range images {
		if m.Kind != kind {
			continue
		}
		var score int64
		common := 0
		for _, id := range m.Set {
			i := slices.IndexFunc(packages, func(w Wanted) bool { return w.ID == id })
			if i < 0 {
				score -= int64(r.Extra * fixed)
			} else {
				score += int64((r.Package + r.Byte*float64(packages[i].Size)) * fixed)
				common++
			}
		}
		if common == 0 {
			continue
		}
		all = append(all, Hit{Image: m.ID, Score: score})
	}
	slices.SortFunc(all, Hit.Before)
	return all[:min(max, len(all))]
}

func set(t *rapid.T, label string, n int) []uint32 {
	s := rapid.SliceOfDistinct(rapid.Uint32Range(1, uint32(n)), rapid.ID[uint32]).Draw(t, label)
	slices.Sort(s)
	return s
}

func TestSearchIsTheNaiveSearch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const n = 40
		var packages []Package
		for id := range uint32(n) {
			packages = append(packages, pkg(id+1))
		}
		var images []Image
		for i := range rapid.IntRange(0, 30).Draw(t, "images") {
			images = append(images, Image{ID: int64(i + 1), Kind: rapid.Uint64Range(1, 3).Draw(t, "kind"), Set: set(t, "set", n), Name: uint64(i % 7), Note: []byte(fmt.Sprint("note", i))})
		}
		x, err := Parse(Build(packages, images))
		if err != nil {
			t.Fatal(err)
		}
		var wanted []Wanted
		for _, id := range set(t, "wanted", n) {
			p := packages[id-1]
			if got := x.ID(Hash(p.Package)); got != id {
				t.Fatalf("id of %v is %d, not %d", p, got, id)
			}
			wanted = append(wanted, Wanted{ID: id, Size: p.Size})
		}
		r, most := DefaultRank(), rapid.IntRange(1, 6).Draw(t, "max")
		gone := map[int64]bool{}
		for _, i := range rapid.SliceOfN(rapid.Int64Range(1, 30), 0, 5).Draw(t, "gone") {
			gone[i] = true
		}
		best := NewBest(most)
		q := r.Query(wanted)
		if err := x.Search(2, q, gone, best); err != nil {
			t.Fatal(err)
		}
		left := slices.DeleteFunc(slices.Clone(images), func(m Image) bool { return gone[m.ID] })
		want := naive(left, 2, wanted, r, most)
		placeless := slices.Clone(best.Hits)
		for i := range placeless {
			placeless[i].Place = 0
		}
		if !slices.Equal(placeless, want) {
			t.Fatalf("got %v, want %v", best.Hits, want)
		}
		for _, h := range best.Hits {
			m := images[h.Image-1]
			got, err := x.Image(h.Place)
			if err != nil || got.ID != m.ID || !slices.Equal(got.Set, m.Set) || string(got.Note) != string(m.Note) {
				t.Fatalf("at %d is %v, not %v: %v", h.Place, got, m, err)
			}
			if !slices.Contains(x.Named(m.Name), h.Place) {
				t.Fatalf("image %d is not among those of its name, %v", m.ID, x.Named(m.Name))
			}
			if first, count := x.Of(m.Kind); h.Place < first || h.Place >= first+count {
				t.Fatalf("image %d is at %d, not among the %d from %d on of its kind", m.ID, h.Place, count, first)
			}
			if got, _ := q.Score(images[h.Image-1].Set); got != h.Score {
				t.Fatalf("the score of image %d is %d by the index and %d by its set", h.Image, h.Score, got)
			}
		}
	})
}

func TestPackagesAreFoundById(t *testing.T) {
	odd, none := pkg(7), pkg(8)
	odd.Digest, none.Digest = "thirty-two bytes that are no sum", ""
	packages := []Package{pkg(3), pkg(1), pkg(900), odd, none}
	path := filepath.Join(t.TempDir(), "x")
	if err := os.WriteFile(path, Build(packages, nil), 0o600); err != nil {
		t.Fatal(err)
	}
	var beside sync.WaitGroup
	defer beside.Wait()
	x, err := Open(path, &beside)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages {
		if got, err := x.Package(p.ID); err != nil || !reflect.DeepEqual(got, p.Package) {
			t.Errorf("got %v, %v; want %v", got, err, p)
		}
	}
	if _, err := x.Package(2); err == nil {
		t.Error("a package that is not there was found")
	}
}

// TestDamageIsSeen changes each byte, and expects refusal or the right answers.
func TestDamageIsSeen(t *testing.T) {
	packages := []Package{pkg(1), pkg(2), pkg(3)}
	good := Build(packages, []Image{{ID: 1, Kind: 1, Set: []uint32{1, 2}}, {ID: 2, Kind: 1, Set: []uint32{2, 3}}, {ID: 3, Kind: 1, Set: []uint32{2}, Name: 5, Note: []byte("said")}})
	q := DefaultRank().Query([]Wanted{{ID: 1}, {ID: 2}, {ID: 3}})
	search := func(x *Index) ([]Hit, error) {
		best := NewBest(3)
		err := x.Search(1, q, nil, best)
		return best.Hits, err
	}
	whole, err := Parse(good)
	if err != nil {
		t.Fatal(err)
	}
	want, err := search(whole)
	if err != nil {
		t.Fatal(err)
	}
	refused, late := 0, 0
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 0x40
		x, err := Parse(bad)
		if err != nil {
			refused++
			continue
		}
		got, err := search(x)
		if err == nil && !slices.Equal(got, want) {
			t.Errorf("byte %d changed, and the answer is %v", i, got)
		}
		if err != nil {
			late++
		}
		switch m, err := x.Image(2); {
		case err == nil && (m.ID != 3 || string(m.Note) != "said" || !slices.Equal(m.Set, []uint32{2})):
			t.Errorf("byte %d changed, and the third image is %v", i, m)
		case err != nil:
			late++
		}
		for _, p := range packages {
			switch got, err := x.Package(p.ID); {
			case err == nil && got != p.Package:
				t.Errorf("byte %d changed, and package %d is %v", i, p.ID, got)
			case err != nil:
				late++
			}
		}
	}
	if refused < headerSize || late < 100 {
		t.Errorf("%d changes were seen at once, %d when their place was read", refused, late)
	}
	for n := range len(good) {
		if x, err := Parse(good[:n]); err == nil && x != nil {
			t.Errorf("%d of %d bytes were taken for the whole", n, len(good))
		}
	}
}

// FuzzParse looks for bytes that make reading or searching panic, also with the
// sum in order.
func FuzzParse(f *testing.F) {
	f.Add(Build([]Package{pkg(1), pkg(2), pkg(3)}, []Image{{ID: 1, Kind: 1, Set: []uint32{1, 2}}, {ID: 2, Kind: 1, Set: []uint32{2, 3}}}), uint32(1))
	f.Fuzz(func(t *testing.T, b []byte, id uint32) {
		x, err := Parse(resum(b))
		if err != nil {
			return
		}
		x.ID(uint64(id) << 40)
		_, _ = x.Package(id)
		_, _ = x.Image(int(id))
		for _, place := range x.Named(uint64(id)) {
			_, _ = x.Image(place)
		}
		x.Of(uint64(id))
		best := NewBest(3)
		_ = x.Search(1, DefaultRank().Query([]Wanted{{ID: 1}, {ID: 2}, {ID: id}}), nil, best)
	})
}

// resum makes the sums of b match, so that fuzzing gets past them.
func resum(b []byte) []byte {
	if len(b) < headerSize {
		return b
	}
	b = slices.Clone(b)
	offset := func(section int) uint64 { return binary.LittleEndian.Uint64(b[len(magic)+8+8*section:]) }
	lists, members, end := offset(secLists), offset(secMembers), offset(secByID)
	if lists < uint64(headerSize) || lists > members || members > end || end > uint64(len(b)) {
		return b
	}
	for i := 0; uint64(listSize*(i+1)) <= members-lists; i++ {
		entry := b[lists:members][listSize*i:][:listSize]
		from, length := uint64(binary.LittleEndian.Uint32(entry)), uint64(binary.LittleEndian.Uint32(entry[4:]))
		if from+length <= end-members {
			binary.LittleEndian.PutUint32(entry[12:], listSum(i, entry[:12], b[members:end][from:from+length]))
		}
	}
	binary.LittleEndian.PutUint64(b[len(magic):], uint64(sum(b[:lists])))
	return b
}

func FuzzParseSet(f *testing.F) {
	f.Add(AppendSet(nil, []uint32{1, 2, 300, 70000}))
	f.Fuzz(func(t *testing.T, b []byte) {
		ids, ok := ParseSet(b)
		if ok && !slices.IsSorted(ids) {
			t.Errorf("%v is not in order", ids)
		}
		if again, ok2 := ParseSet(AppendSet(nil, ids)); ok && (!ok2 || !slices.Equal(again, ids)) {
			t.Errorf("%v became %v", ids, again)
		}
	})
}

// world draws images as they are in life: a few bases that all share, groups of
// packages that come together, and security updates that change versions.
func world(seed uint64, images, size int) ([]Package, []Image) {
	r := rand.New(rand.NewPCG(seed, 1))
	const base = 120
	var packages []Package
	for id := range uint32(20_000) {
		packages = append(packages, pkg(id+1))
	}
	var all []Image
	for i := range images {
		has := map[uint32]bool{}
		generation := uint32(i * 4 / images) // of the base: a tenth of it is replaced each time
		for b := range uint32(base) {
			id := b + 1
			if b < 12*generation {
				id += 200
			}
			has[id] = true
		}
		for len(has) < size {
			group := 1000 + uint32(r.ExpFloat64()*400)*10
			for j := range uint32(2 + r.IntN(9)) {
				has[min(group+j, 20_000)] = true
			}
		}
		m := Image{ID: int64(i + 1), Kind: 7}
		for id := range has {
			m.Set = append(m.Set, id)
		}
		slices.Sort(m.Set)
		all = append(all, m)
	}
	return packages, all
}

func BenchmarkSearch(b *testing.B) {
	packages, images := world(1, 10_000, 300)
	begun := time.Now()
	file := Build(packages, images)
	b.Logf("built %d bytes in %v", len(file), time.Since(begun))
	x, err := Parse(file)
	if err != nil {
		b.Fatal(err)
	}
	var times []time.Duration
	r := rand.New(rand.NewPCG(2, 2))
	for b.Loop() {
		m := images[r.IntN(len(images))]
		var wanted []Wanted
		for _, id := range m.Set {
			wanted = append(wanted, Wanted{ID: id, Size: 100_000})
		}
		begun := time.Now()
		if err := x.Search(7, DefaultRank().Query(wanted[:250]), nil, NewBest(8)); err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(begun))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-us")
}
