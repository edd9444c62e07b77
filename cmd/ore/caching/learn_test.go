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
	b.learn(time.Second, 0, 0, time.Second) // all was here
	b.learn(time.Second, 1, 1e6, 2*time.Second)
	first := learn.Memory{Dir: s.Dirs.State}.Rates()
	if got := first.Laws[plan.LinkLaw(b.name)]; got.Seconds([]float64{1, 1e7}) < 10.5 || got.Seconds([]float64{1, 1e7}) > 11.5 {
		t.Errorf("after one pull, half of it a question, ten times the bytes are expected to take %.2f s, not 11", got.Seconds([]float64{1, 1e7}))
	}
	b.learn(2*time.Second, 1, 3e6, 4*time.Second)
	rates := learn.Memory{Dir: s.Dirs.State}.Rates()
	law := rates.Laws[plan.LinkLaw(b.name)]
	if law.Count != 3 {
		t.Fatalf("a question and two pulls are %d measurements of %d laws, not 3", law.Count, len(rates.Laws))
	}
	if got := law.Seconds([]float64{1, 2e6}); got < 2.8 || got > 3.2 {
		t.Errorf("2 MB are expected to take %.2f s, not 3", got)
	}
}
