package plan

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"ore"
	"ore/image"
)

// question draws what is asked, what exists and rates, known and unknown.
func question(t *rapid.T) (Ask, Have, Rates) {
	rates := Rates{Version: RatesVersion, Laws: map[string]Law{}, Names: map[string]float64{}}
	for _, kind := range []string{"unpack@", "restore@", "configure@", "removal@", "seal@", "steps@", "start uml@", "start qemu@", "restart kexec@"} {
		rates.Laws[kind] = drawLaw(t, kind, map[string]int{"unpack@": 3, "restore@": 1, "configure@": 4, "removal@": 3}[kind])
	}
	for _, link := range []string{"mirror", "cache", "wan", "hosts"} {
		rates.Laws["fetch@"+link] = drawLaw(t, link, 2)
	}
	ask := Ask{
		Machines: rapid.IntRange(1, 40).Draw(t, "machines"), Chain: rapid.Bool().Draw(t, "chain"), Each: rapid.Bool().Draw(t, "each"),
		Superset: rapid.Bool().Draw(t, "superset"), Starts: []string{"uml", "qemu"}, Restarts: []string{"kexec"},
	}
	for i := range rapid.IntRange(1, 6).Draw(t, "hosts") {
		ask.Hosts = append(ask.Hosts, Host{
			Name: fmt.Sprint("h", i), Cores: rapid.IntRange(1, 8).Draw(t, "cores"), Load: rapid.Float64Range(0, 8).Draw(t, "load"),
			Links: map[string][]string{"cache": {"cache", "wan"}},
		})
	}
	have := Have{Base: rapid.Bool().Draw(t, "base"), Packs: map[ore.Digest]bool{}, Debs: map[ore.Digest]bool{}}
	for i := range rapid.IntRange(1, 12).Draw(t, "packages") {
		p := ore.Package{Name: fmt.Sprint("p", i), Size: rapid.Int64Range(1, 1e7).Draw(t, "size"),
			Digest: ore.Digest(fmt.Sprint("sha256:", i)), Base: i < 3}
		ask.Environment.Packages = append(ask.Environment.Packages, p)
		have.Packs[p.Digest] = rapid.Bool().Draw(t, "pack")
		have.Debs[p.Digest] = rapid.Bool().Draw(t, "deb")
		if rapid.Bool().Draw(t, "named") {
			rates.Names[PackageName(p.Name)] = rapid.Float64Range(0, 3).Draw(t, "took")
		}
	}
	for range rapid.IntRange(0, 3).Draw(t, "candidates") {
		n := rapid.IntRange(0, len(ask.Environment.Packages)).Draw(t, "missing")
		size := rapid.Int64Range(0, 1e8).Draw(t, "layer")
		c := Candidate{Files: true, At: rapid.SampledFrom([]string{"", "cache"}).Draw(t, "at"), Missing: ask.Environment.Packages[n:],
			Layers: []Layer{{Digest: "sha256:l", Size: size, Fetch: size / 2}}}
		if rapid.Bool().Draw(t, "too much") {
			c.Extra = []ore.Package{{Name: "x"}}
			rates.Names[RemovalName("x")] = rapid.Float64Range(0, 3).Draw(t, "removing took")
		}
		have.Candidates = append(have.Candidates, c)
	}
	return ask, have, rates
}

// drawLaw draws a law that was measured some times, with a spread.
func drawLaw(t *rapid.T, name string, n int) Law {
	if n == 0 {
		n = 2
	}
	var l Law
	for range rapid.IntRange(1, 5).Draw(t, name+" measured") {
		amounts := make([]float64, n)
		for i := range amounts {
			amounts[i] = rapid.Float64Range(0.5, 1e6).Draw(t, name)
		}
		l = l.Learn(amounts, time.Duration(rapid.IntRange(10, 1e6).Draw(t, name+" took"))*time.Millisecond)
	}
	return l
}

// More machines are never ready earlier, but for what one host alone has to do with an
// image that came from a cache: of many, each that has it passes it on as it comes.
func TestMoreMachinesAreNeverFaster(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ask, have, rates := question(t)
		p := Choose(ask, have, rates)
		var alone float64
		for _, o := range p.Options {
			for _, e := range o.Stages {
				if e.Stage == Register {
					alone = max(alone, e.Seconds.Middle)
				}
			}
		}
		before := p.Chosen()
		ask.Machines += rapid.IntRange(1, 40).Draw(t, "more")
		if after := Choose(ask, have, rates).Chosen(); after.Total.Middle < (before.Total.Middle-alone)*(1-1e-9) {
			t.Fatalf("%v with fewer machines, %v with %d", before.Total, after.Total, ask.Machines)
		}
	})
}

// A faster link is never slower, whichever it is.
func TestAFasterLinkIsNeverSlower(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ask, have, rates := question(t)
		link := "fetch@" + rapid.SampledFrom([]string{"mirror", "cache", "wan", "hosts"}).Draw(t, "link")
		before := Choose(ask, have, rates)
		l := rates.Laws[link]
		l.Coef = slices.Clone(l.Coef)
		for i := range l.Coef {
			l.Coef[i] /= 2
		}
		rates.Laws[link] = l
		after := Choose(ask, have, rates)
		for _, o := range after.Options {
			i := slices.IndexFunc(before.Options, func(b Option) bool {
				return b.Way == o.Way && b.Candidate == o.Candidate && b.Each == o.Each && b.Distribution == o.Distribution
			})
			if was := before.Options[i]; o.Total.Middle > was.Total.Middle*(1+1e-9) {
				t.Fatalf("%s was twice slower: %s: %v, then %v", link, o.Way, was.Total, o.Total)
			}
		}
		if a, b := before.Chosen().Total.Middle, after.Chosen().Total.Middle; b > a*(1+1e-9) {
			t.Fatalf("%s was twice slower: %v, then %v", link, a, b)
		}
	})
}

// An image that is here never loses to building it.
func TestExactNeverLoses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ask, have, rates := question(t)
		ask.Hosts, have.Candidates = ask.Hosts[:1], nil
		have.Exact = &image.Manifest{}
		if rapid.Bool().Draw(t, "nothing known") {
			rates = Rates{}
		}
		if c := Choose(ask, have, rates).Chosen(); c.Way != Exact {
			t.Fatalf("chose %s", c.Way)
		}
	})
}

// The same question has the same answer, and the answer survives being kept.
func TestTheSameQuestionHasTheSameAnswer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ask, have, rates := question(t)
		encode := func(v any) string {
			b, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		first := encode(Choose(ask, have, rates))
		var kept Rates
		if err := json.Unmarshal([]byte(encode(rates)), &kept); err != nil {
			t.Fatal(err)
		}
		if again := encode(Choose(ask, have, kept)); again != first {
			t.Fatalf("first %s\nthen  %s", first, again)
		}
	})
}

// Every option has a range around its middle, and the chosen one is the least
// of those that are known.
func TestRangesAndOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := Choose(question(t))
		c := p.Chosen()
		for _, o := range p.Options {
			if r := o.Total; o.Possible && (r.Low < 0 || r.Low > r.Middle*(1+1e-9) || r.High < r.Low) {
				t.Fatalf("%s: %v", o.Way, r)
			}
			if o.Possible && o.Known && c.Known && o.Total.Middle < c.Total.Middle*(1-1e-9) {
				t.Fatalf("%s takes %v and lost to %s with %v", o.Way, o.Total, c.Way, c.Total)
			}
		}
	})
}
