package lab

import (
	"testing"
	"testing/synctest"
	"time"
)

// A silence is over when no sign came for its whole time, by any way; how long there
// were signs before does not matter.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = time.Minute
		var a, b Signs
		a.Note()
		time.Sleep(2 * limit) // of before it is waited does not count
		s := NewSilence(limit, &a, &b)
		defer s.Stop()
		go func() {
			for range 5 {
				time.Sleep(limit / 2)
				a.Note()
				time.Sleep(limit / 2)
				b.Note()
			}
		}()
		begun := time.Now()
		for <-s.C; !s.Over(); <-s.C {
		}
		if took := time.Since(begun); took != 6*limit {
			t.Errorf("over after %v, want %v", took, 6*limit)
		}
	})
}
