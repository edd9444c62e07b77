package remote

import (
	"testing"
	"time"

	"ore/plan"
)

func TestPace(t *testing.T) {
	const ms = time.Millisecond
	type piece struct {
		at time.Duration
		n  int64
	}
	for _, c := range []struct {
		summary string
		pieces  []piece
		want    plan.LinkTry
	}{
		{"a far server with a fast link", []piece{{200 * ms, 9000}}, plan.LinkTry{Request: 0.2, Rate: unseenRate}},
		{"two pieces at once", []piece{{200 * ms, 9000}, {200*ms + time.Microsecond, 9000}}, plan.LinkTry{Request: 0.2, Rate: unseenRate}},
		{"half a megabit a second", []piece{{100 * ms, 1000}, {180 * ms, 5000}, {260 * ms, 5000}}, plan.LinkTry{Request: 0.1, Rate: 62500}},
		{"a few bytes after a pause", []piece{{100 * ms, 9000}, {900 * ms, 5}}, plan.LinkTry{Request: 0.1, Rate: unseenRate}},
	} {
		var p pace
		if _, ok := p.try(); ok {
			t.Fatal("nothing came, and yet something was seen")
		}
		begun := time.Unix(1e9, 0)
		p.begin(begun, nil)
		for _, piece := range c.pieces {
			p.came(begun.Add(piece.at), piece.n)
		}
		if got, ok := p.try(); !ok || got != c.want {
			t.Errorf("%s: %+v %v, want %+v", c.summary, got, ok, c.want)
		}
	}
}
