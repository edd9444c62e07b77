package conduct_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"ore/chain"
	"ore/chain/conduct"
)

// Each receiver of a chain has what goes first before it has the rest, and how it
// stands is told from its first bytes on until its end.
func TestWhatGoesFirstIsThereEarly(t *testing.T) {
	b, _, name := blob(t, 4<<20)
	// The source waits at the beginning until all have told of something, and after
	// what goes first until all have told of that.
	const hosts, first = 3, 2_000_000
	b.First = []chain.Span{b.Cover(b.Size-first, first)}
	begun, ahead := newHold(first/4), newHold(first*5/4)
	source, p := neighbour(t, "source", told{Rate: linkRate, out: holds{begun, ahead}})
	if err := offer(p, b, name); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex // guards said
	said := map[string][]conduct.Outcome{}
	tell := func(what string) func(conduct.Outcome) {
		return func(o conduct.Outcome) {
			mu.Lock()
			defer mu.Unlock()
			said[o.Host+" "+what] = append(said[o.Host+" "+what], o)
			if count(said, func(conduct.Outcome) bool { return true }) == hosts {
				begun.let()
			}
			if count(said, func(o conduct.Outcome) bool { return o.Ahead }) == hosts {
				ahead.let()
			}
		}
	}
	tr := conduct.Transfer{Blob: b, Source: source, Done: tell("done"), Coming: tell("coming")}
	for i := range hosts {
		tr.Receivers = append(tr.Receivers, spawn(t, fmt.Sprint("h", i), told{Rate: linkRate, Silence: time.Minute}).host)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := conduct.New(conduct.Config{}).Send(ctx, tr)
	if err != nil {
		t.Fatal(err)
	}
	allDone(t, r)
	for _, h := range r.Hosts {
		coming, done := said[h.Host+" coming"], said[h.Host+" done"]
		at := slices.IndexFunc(coming, func(o conduct.Outcome) bool { return o.Ahead })
		if at < 1 || len(done) != 1 {
			t.Fatalf("%s: told %d times that it comes, first with what goes first at %d, %d times that it is done", h.Host, len(coming), at, len(done))
		}
		if first, last := coming[0], coming[len(coming)-1]; first.Held == 0 || last.Held < first.Held || last.After > done[0].After {
			t.Errorf("%s: told at %v that %d bytes are there, and last at %v that %d of %d are", h.Host, first.After, first.Held, last.After, last.Held, b.Size)
		}
		if a := coming[at]; a.Err != nil || a.Traffic.In < first || a.Traffic.In > b.Size*3/4 || a.After >= done[0].After {
			t.Errorf("%s: what goes first was there with %d of %d bytes, at %v of %v: %v", h.Host, a.Traffic.In, b.Size, a.After, done[0].After, a.Err)
		}
	}
}

// count is how many hosts an outcome was told of that is such.
func count(said map[string][]conduct.Outcome, such func(conduct.Outcome) bool) (n int) {
	for _, all := range said {
		if slices.ContainsFunc(all, such) {
			n++
		}
	}
	return n
}
