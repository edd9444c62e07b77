package replay

import (
	"testing"
)

func TestTable(t *testing.T) {
	for _, reuse := range []bool{false, true} {
		for _, s := range Shapes() {
			w, trace := s.Trace(1)
			room := Room(w, trace, 0.1)
			var base float64
			for _, p := range []struct {
				name string
				f    func(*State) Policy
			}{{"LRU", NewLRU}, {"LFU", NewLFU}, {"GDSF", NewGDSF}, {"S3-FIFO", NewS3FIFO}, {"ours", NewOurs}} {
				o := Play(w, trace, room, reuse, p.f)
				if base == 0 {
					base = o.Saved
				}
				t.Logf("%-8s reuse=%v %-8s saved %.0f of %.0f, %.2f x LRU, hits %d evicted %d", s.Name, reuse, p.name, o.Saved, o.Whole, o.Saved/base, o.Hits, o.Evicted)
			}
		}
	}
}
