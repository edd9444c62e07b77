package plan

import (
	"strings"
	"testing"

	"ore/image"
)

func TestParseWhatIf(t *testing.T) {
	w, err := ParseWhatIf("link=500kbit,machines=64,cache=none,load=1.5,chain=yes,start=qemu")
	if err != nil {
		t.Fatal(err)
	}
	if *w.Link != 500e3 || *w.Machines != 64 || w.Cache != "none" || *w.Load != 1.5 || !*w.Chain || w.Start != "qemu" || w.Hosts != nil {
		t.Errorf("%+v", w)
	}
	for text, says := range map[string]string{
		"":                        "key=value",
		"link":                    "key=value",
		"speed=5":                 "use cache, chain, cores",
		"link=500":                "500kbit",
		"link=kbit":               "500kbit",
		"link=0bit":               "500kbit",
		"link=1e9kbit":            "500kbit",
		"link=-1kbit":             "500kbit",
		"link=5 kbit":             "500kbit",
		"machines=0":              "from 1",
		"machines=1.5":            "from 1",
		"machines=99999999999":    "from 1",
		"machines=1,machines=2":   "twice",
		"machines=1,,cache=none":  "key=value",
		"cache=some":              "none, here, all",
		"load=NaN":                "number",
		"load=-1":                 "number",
		"each=maybe":              "yes nor no",
		"start=":                  "hypervisor",
		"machines=1, cache=none":  "no such key",
		"Link=500kbit":            "no such key",
		"link=500kbit;machines=2": "500kbit",
	} {
		if _, err := ParseWhatIf(text); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want something with %q", text, err, says)
		}
	}
	for _, key := range WhatIfKeys() {
		if _, err := ParseWhatIf(key + "= "); err == nil || strings.Contains(err.Error(), "no such key") {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func FuzzParseWhatIf(f *testing.F) {
	f.Add("link=500kbit,machines=64,cache=none")
	f.Add("mirror=1.5Mbit,peers=1Gbit,hosts=3,cores=2,load=0.5,superset=yes,each=no,start=uml,debs=none")
	f.Fuzz(func(t *testing.T, text string) {
		w, err := ParseWhatIf(text)
		if err != nil {
			return
		}
		if w.Hosts != nil && *w.Hosts > 64 || w.Machines != nil && *w.Machines > 4096 {
			return // it would only take long
		}
		c := Choose(w.Apply(Ask{Environment: testEnvironment(), Machines: 2}, Have{Base: true}, testRates())).Chosen()
		if !(c.Total.Middle >= 0) {
			t.Errorf("%q: %v", text, c.Total)
		}
	})
}

func TestWhatIf(t *testing.T) {
	have := Have{Base: true, Exact: &image.Manifest{}, Candidates: []Candidate{{At: "cache", Files: true,
		Layers: []Layer{{Digest: "sha256:l", Size: 5000, Fetch: 5000}}}}}
	rates := testRates()
	for text, want := range map[string]Way{
		"machines=3":                     Exact,
		"cache=none":                     Clean,
		"cache=here,debs=none":           Exact,
		"link=1Gbit,cache=all":           Exact,
		"machines=2,mirror=1kbit":        Exact,
		"cache=none,mirror=1Gbit":        Clean,
		"hosts=2,machines=2,peers=1Gbit": Exact,
	} {
		w, err := ParseWhatIf(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := Choose(w.Apply(Ask{Environment: testEnvironment(), Machines: 1}, have, rates)).Chosen(); got.Way != want {
			t.Errorf("%s: %s, want %s", text, got.Way, want)
		}
	}
	have.Exact = nil
	for text, want := range map[string]Way{"link=1Mbit": Fetched, "link=1kbit": Delta, "link=1Mbit,cache=here": Delta} {
		w, err := ParseWhatIf(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := Choose(w.Apply(Ask{Environment: testEnvironment()}, have, rates)).Chosen(); got.Way != want || !got.Known {
			t.Errorf("%s: %s, want %s", text, got.Way, want)
		}
	}
	if _, same := rates.Laws["fetch@cache"]; same {
		t.Error("the site's own rates were changed")
	}
}

// Two ways are started at once where they wait for different things and their
// ranges overlap; not otherwise, and not when it is off.
func TestHedge(t *testing.T) {
	rates := testRates()
	wide := func(coefficients ...float64) Law {
		l := sure(coefficients...)
		l.Square, l.Weight = 0.25*1000, 1000
		return l
	}
	rates.Laws["fetch@cache"] = wide(0, 1e-3)
	have := func(size int64) Have {
		return Have{Base: true, Packs: nil, Debs: nil, Candidates: []Candidate{{At: "cache", Files: true,
			Layers: []Layer{{Digest: "sha256:l", Size: size, Fetch: size}}}}}
	}
	rates.Laws["fetch@mirror"] = sure(0, 1e-6)
	p := Choose(Ask{Environment: testEnvironment()}, have(4500), rates)
	h, ok := p.Hedge(DefaultHedge())
	if !ok || h.First.Way != Fetched || h.Second.Way != Delta || h.Gain <= 0 || h.Price != h.First.Total.Middle {
		t.Errorf("%v: %s and %s, gain %v, price %v", ok, h.First.Way, h.Second.Way, h.Gain, h.Price)
	}
	if _, ok := p.Hedge(HedgeRule{Off: true}); ok {
		t.Error("it was started although it is off")
	}
	if h, ok := Choose(Ask{Environment: testEnvironment()}, have(500), rates).Hedge(DefaultHedge()); ok {
		t.Errorf("%s and %s are far apart", h.First.Way, h.Second.Way)
	}
	delete(rates.Laws, "fetch@cache")
	h, ok = Choose(Ask{Environment: testEnvironment()}, have(500), rates).Hedge(DefaultHedge())
	if !ok || h.First.Way != Delta || h.Second.Way != Fetched || h.Price != h.First.Total.Middle {
		t.Errorf("a link never seen: %v, %s and %s", ok, h.First.Way, h.Second.Way)
	}
	if _, ok := Choose(Ask{Environment: testEnvironment()}, Have{Base: true}, rates).Hedge(DefaultHedge()); ok {
		t.Error("two ways that both want the cores")
	}
}
