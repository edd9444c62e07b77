package evict

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// asked is something that was asked for n times, the last time at request 100.
func asked(n int) Use {
	var u Use
	for i := range n {
		u = u.Asked(int64(100 - n + 1 + i))
	}
	return u
}

func own(id string, mib int64) []Layer { return []Layer{{ID: id, Size: mib << 20}} }

func goes(t *testing.T, images []Image, free int64) []int {
	t.Helper()
	verdicts, ok := Choose(images, free, 100)
	if !ok {
		t.Errorf("%d bytes cannot be freed", free)
	}
	var all []int
	for _, v := range verdicts {
		if v.Evict {
			all = append(all, v.Image)
		}
		if v.Why == "" {
			t.Errorf("no reason for %+v", v)
		}
	}
	return all
}

// Of images that go the order is said, and what of them stays because others have it.
func TestWhy(t *testing.T) {
	shared := Layer{ID: "base", Size: 500e6}
	images := []Image{
		{Layers: []Layer{shared, {ID: "a", Size: 10e6}}, Seconds: 1}, {Layers: []Layer{shared, {ID: "b", Size: 10e6}}, Seconds: 2},
		{Layers: []Layer{shared, {ID: "c", Size: 10e6}}, Seconds: 500, Use: asked(2)},
	}
	verdicts, _ := Choose(images, 20e6, 100)
	for i, want := range []string{"goes as number 1: ", "goes as number 2: "} {
		if why := verdicts[i].Why; !strings.HasPrefix(why, want) || !strings.HasSuffix(why, "; 500.0 MB of it are others', too") {
			t.Errorf("number %d: %q", i+1, why)
		}
	}
}

func TestChoose(t *testing.T) {
	base := Layer{ID: "base", Size: 500 << 20}
	for _, c := range []struct {
		summary string
		images  []Image
		free    int64
		want    []int
	}{
		{"nothing is needed", []Image{{Layers: own("a", 1), Seconds: 1}}, 0, nil},
		{"rarely asked for", []Image{{Layers: own("a", 10), Seconds: 5, Use: asked(9)}, {Layers: own("b", 10), Seconds: 5, Use: asked(2)}}, 1, []int{1}},
		{"soon made again", []Image{{Layers: own("a", 10), Seconds: 5, Use: asked(3)}, {Layers: own("b", 10), Seconds: 1, Use: asked(3)}}, 1, []int{1}},
		{"large", []Image{{Layers: own("a", 100), Seconds: 5, Use: asked(3)}, {Layers: own("b", 10), Seconds: 5, Use: asked(3)}}, 1, []int{0}},
		{"in use and pinned", []Image{{Layers: own("a", 9), Held: true}, {Layers: own("b", 9), Pinned: true}, {Layers: own("c", 9), Seconds: 99, Use: asked(9)}}, 1, []int{2}},
		{"a shared layer is freed with its last image", []Image{
			{Layers: []Layer{base, {ID: "a", Size: 10 << 20}}, Seconds: 2, Use: asked(1)},
			{Layers: []Layer{base, {ID: "b", Size: 10 << 20}}, Seconds: 3, Use: asked(1)},
		}, 400 << 20, []int{0, 1}},
		{"a large layer of images that are seldom asked for goes with them", []Image{
			{Layers: []Layer{base, {ID: "a", Size: 1 << 20}}, Seconds: 2, Use: asked(2)},
			{Layers: []Layer{base, {ID: "b", Size: 1 << 20}}, Seconds: 2, Use: asked(1)},
			{Layers: own("c", 10), Seconds: 2, Use: asked(3)},
		}, 400 << 20, []int{1, 0}},
		{"unless one of them is in use", []Image{
			{Layers: []Layer{base, {ID: "a", Size: 1 << 20}}, Seconds: 2, Use: asked(2), Held: true},
			{Layers: []Layer{base, {ID: "b", Size: 1 << 20}}, Seconds: 2, Use: asked(1)},
			{Layers: own("c", 10), Seconds: 2, Use: asked(3)},
		}, 1, []int{2}},
		{"or they are made of each other, and take long without", []Image{
			{Layers: []Layer{base, {ID: "a", Size: 1 << 20}}, Seconds: 20000, Use: asked(2), Near: []Near{{Image: 1, Share: 0.001}}},
			{Layers: []Layer{base, {ID: "b", Size: 1 << 20}}, Seconds: 20000, Use: asked(2), Near: []Near{{Image: 0, Share: 0.001}}},
			{Layers: own("c", 10), Seconds: 2, Use: asked(3)},
		}, 1, []int{2}},
		{"a small step away from another", []Image{
			{Layers: own("a", 10), Seconds: 60, Use: asked(3), Near: []Near{{Image: 1, Share: 0.05}}},
			{Layers: own("b", 10), Seconds: 60, Use: asked(3)},
			{Layers: own("c", 10), Seconds: 30, Use: asked(3)},
		}, 1, []int{0}},
		{"the other of a pair is dear once the first went", []Image{
			{Layers: own("a", 10), Seconds: 60, Use: asked(3), Near: []Near{{Image: 1, Share: 0.1}}},
			{Layers: own("b", 10), Seconds: 60, Use: asked(4), Near: []Near{{Image: 0, Share: 0.1}}},
			{Layers: own("c", 10), Seconds: 30, Use: asked(4)},
		}, 20 << 20, []int{0, 2}},
		{"others are built on it", []Image{
			{Layers: own("a", 10), Seconds: 5, Use: asked(2).Assisted(100, 600)}, {Layers: own("b", 10), Seconds: 5, Use: asked(3)},
		}, 1, []int{1}},
	} {
		t.Run(c.summary, func(t *testing.T) {
			if got := goes(t, c.images, c.free); !slices.Equal(got, c.want) {
				t.Errorf("goes %v, want %v", got, c.want)
			}
		})
	}
}

func TestChooseSaysWhenItIsNotEnough(t *testing.T) {
	images := []Image{{Layers: own("a", 10), Held: true}, {Layers: own("b", 10)}}
	if _, ok := Choose(images, 15<<20, 1); ok {
		t.Error("15 MiB cannot be freed")
	}
	if _, ok := Choose(images, 10<<20, 1); !ok {
		t.Error("10 MiB can be freed")
	}
}

// drawImages draws images that share layers and could be made of each other.
func drawImages(t *rapid.T) []Image {
	sizes := rapid.SliceOfN(rapid.Int64Range(1, 100<<20), 1, 12).Draw(t, "sizes")
	var images []Image
	n := rapid.IntRange(1, 15).Draw(t, "images")
	for range n {
		m := Image{Seconds: rapid.Float64Range(0, 1000).Draw(t, "seconds"), Use: asked(rapid.IntRange(0, 9).Draw(t, "asked"))}
		for _, l := range rapid.SliceOfNDistinct(rapid.IntRange(0, len(sizes)-1), 1, 4, rapid.ID[int]).Draw(t, "layers") {
			m.Layers = append(m.Layers, Layer{ID: string(rune('a' + l)), Size: sizes[l]})
		}
		for _, o := range rapid.SliceOfN(rapid.IntRange(-1, n), 0, 3).Draw(t, "near") {
			m.Near = append(m.Near, Near{Image: o, Share: rapid.Float64Range(0, 1).Draw(t, "share")})
		}
		m.Held, m.Pinned = rapid.IntRange(0, 5).Draw(t, "held") == 0, rapid.IntRange(0, 5).Draw(t, "pinned") == 0
		images = append(images, m)
	}
	return images
}

// TestChooseFreesWhatItSays holds, for any images: what goes frees what the
// verdicts add up to, nothing that is held or pinned goes, and none goes beyond need.
func TestChooseFreesWhatItSays(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		images := drawImages(t)
		free := rapid.Int64Range(0, 200<<20).Draw(t, "free")
		verdicts, ok := Choose(images, free, 100)
		users := map[string]int{}
		for _, m := range images {
			for _, l := range m.Layers {
				users[l.ID]++
			}
		}
		var freed, said int64
		for _, v := range verdicts {
			if !v.Evict {
				continue
			}
			if images[v.Image].Held || images[v.Image].Pinned {
				t.Fatalf("%d goes, which is held or pinned", v.Image)
			}
			if freed >= free {
				t.Fatalf("%d goes without need", v.Image)
			}
			for _, l := range images[v.Image].Layers {
				if users[l.ID]--; users[l.ID] == 0 {
					freed += l.Size
				}
			}
			said += v.Bytes
		}
		if len(verdicts) != len(images) || freed != said || ok != (freed >= free) {
			t.Fatalf("%d verdicts on %d images, %d freed, %d said, %d needed: %v", len(verdicts), len(images), freed, said, free, ok)
		}
	})
}

// TestSharesAreKept evicts one image after another: what is known of the layers that
// several have is what measuring them anew says.
func TestSharesAreKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newChooser(drawImages(t), 100)
		for i := range c.images {
			c.value[i] = c.verdict(i)
		}
		for next := c.least(); next.image >= 0; next = c.least() {
			c.evict(next.image)
			for _, s := range c.shares {
				if s.stale {
					continue
				}
				anew := *s
				c.measure(&anew)
				if a, b := c.together(s), c.together(&anew); s.bytes != anew.bytes || a != b && math.Abs(a-b) > 1e-6*(a+b)+1e-6 {
					t.Fatalf("without %d layer %s is %+v, and should be %+v", next.image, s.layer, *s, anew)
				}
			}
		}
	})
}

func TestUseDecays(t *testing.T) {
	u := asked(4)
	if a, b := u.Rate(100), u.Rate(100+SlowHalf); b >= a/2 {
		t.Errorf("%g, and after a half-life %g", a, b)
	}
	if a, b := u.At(50), u; a != b {
		t.Errorf("a number that goes back changes %+v to %+v", b, a)
	}
	if r := u.Rate(1 << 60); r != 0 || u.AssistRate(1<<60) != 0 {
		t.Errorf("after ages: %g", r)
	}
}

// BenchmarkChoose takes a tenth out of ten thousand images.
func BenchmarkChoose(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	var images []Image
	for i := range 10_000 {
		images = append(images, Image{
			Layers:  []Layer{{ID: "base", Size: 60 << 20}, {ID: string(rune('a' + i%200)), Size: 50 << 20}, {ID: string(rune(1000 + i)), Size: 10 << 20}},
			Seconds: r.Float64() * 60, Use: asked(r.IntN(9)), Near: []Near{{Image: r.IntN(10_000), Share: r.Float64()}},
		})
	}
	for b.Loop() {
		Choose(images, 10<<30, 100)
	}
}
