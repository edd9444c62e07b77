package bound_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ore"
	"ore/plan"
	"ore/site/bound"
)

func TestOver(t *testing.T) {
	b := bound.Bound{Instead: 10 * time.Second, Saving: 4 * time.Second, Bytes: 1000}
	for _, c := range []struct {
		summary string
		p       bound.Progress
		over    string
	}{
		{"as predicted", bound.Progress{Elapsed: 3 * time.Second, Got: 500}, ""},
		{"down", bound.Progress{Elapsed: 4 * time.Second, Quiet: 4 * time.Second}, "nothing came for 4.0 s"},
		{"down for a while", bound.Progress{Elapsed: 3 * time.Second, Quiet: 3 * time.Second}, ""},
		{"slow", bound.Progress{Elapsed: 2 * time.Second, Flowing: time.Second, Got: 100}, "18.0 s more"},
		{"slow, after a wait", bound.Progress{Elapsed: 3 * time.Second, Wait: time.Second, Flowing: time.Second, Got: 100}, "18.0 s more"},
		{"slow, but it has only begun", bound.Progress{Elapsed: time.Second, Flowing: time.Second, Got: 10}, ""},
		{"some first bytes, and the rest is looked for", bound.Progress{Elapsed: 2 * time.Second, Flowing: 20 * time.Millisecond, Got: 1}, ""},
		{"some bytes now and then", bound.Progress{Elapsed: 4 * time.Second, Flowing: 60 * time.Millisecond, Got: 3}, "s more"},
		{"slow, and yet sooner than to begin anew", bound.Progress{Elapsed: 9 * time.Second, Got: 500}, ""},
		{"more than was expected", bound.Progress{Elapsed: 9 * time.Second, Got: 2000}, ""},
	} {
		if why := b.Over(c.p); (why == "") != (c.over == "") || !strings.Contains(why, c.over) {
			t.Errorf("%s: %q, want %q", c.summary, why, c.over)
		}
	}
	b.Most = 100e3 // of which less is of use here than was thought
	if why := b.Over(bound.Progress{Elapsed: 9 * time.Second, Got: 2000}); !strings.Contains(why, "441.0 s more") {
		t.Errorf("more than was foreseen, and far from all: %q", why)
	}
	if why := b.Over(bound.Progress{Elapsed: 9 * time.Second, Got: 50e3}); why != "" {
		t.Errorf("more than was foreseen, and the rest is soon there: %q", why)
	}
	if why := (bound.Bound{}).Over(bound.Progress{Elapsed: bound.Least, Quiet: bound.Least}); why == "" {
		t.Error("where nothing is to be saved, a cache that is down is waited for")
	}
}

// A fetch from a cache that is down ends when what it was to save is spent, and
// not before.
func TestWatch(t *testing.T) {
	b := bound.Bound{Instead: time.Hour, Saving: 200 * time.Millisecond, Bytes: 1000}
	begun := time.Now()
	ctx, stop := b.Watch(t.Context(), func() int64 { return 7 })
	defer stop()
	<-ctx.Done()
	if took := time.Since(begun); took < b.Saving {
		t.Errorf("given up after %v", took)
	}
	if cause := context.Cause(ctx); !strings.Contains(cause.Error(), "given up: nothing came") {
		t.Errorf("because %v", cause)
	}
	// One that goes on is not ended but by its caller.
	var n atomic.Int64
	n.Store(500)
	ctx, stop = b.Watch(t.Context(), func() int64 { return n.Add(10) })
	if ctx.Err() != nil {
		t.Error(ctx.Err())
	}
	stop()
	if cause := context.Cause(ctx); cause != context.Canceled {
		t.Errorf("ended because of %v", cause)
	}
}

func TestLacking(t *testing.T) {
	env := ore.Environment{Packages: []ore.Package{{Name: "libc6", Size: 100, Base: true}, {Name: "bc", Size: 7}, {Name: "jq", Size: 5}}}
	relative := plan.Candidate{Missing: env.Packages[2:]}
	far := plan.Candidate{At: "https://cache.example.org"}
	for _, c := range []struct {
		summary string
		have    plan.Have
		want    int64
	}{
		{"nothing is here", plan.Have{}, 112},
		{"the base is here", plan.Have{Base: true}, 12},
		{"a relative is here", plan.Have{Base: true, Candidates: []plan.Candidate{relative}}, 5},
		{"a cache elsewhere has it", plan.Have{Base: true, Candidates: []plan.Candidate{far}}, 12},
	} {
		if got := bound.Lacking(env, c.have); got != c.want {
			t.Errorf("%s: %d bytes are lacking, want %d", c.summary, got, c.want)
		}
	}
}

// Another host's build is waited for as long as the soonest way of building here
// may take; where that is not known, it is not given up.
func TestAloneIsTheSoonestWayOfBuildingHere(t *testing.T) {
	way := func(w plan.Way, at string, known bool, high float64) plan.Option {
		return plan.Option{Way: w, At: at, Possible: true, Known: known, Total: plan.Range{High: high}}
	}
	p := plan.Plan{Options: []plan.Option{way(plan.Fetched, "elsewhere", true, 1), way(plan.Superset, "", true, 2), way(plan.Clean, "", false, 3)}}
	if got := bound.Alone(p); got != 0 {
		t.Errorf("where nothing is known: %v", got)
	}
	p.Options = append(p.Options, way(plan.Clean, "", true, 30), way(plan.Partial, "", true, 20))
	if got := bound.Alone(p); got != 20*time.Second {
		t.Errorf("got %v", got)
	}
}
