package race

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// after returns a way that takes d and then gives n, or err.
func after(d time.Duration, n int, err error, cancelled *bool) func(context.Context) (int, error) {
	return func(ctx context.Context) (int, error) {
		select {
		case <-time.After(d):
			return n, err
		case <-ctx.Done():
			*cancelled = true
			return 0, ctx.Err()
		}
	}
}

func TestBetween(t *testing.T) {
	bad := errors.New("bad")
	const s = time.Second
	for _, c := range []struct {
		summary            string
		first, second      time.Duration
		ferr, serr         error
		price              time.Duration
		want               int // 0: an error
		took               time.Duration
		fstopped, sstopped bool
	}{
		{"the first is faster", 2 * s, 5 * s, nil, nil, 10 * s, 1, 2 * s, false, true},
		{"the second is faster", 5 * s, 2 * s, nil, nil, 10 * s, 2, 2 * s, true, false},
		{"the second costs too much", 5 * s, 4 * s, nil, nil, 3 * s, 1, 5 * s, false, true},
		{"the first fails soon", 1 * s, 6 * s, bad, nil, 3 * s, 2, 6 * s, false, false},
		{"the second fails", 5 * s, 1 * s, nil, bad, 3 * s, 1, 5 * s, false, false},
		{"both fail", 2 * s, 1 * s, bad, bad, 3 * s, 0, 2 * s, false, false},
	} {
		t.Run(c.summary, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var fstopped, sstopped bool
				begun := time.Now()
				got, err := Between(t.Context(), c.price, after(c.first, 1, c.ferr, &fstopped), after(c.second, 2, c.serr, &sstopped))
				if got != c.want || (err != nil) != (c.want == 0) {
					t.Errorf("gave %d, %v; want %d", got, err, c.want)
				}
				if took := time.Since(begun); took != c.took {
					t.Errorf("took %v, want %v", took, c.took)
				}
				if fstopped != c.fstopped || sstopped != c.sstopped {
					t.Errorf("stopped: first %v, second %v", fstopped, sstopped)
				}
			})
		})
	}
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := errors.New("slow")
		late, p := Wait(t.Context(), time.Minute, slow)
		defer p.End()
		begun := time.Now()
		<-late.Done()
		if took := time.Since(begun); took != time.Minute || context.Cause(late) != slow {
			t.Errorf("after %v: %v", took, context.Cause(late))
		}
		for _, limit := range []time.Duration{0, time.Minute} {
			kept, p := Wait(t.Context(), limit, slow)
			p.Over()
			time.Sleep(time.Hour)
			if kept.Err() != nil {
				t.Errorf("limit %v: it ended all the same", limit)
			}
			p.End()
			if kept.Err() == nil {
				t.Errorf("limit %v: it goes on", limit)
			}
		}
	})
}
