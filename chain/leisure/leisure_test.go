package leisure_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"ore/chain/leisure"
)

func always() bool { return true }
func never() bool  { return false }

// The rest waits while cores are busy or somebody reads, no longer than its rate
// says, and not at all where it is wanted itself.
func TestLeave(t *testing.T) {
	const size = 1 << 20 // two seconds at the rate
	for _, c := range []struct {
		summary     string
		busy, has   func() bool
		read        bool
		least, most time.Duration
	}{
		{"nobody wants anything", never, always, false, 0, 0},
		{"cores are busy", always, always, false, 2 * time.Second, 2100 * time.Millisecond},
		{"somebody reads", never, always, true, time.Second, 1100 * time.Millisecond},
		{"it is waited for", always, never, true, 0, 0},
	} {
		t.Run(c.summary, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := leisure.New(c.busy)
				if c.read {
					h.Read()
				}
				begun := time.Now()
				h.Leave(t.Context(), size, c.has)
				if took := time.Since(begun); took < c.least || took > c.most {
					t.Errorf("it waited for %v, want %v to %v", took, c.least, c.most)
				}
			})
		})
	}
}

func TestLeaveEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		begun := time.Now()
		leisure.New(always).Leave(ctx, 1<<30, always)
		if took := time.Since(begun); took > 10*time.Millisecond {
			t.Errorf("it ended %v after its context", took)
		}
	})
}

// A host that says nothing of its cores leaves nothing to others.
func TestNoHost(t *testing.T) {
	h := leisure.New(nil)
	h.Read()
	h.Leave(t.Context(), 1<<30, always)
}

// A few reads of what was not expected are chance; many at once are not, for a while.
func TestMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r leisure.Rush
		for i := range 20 {
			r.Note()
			if r.Many() {
				t.Fatalf("%d times in %d minutes are many", i+1, i)
			}
			<-time.After(time.Minute)
		}
		for range 20 {
			r.Note()
		}
		if !r.Many() {
			t.Error("20 times at once are few")
		}
		<-time.After(10 * time.Second)
		if r.Many() {
			t.Error("what was 10 s ago is still many")
		}
	})
}
