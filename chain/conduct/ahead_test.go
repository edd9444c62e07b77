package conduct_test

import (
	"fmt"
	"sync"
	"testing"

	"ore/chain"
	"ore/chain/conduct"
)

// Each receiver of a chain has what goes first before it has the rest, and how it
// stands is told from then on until its end.
func TestWhatGoesFirstIsThereEarly(t *testing.T) {
	b, _, name := blob(t, 4<<20)
	b.First = []chain.Span{b.Cover(b.Size-500_000, 500_000)}
	source, p := neighbour(t, "source", told{Rate: linkRate})
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
		}
	}
	tr := conduct.Transfer{Blob: b, Source: source, Done: tell("done"), Ahead: tell("ahead")}
	for i := range 3 {
		tr.Receivers = append(tr.Receivers, spawn(t, fmt.Sprint("h", i), told{Rate: linkRate}).host)
	}
	r, err := conduct.New(conduct.Config{}).Send(t.Context(), tr)
	if err != nil {
		t.Fatal(err)
	}
	allDone(t, r)
	for _, h := range r.Hosts {
		ahead, done := said[h.Host+" ahead"], said[h.Host+" done"]
		if len(ahead) == 0 || len(done) != 1 {
			t.Fatalf("%s: told %d times that it is ahead, %d times that it is done", h.Host, len(ahead), len(done))
		}
		if last := ahead[len(ahead)-1]; last.Held < ahead[0].Held || last.Held == b.Size || last.After > done[0].After {
			t.Errorf("%s: told last that it is ahead with %d bytes, at %v of %v", h.Host, last.Held, last.After, done[0].After)
		}
		if a := ahead[0]; a.Err != nil || a.Traffic.In < 500_000 || a.Traffic.In > b.Size*3/4 || a.After > done[0].After*3/4 {
			t.Errorf("%s: what goes first was there with %d of %d bytes, at %v of %v: %v", h.Host, a.Traffic.In, b.Size, a.After, done[0].After, a.Err)
		}
	}
}
