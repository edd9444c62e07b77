package caching

import (
	"testing"
	"time"

	"ore/plan"
	"ore/site"
	"ore/site/learn"
)

// What a pull took is what the next plan expects of the link, by its name there.
func TestPullTeachesTheLink(t *testing.T) {
	s := &site.Site{}
	s.Dirs.State = t.TempDir()
	b := both{site: s, name: "https://cache.example.org:7443"}
	b.learn(0, 0, time.Second) // all was here
	b.learn(1, 1e6, 2*time.Second)
	b.learn(1, 3e6, 4*time.Second)
	rates := learn.Memory{Dir: s.Dirs.State}.Rates()
	law := rates.Laws[plan.LinkLaw(b.name)]
	if law.Count != 2 {
		t.Fatalf("%d pulls are known of %d laws, not 2", law.Count, len(rates.Laws))
	}
	if got := law.Seconds([]float64{1, 2e6}); got < 2.8 || got > 3.2 {
		t.Errorf("2 MB are expected to take %.2f s, not 3", got)
	}
}
