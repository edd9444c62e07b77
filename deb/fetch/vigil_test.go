package fetch

import (
	"testing"
	"testing/synctest"
	"time"
)

// A part's end that comes late, when the vigil has been paused and resumed meanwhile,
// does not count: neither the part before nor the one that runs is over.
func TestLatePass(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		called := 0
		v := newVigil(rounds*time.Second, func() { called++ })
		defer v.end()
		for range rounds {
			v.pause()
			v.resume()
			v.pass()
		}
		state := func() (passed, times int) {
			v.mu.Lock()
			defer v.mu.Unlock()
			return v.passed, called
		}
		if passed, times := state(); passed != 0 || times != 0 {
			t.Errorf("%d parts have passed and it was called %d times, in no time", passed, times)
		}
		time.Sleep(rounds * time.Second)
		synctest.Wait()
		if _, times := state(); times != 1 {
			t.Errorf("it was called %d times when the time was over", times)
		}
	})
}
