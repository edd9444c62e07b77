package plan

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ore"
	"ore/image"
)

// sure is a law that was measured so often that it has no spread left.
func sure(coefficients ...float64) Law {
	n := len(coefficients)
	l := Law{Gram: make([]float64, n*n), Moment: make([]float64, n), Coef: coefficients, Weight: 1000, Count: 1000}
	for i := range n {
		l.Gram[i*n+i] = 1e-3
	}
	return l
}

// testRates are of a host whose stages take round seconds for the test
// environment, over links of 1000 bytes a second.
func testRates() Rates {
	return Rates{Version: RatesVersion, Laws: map[string]Law{
		"fetch@mirror":   sure(0, 1e-3),
		"unpack@here":    sure(0, 1e-3, 1e-4),
		"restore@here":   sure(1e-5),
		"configure@here": sure(0, 1, 0.5, 0),
		"removal@here":   sure(0.25, 1, 0.5),
		"seal@here":      sure(0, 2.5e-4),
		"steps@here":     sure(1, 3),
		"start@here":     sure(0.5, 0.125), // for each machine: one core
	}}
}

func testEnvironment() ore.Environment {
	return ore.Environment{Packages: []ore.Package{
		{Name: "a", Size: 1000, Digest: "sha256:a", Base: true},
		{Name: "b", Size: 3000, Digest: "sha256:b"},
	}}
}

func chooseTest(have Have, r Rates) Plan {
	return Choose(Ask{Environment: testEnvironment(), Machines: 4}, have, r)
}

func TestChoose(t *testing.T) {
	exact := &image.Manifest{Key: testEnvironment().Key()}
	both := map[ore.Digest]bool{"sha256:a": true, "sha256:b": true}
	b := testEnvironment().Packages[1:]
	extra := []ore.Package{{Name: "x", Size: 10}}
	cached := func(r Rates, rate float64) Rates {
		r.Laws["fetch@cache"] = sure(0, 1/rate)
		return r
	}
	layers := []Layer{{Digest: "sha256:l", Size: 5000, Fetch: 5000}}
	for _, c := range []struct {
		summary string
		have    Have
		rates   Rates
		way     Way
		took    float64
		known   bool
	}{
		// fetch 4; unpack the base 1.1; configure it 0.5 beside decoding 3 s on one
		// core, so 3.5 in all; put 0.3, configure 0.5 and seal the base 0.25; seal
		// 0.75; start 1.
		{"nothing there", Have{}, testRates(), Clean, 4 + 1.1 + 3.5 + 1.05 + 0.75 + 1, true},
		{"base there", Have{Base: true}, testRates(), Delta, 3 + 3.3 + 0.5 + 0.75 + 1, true},
		{"base there, packed up", Have{Base: true, Restore: 100000}, testRates(), Delta, 3 + 4.3 + 0.5 + 0.75 + 1, true},
		{"base there, decoded before", Have{Base: true, Packs: both}, testRates(), Delta, 0.3 + 0.5 + 0.75 + 1, true},
		{"exact there", Have{Base: true, Exact: exact}, testRates(), Exact, 1, true},
		{"debs at hand", Have{Debs: both}, testRates(), Clean, 1.1 + 3.5 + 1.05 + 0.75 + 1, true},
		{"something to remove", Have{Base: true, Candidates: []Candidate{{Files: true, Extra: extra}}}, testRates(),
			Partial, 0.75 + 0 + 1, true},
		{"the same packages, asked for in other words", Have{Base: true, Candidates: []Candidate{{Files: true, Other: true}}}, testRates(),
			Partial, 1, true},
		{"something missing and to remove", Have{Candidates: []Candidate{{Files: true, Extra: extra, Missing: b}}}, testRates(),
			Partial, 3 + 3.3 + 0.75 + 0.5 + 0.75 + 1, true},
		{"a cache over a fast link", Have{Base: true, Candidates: []Candidate{{At: "cache", Files: true, Layers: layers}}},
			cached(testRates(), 5000), Fetched, 1 + 1, true},
		{"a cache over a slow link", Have{Base: true, Candidates: []Candidate{{At: "cache", Files: true, Layers: layers}}},
			cached(testRates(), 100), Delta, 3 + 3.3 + 0.5 + 0.75 + 1, true},
		{"a cache over a link never seen", Have{Base: true, Candidates: []Candidate{{At: "cache", Files: true, Layers: layers}}},
			testRates(), Delta, 3 + 3.3 + 0.5 + 0.75 + 1, true},
		{"a cache over a link that asking showed to be fast", Have{Base: true, Links: map[string]LinkTry{"cache": {Request: 1e-6, Rate: 5000}},
			Candidates: []Candidate{{At: "cache", Files: true, Layers: layers}}}, testRates(), Fetched, 1 + 1e-6 + 1, true},
		{"a cache with the base over a fast link", Have{Candidates: []Candidate{{At: "cache", Base: true, Files: true, Missing: b, Layers: layers, Restore: 5000}}},
			cached(testRates(), 5000), Delta, 1 + 3 + 3.3 + 0.05 + 0.5 + 0.75 + 1, true},
		{"a cache with the base over a slow link", Have{Candidates: []Candidate{{At: "cache", Base: true, Files: true, Missing: b, Layers: layers, Restore: 5000}}},
			cached(testRates(), 500), Clean, 4 + 1.1 + 3.5 + 1.05 + 0.75 + 1, true},
		{"nothing measured, base there", Have{Base: true}, Rates{}, Delta, 0, false},
		{"nothing measured, exact there", Have{Base: true, Exact: exact}, Rates{}, Exact, 0, false},
		{"nothing measured, nothing there", Have{}, Rates{}, Clean, 0, false},
		{"rates of another version", Have{}, Rates{Version: 1, Laws: testRates().Laws}, Clean, 0, false},
	} {
		t.Run(c.summary, func(t *testing.T) {
			p := chooseTest(c.have, c.rates)
			got := p.Chosen()
			if got.Way != c.way || got.Why != "" || !got.Possible {
				t.Fatalf("chose %s (%s), want %s", got.Way, got.Why, c.way)
			}
			if math.Abs(got.Total.Middle-c.took) > 1e-9 || got.Known != c.known {
				t.Errorf("predicted %v, known %v; want %v", got.Total.Middle, got.Known, c.took)
			}
			for _, o := range p.Options[1:] {
				if o.Why == "" {
					t.Errorf("%s lost without a reason", o.Way)
				}
			}
		})
	}
}

// A superset is taken only where that is allowed, and never for a lock.
func TestSuperset(t *testing.T) {
	have := Have{Candidates: []Candidate{{Files: true, Extra: []ore.Package{{Name: "x"}}}}}
	for _, c := range []struct {
		locked, allowed bool
		way             Way
		why             string
	}{
		{false, true, Superset, ""},
		{false, false, Partial, "not allowed"},
		{true, true, Partial, "lock"},
	} {
		p := Choose(Ask{Environment: testEnvironment(), Machines: 1, Locked: c.locked, Superset: c.allowed}, have, testRates())
		if got := p.Chosen(); got.Way != c.way {
			t.Errorf("locked %v, allowed %v: %s", c.locked, c.allowed, got.Way)
		}
		for _, o := range p.Options {
			if o.Way == Superset && !strings.Contains(o.Why, c.why) {
				t.Errorf("locked %v, allowed %v: superset: %q", c.locked, c.allowed, o.Why)
			}
		}
	}
}

// Steps that a candidate has done are not done again.
func TestSteps(t *testing.T) {
	env := testEnvironment()
	env.Steps = []ore.Step{{Name: "one", Run: "1"}, {Name: "two", Run: "2", Needs: []string{"one"}}}
	have := Have{Base: true, Candidates: []Candidate{{Files: true, Steps: []string{"one"}}}}
	rates := testRates()
	rates.Names = map[string]float64{StepName("1"): 20}
	p := Choose(Ask{Environment: env}, have, rates)
	if got := p.Chosen(); got.Way != Partial || got.Total.Middle != 3 {
		t.Errorf("%s, %v", got.Way, got.Total)
	}
	have.Candidates[0].Steps, have.Steps = nil, []string{"one"} // an earlier build's
	kept := Choose(Ask{Environment: env, Machines: 2, Each: true}, have, rates)
	for _, o := range kept.Options {
		for _, e := range o.Stages {
			want := 2.0
			if o.Way != Partial && !o.Each { // not what was done over other bytes, or on another machine
				want = 1
			}
			if e.Stage == Steps && e.Work != want {
				t.Errorf("%s, each %v: %v steps to run, want %v", o.Way, o.Each, e.Work, want)
			}
		}
		if o.Way == Clean && !o.Each && (len(o.Steps) != 1 || o.Steps[0].Name != "two") {
			t.Errorf("%s runs %v", o.Way, o.Steps)
		}
	}
	have.Candidates[0].Steps, have.Steps = []string{"one", "two"}, nil
	if got := Choose(Ask{Environment: env}, have, rates).Chosen(); got.Way != Exact || got.Total.Middle != 0 {
		t.Errorf("%s, %v", got.Way, got.Total)
	}
	delete(rates.Laws, "steps@here")
	if got := Choose(Ask{Environment: env}, have, rates).Chosen(); got.Way != Exact || !got.Known {
		t.Errorf("%s, known %v", got.Way, got.Known)
	}
}

// The quickest known way to start machines is taken.
func TestStarts(t *testing.T) {
	rates := testRates()
	rates.Laws["start uml@here"] = sure(0.3, 0.1)
	rates.Laws["start qemu@here"] = sure(2, 0.05)
	for machines, want := range map[int]string{1: "uml", 100: "qemu"} {
		p := Choose(Ask{Environment: testEnvironment(), Machines: machines, Starts: []string{"xen", "uml", "qemu"}},
			Have{Exact: &image.Manifest{}}, rates)
		if got := p.Chosen(); got.Start != want || !got.Known {
			t.Errorf("%d machines: started by %q in %v", machines, got.Start, got.Total)
		}
	}
}

func TestTraffic(t *testing.T) {
	rates := testRates()
	rates.Laws["fetch@cache"] = sure(0, 1e-3)
	rates.Laws["fetch@hosts"] = sure(0, 1e-4)
	var hosts []Host
	for i := range 4 {
		hosts = append(hosts, Host{Name: fmt.Sprint("h", i), Links: map[string][]string{"cache": {"wan", "cache"}}})
	}
	rates.Laws["fetch@wan"] = sure(0, 1e-2)
	have := Have{Candidates: []Candidate{{At: "cache", Files: true, Layers: []Layer{{Digest: "sha256:l", Size: 100000, Fetch: 100000}}}}}
	p := Choose(Ask{Environment: testEnvironment(), Machines: 4, Hosts: hosts, Chain: true}, have, rates)
	for _, o := range p.Options {
		if o.Way != Fetched {
			continue
		}
		var wan int64
		for _, l := range o.Links {
			if l.Link == "wan" {
				wan = l.Bytes
			}
		}
		if want := map[Distribution]int64{Direct: 400000, Chain: 100000}[o.Distribution]; wan != want {
			t.Errorf("%s: %d bytes over the shared link, want %d", o.Distribution, wan, want)
		}
	}
	hosts[2].Holds = map[ore.Digest]int64{"sha256:l": 100000}
	p = Choose(Ask{Environment: testEnvironment(), Machines: 4, Hosts: hosts}, have, rates)
	i := slices.IndexFunc(p.Options, func(o Option) bool { return o.Way == Fetched })
	if links := p.Options[i].Links; !slices.Contains(links, Traffic{"wan", 300000}) {
		t.Errorf("one host holds the layer: %v", links)
	}
}

// What a host shares with others takes longer there.
func TestLoad(t *testing.T) {
	took := func(h Host, machines int) float64 {
		return Choose(Ask{Environment: testEnvironment(), Machines: machines, Hosts: []Host{h}}, Have{Base: true}, testRates()).Chosen().Total.Middle
	}
	idle, busy := took(Host{Cores: 2}, 1), took(Host{Cores: 2, Load: 4}, 1)
	// unpack 6.3 (one package, on one of two cores) and seal 0.75: 1 + 4/2 times; configure 0.5 and
	// the start's 0.125 on one:
	// (1 + 4) / 2 times; fetch 3 as before.
	if want := 3 + 3*6.3 + 2.5*0.5 + 3*0.75 + 0.5 + 2.5*0.125; math.Abs(busy-want) > 1e-9 || idle >= busy {
		t.Errorf("idle %v, busy %v, want %v", idle, busy, want)
	}
}

// The time of a plan grows as the hosts do, not as their square: what it takes
// is a row of the benchmarks.
func TestPlanGrowsWithTheHosts(t *testing.T) {
	runtime.LockOSThread() // whose time is measured: what else runs does not count
	defer runtime.UnlockOSThread()
	processor := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	took := func(hosts int) time.Duration {
		ask, have, rates := large(hosts)
		least := time.Hour // the quickest of 5: with the least of the garbage collector's work
		for range 5 {
			begun := processor()
			Choose(ask, have, rates)
			least = min(least, processor()-begun)
		}
		return least
	}
	few, many := took(512), took(4096)
	t.Logf("512 hosts in %v, 4096 in %v", few, many)
	if many > 24*few { // a square is 64 times
		t.Errorf("4096 hosts took %v, 512 took %v", many, few)
	}
}

func BenchmarkChoose(b *testing.B) {
	ask, have, rates := large(256)
	for b.Loop() {
		Choose(ask, have, rates)
	}
}

// large is as many machines as hosts, the hosts with links of their own, an
// environment of 400 packages and 8 candidates.
func large(hosts int) (Ask, Have, Rates) {
	rates := testRates()
	ask := Ask{Machines: hosts, Chain: true, Each: true, Starts: []string{"uml", "qemu"}, Restarts: []string{"kexec", "restart"}}
	for i := range 400 {
		ask.Environment.Packages = append(ask.Environment.Packages,
			ore.Package{Name: fmt.Sprint("p", i), Size: 1000, Digest: ore.Digest(fmt.Sprint("sha256:", i)), Base: i < 100})
	}
	for i := range hosts {
		name := fmt.Sprint("host", i)
		ask.Hosts = append(ask.Hosts, Host{Name: name, Cores: 8, Links: map[string][]string{"cache": {"cache", "uplink " + name}}})
		rates.Laws["fetch@uplink "+name] = sure(0.001, 1e-7)
		rates.Laws["fetch@hosts "+name] = sure(0.001, 1e-7)
		rates.Laws["start uml@"+name] = sure(0.2, 0.1)
	}
	have := Have{Base: true, Debs: map[ore.Digest]bool{}, Packs: map[ore.Digest]bool{}}
	for i := range 8 {
		c := Candidate{Files: true, Missing: ask.Environment.Packages[300+i:], Layers: []Layer{{Digest: "sha256:l", Size: 1e6, Fetch: 1e6}}}
		if i%2 == 0 {
			c.At = "cache"
		}
		have.Candidates = append(have.Candidates, c)
	}
	return ask, have, rates
}

func TestCachesThatWereNotAskedAreNamed(t *testing.T) {
	p := Choose(Ask{Environment: ore.Environment{Packages: []ore.Package{{Name: "bc", Size: 7}}}, Hosts: []Host{{Name: Here, Cores: 2}}, Machines: 1},
		Have{Unasked: []string{"https://cache.example.org"}}, Rates{})
	for _, o := range p.Options {
		if o.At == "https://cache.example.org" && !o.Possible && strings.Contains(o.Why, "not asked") {
			return
		}
	}
	t.Errorf("no option names the cache: %+v", p.Options)
}
