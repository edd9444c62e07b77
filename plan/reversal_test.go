package plan

import (
	"fmt"
	"math"
	"testing"
)

// The 2006 system measured two reversals: many machines that fetch an image from
// one cache lose against machines that install themselves, and so does one over
// a slow link. The set-up here is theirs: the base is present, the link to the
// cache is shaped and shared by all, the mirror is not.

// reversal returns the plan for machines on as many hosts, with a cache behind a
// link of so many bytes a second that has the image.
func reversal(machines int, rate float64, chain, each bool) Plan {
	rates := testRates()
	rates.Laws["fetch@cache"] = sure(0, 1/rate)
	rates.Laws["fetch@mirror"] = sure(0, 1e-6)
	rates.Laws["restart kexec@"] = sure(0.4, 0.1)
	for _, l := range []string{"unpack", "restore", "configure", "seal", "start"} {
		rates.Laws[l+"@"] = rates.Laws[l+"@here"]
	}
	rates.Laws["fetch@hosts"] = sure(0, 1e-6)
	ask := Ask{Environment: testEnvironment(), Machines: machines, Chain: chain, Each: each, Restarts: []string{"kexec"}}
	for i := range machines {
		ask.Hosts = append(ask.Hosts, Host{Name: fmt.Sprint("h", i), Cores: 1})
	}
	have := Have{Base: true, Candidates: []Candidate{{At: "cache", Files: true,
		Layers: []Layer{{Digest: "sha256:rest", Size: 3300, Fetch: 3300}}}}}
	return Choose(ask, have, rates)
}

// The package b: 3000 bytes from the mirror, 3.3 s to unpack, 0.5 s to
// configure, 0.5 s to start again. The layer: 3300 bytes.
const (
	installing = 3.3 + 0.5 + 0.5
	layerSize  = 3300
	debSize    = 3000
)

func TestManyMachinesReverse(t *testing.T) {
	const rate = 8000
	// n * layer / rate = n * deb / mirror + installing
	want := installing / (layerSize/float64(rate) - debSize/1e6)
	at := 0
	for n := 2; n < 64; n++ {
		c := reversal(n, rate, false, true).Chosen()
		switch {
		case c.Way == Fetched && c.Distribution == Direct:
			if at != 0 {
				t.Fatalf("%d machines fetch again", n)
			}
		case c.Way == Delta && c.Each:
			if at == 0 {
				at = n
			}
		default:
			t.Fatalf("%d machines: %s, each %v, %s", n, c.Way, c.Each, c.Distribution)
		}
	}
	t.Logf("from %d machines on, installing wins; by the formula beyond %.2f", at, want)
	if at != int(math.Ceil(want)) {
		t.Errorf("crossover at %d machines, want %.2f", at, want)
	}
	// A chain sends one copy over the link to the cache: there is no such number.
	for n := 2; n < 512; n *= 2 {
		if c := reversal(n, rate, true, true).Chosen(); c.Way != Fetched || c.Distribution != Chain {
			t.Errorf("%d machines, with a chain: %s, %s", n, c.Way, c.Distribution)
		}
	}
}

func TestSlowLinkReverses(t *testing.T) {
	// layer / rate = deb / mirror + unpack + configure + seal
	want := layerSize / (debSize/1e6 + 3.3 + 0.5 + 0.75)
	low, high := 1.0, 1e6
	for high/low > 1.0001 {
		middle := math.Sqrt(low * high)
		switch c := reversal(1, middle, false, false).Chosen(); c.Way {
		case Fetched:
			high = middle
		case Delta:
			low = middle
		default:
			t.Fatalf("at %.0f bytes a second: %s", middle, c.Way)
		}
	}
	t.Logf("below %.1f bytes a second, installing wins; by the formula below %.1f", low, want)
	if math.Abs(low/want-1) > 0.001 {
		t.Errorf("crossover at %.1f bytes a second, want %.1f", low, want)
	}
}
