package replay

import (
	"slices"
	"testing"
)

// Bounds that eviction is held to where builds begin at the base.
const (
	overLRU  = 1.4
	overGDSF = 1.1
)

type peer struct {
	name  string
	start func(*State) Policy
}

func peers() []peer {
	return []peer{{"LRU", NewLRU}, {"LFU", NewLFU}, {"S3-FIFO", NewS3FIFO}, {"GDSF", NewGDSF}, {"ours", NewOurs}}
}

// compare plays one trace against every policy, and returns the seconds that
// ours saves in proportion to what LRU and GDSF do.
func compare(t testing.TB, s Shape, seed uint64, reuse bool) (lru, gdsf float64) {
	w, trace := s.Trace(seed)
	rules := Rules{Room: Room(w, trace, Share), Reuse: reuse}
	saved := map[string]float64{}
	for _, p := range peers() {
		o := Play(w, trace, rules, p.start)
		saved[p.name] = o.Saved
		t.Logf("%-6s reuse %-5v %-7s saves %4.1f %% of %.0f s; %5d hits of %d, %5d evicted", s.Name, reuse, p.name, 100*o.Saved/o.Whole, o.Whole, o.Hits, len(trace), o.Evicted)
	}
	for name, seconds := range saved {
		if seconds > saved["ours"] {
			t.Errorf("%s, reuse %v: %s saves %.3f x what ours does", s.Name, reuse, name, seconds/saved["ours"])
		}
	}
	lru, gdsf = saved["ours"]/saved["LRU"], saved["ours"]/saved["GDSF"]
	t.Logf("%-6s reuse %-5v ours: %.2f x LRU, %.2f x GDSF", s.Name, reuse, lru, gdsf)
	return lru, gdsf
}

// TestOursAgainstPeers plays every shape of trace against every policy, as a
// cache of exact matches, which is what the peers were made for and where the
// bounds hold. Where builds begin at what is kept, every policy saves most of
// what can be saved by any; there ours must only be the best.
func TestOursAgainstPeers(t *testing.T) {
	for _, s := range Shapes() {
		if lru, gdsf := compare(t, s, 1, false); lru < overLRU || gdsf < overGDSF {
			t.Errorf("%s: %.3f x LRU, %.3f x GDSF; promised are %.1f and %.1f", s.Name, lru, gdsf, overLRU, overGDSF)
		}
	}
	compare(t, Shapes()[0], 1, true)
}

// BenchmarkEviction plays all traces by both rules, five times with other seeds.
func BenchmarkEviction(b *testing.B) {
	for _, s := range Shapes() {
		for _, reuse := range []bool{false, true} {
			name := s.Name + "/exact"
			if reuse {
				name = s.Name + "/reuse"
			}
			b.Run(name, func(b *testing.B) {
				var lrus, gdsfs []float64
				for b.Loop() {
					for seed := range uint64(5) {
						lru, gdsf := compare(b, s, seed+1, reuse)
						lrus, gdsfs = append(lrus, lru), append(gdsfs, gdsf)
					}
				}
				slices.Sort(lrus)
				slices.Sort(gdsfs)
				b.ReportMetric(lrus[len(lrus)/2], "x-LRU")
				b.ReportMetric(gdsfs[len(gdsfs)/2], "x-GDSF")
				b.ReportMetric(gdsfs[0], "x-GDSF-least")
			})
		}
	}
}

// TestPlayCountsSharedLayersOnce plays a trace by hand.
func TestPlayCountsSharedLayersOnce(t *testing.T) {
	w := World{Layers: []int64{100, 10, 10}, Environments: []Environment{
		{Layers: []int{0, 1}, Stack: 5, Own: 1}, {Layers: []int{0, 2}, Stack: 5, Own: 2},
	}}
	trace := []int{0, 1, 0, 1}
	if room := Room(w, trace, 1); room != 120 {
		t.Fatalf("the footprint is %d", room)
	}
	if o := Play(w, trace, Rules{120, false}, NewLRU); o.Hits != 2 || o.Saved != 6+7 || o.Whole != 26 || o.Evicted != 0 {
		t.Errorf("got %+v", o)
	}
	if o := Play(w, trace, Rules{120, true}, NewLRU); o.Saved != 6+7+5 {
		t.Errorf("with reuse: %+v", o)
	}
	if o := Play(w, trace, Rules{119, false}, NewLRU); o.Hits != 0 || o.Evicted != 3 {
		t.Errorf("where only one fits: %+v", o)
	}
}
