package plan

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"ore"
	"ore/image"
)

// chosenOf is how the chosen option spreads the image, with its stages' names.
func chosenOf(p Plan) (Distribution, string) {
	var names []string
	for _, e := range p.Chosen().Stages {
		names = append(names, e.Stage)
	}
	return p.Chosen().Distribution, strings.Join(names, " ")
}

// Machines on other hosts get the image by a chain once the first host has it whole,
// also where nothing was measured; hosts that have it are sent nothing.
func TestElsewhere(t *testing.T) {
	layer := image.Layer{Digest: "sha256:l", Size: 100 << 20}
	exact := Have{Exact: &image.Manifest{Layers: []image.Layer{layer}}}
	cached := Have{Candidates: []Candidate{{At: "cache", Files: true, Layers: []Layer{{Digest: layer.Digest, Size: layer.Size, Fetch: layer.Size}}}}}
	rates := testRates()
	rates.Laws["fetch@cache"], rates.Laws["fetch@hosts"], rates.Laws["start@"] = sure(0, 1e-9), sure(0, 1e-8), sure(0, 1)
	with := func(n int, held ...ore.Digest) Ask {
		var hosts []Host
		for i := range n {
			h := Host{Name: string(rune('a' + i)), Cores: 2, Machines: 3, Holds: map[ore.Digest]int64{}}
			for _, d := range held {
				h.Holds[d] = 1 << 62
			}
			hosts = append(hosts, h)
		}
		return Ask{Environment: testEnvironment(), Machines: 3 * n, Hosts: []Host{{Name: Here, Cores: 64}}}.On(hosts)
	}
	for _, c := range []struct {
		summary string
		ask     Ask
		have    Have
		rates   Rates
		spread  Distribution
		stages  string
	}{
		{"here", with(0), exact, rates, None, ""},
		{"an image that is here", with(4), exact, rates, Chain, "distribute start"},
		{"one that comes from a cache", with(4), cached, rates, Chain, "pull register distribute start"},
		{"nothing is known", with(4), exact, Rates{}, Chain, "distribute start"},
		{"the hosts have it", with(4, layer.Digest), exact, rates, None, "start"},
		{"one other host", with(1), exact, rates, Direct, "distribute start"},
	} {
		p := Choose(c.ask, c.have, c.rates)
		if spread, stages := chosenOf(p); spread != c.spread || stages != c.stages {
			t.Errorf("%s: %s, %s, want %s, %s", c.summary, spread, stages, c.spread, c.stages)
		}
		if starts := p.Chosen().Stages; len(starts) > 0 && !slices.Equal(starts[len(starts)-1].Branches[0][1].Amounts, []float64{0, 1.5}) {
			t.Errorf("%s: the first host counts: %+v", c.summary, starts[len(starts)-1])
		}
	}
}

// Hosts that are supposed get the image as engines give it, unless it is asked otherwise;
// those of an engine are as many as are supposed beside the one that makes the image.
func TestSupposedHosts(t *testing.T) {
	have := Have{Exact: &image.Manifest{Layers: []image.Layer{{Digest: "sha256:l", Size: 100 << 20}}}}
	rates := testRates()
	rates.Laws["fetch@hosts"], rates.Laws["start@"], rates.Laws["fetch@mirror"] = sure(0, 1e-8), sure(0, 1), sure(0, 1)
	here := Ask{Environment: testEnvironment(), Machines: 2, Hosts: []Host{{Name: Here, Cores: 2}}}
	far := here.On([]Host{{Name: "a", Machines: 2}})
	for _, c := range []struct {
		ask    Ask
		text   string
		spread Distribution
		links  int
	}{
		{here, "machines=4", None, 0},
		{here, "hosts=16,machines=16", Chain, 15},
		{here, "hosts=16,machines=16,chain=no", Direct, 16},
		{far, "hosts=16,machines=16", Chain, 16},
		{far, "hosts=16,machines=16,chain=no", Direct, 17},
	} {
		w, err := ParseWhatIf(c.text)
		if err != nil {
			t.Fatal(err)
		}
		got := Choose(w.Apply(c.ask, have, rates)).Chosen()
		if got.Distribution != c.spread || len(got.Links) != c.links {
			t.Errorf("%s: %s over %v links, want %s over %d", c.text, got.Distribution, got.Links, c.spread, c.links)
		}
	}
}

// What is supposed and changes nothing is said.
func TestVain(t *testing.T) {
	cached := Have{Candidates: []Candidate{{At: "cache"}}}
	for _, c := range []struct {
		text, says string
		have       Have
	}{
		{"link=500kbit", "name one with --cache", Have{}},
		{"link=500kbit", "the image is here", Have{Exact: &image.Manifest{}}},
		{"link=500kbit", "", cached},
		{"link=500kbit,cache=none", "name one with --cache", cached},
		{"peers=1Gbit,machines=3", "add hosts=N", Have{}},
		{"chain=no", "add hosts=N", Have{}},
		{"peers=1Gbit,hosts=2,chain=yes", "", Have{}},
	} {
		w, err := ParseWhatIf(c.text)
		if err != nil {
			t.Fatal(err)
		}
		ask, have, _ := w.Apply(Ask{Environment: testEnvironment(), Machines: 1}, c.have, testRates())
		if said := strings.Join(w.Vain(ask, have), "; "); !strings.Contains(said, c.says) || (said == "") != (c.says == "") {
			t.Errorf("%s: %q, want something with %q", c.text, said, c.says)
		}
	}
}

// Who is late in one stage is not in each: the last of hosts that install, each for
// itself, is as late as the last of draws of the stages' sum.
func TestLastOfHostsThatInstall(t *testing.T) {
	const spread, hosts = 0.2, 16
	rates := testRates()
	for _, kind := range []string{"unpack", "configure", "start", "restart"} {
		l, known := rates.Laws[kind+"@here"]
		if !known {
			l = sure(0.4, 0.1)
		}
		l.Square = l.Weight * spread * spread
		rates.Laws[kind+"@"] = l
	}
	ask := Ask{Environment: testEnvironment(), Machines: hosts, Each: true}
	for i := range hosts {
		ask.Hosts = append(ask.Hosts, Host{Name: fmt.Sprint("h", i), Cores: 1})
	}
	p := Choose(ask, Have{Base: true}, rates)
	i := slices.IndexFunc(p.Options, func(o Option) bool { return o.Each && o.Way == Delta })
	if i < 0 {
		t.Fatalf("no host installs for itself: %+v", p.Options)
	}
	var late, squares float64
	for _, e := range p.Options[i].Stages {
		alone := e.Seconds.Middle / (1 + e.Late)
		late += e.Seconds.Middle - alone
		if e.Draws > 1 {
			squares += alone * alone
		}
	}
	if want := slowest(hosts) * spread * math.Sqrt(squares); late <= 0 || !near(late, want, 1e-9) {
		t.Errorf("the last of %d hosts is %.3f s late, want %.3f", hosts, late, want)
	}
}
