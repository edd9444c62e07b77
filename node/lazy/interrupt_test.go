package lazy

import (
	"context"
	"testing"
	"testing/synctest"
)

// A read's context ends with the folder's or when the read is taken back, whoever
// waits for it and whenever; nothing of it is left when the read is over.
func TestReading(t *testing.T) {
	for _, c := range []struct {
		summary string
		end     func(folder context.CancelFunc, taken chan struct{})
	}{
		{"the folder ends", func(folder context.CancelFunc, _ chan struct{}) { folder() }},
		{"the reader is killed", func(_ context.CancelFunc, taken chan struct{}) { close(taken) }},
	} {
		t.Run(c.summary, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // which fails if a goroutine stays
				folder, stop := context.WithCancel(t.Context())
				defer stop()
				taken := make(chan struct{})
				r := newReading(folder, taken)
				defer r.end()
				if r.Err() != nil {
					t.Fatalf("at first: %v", r.Err())
				}
				got := make(chan error)
				go func() {
					<-r.Done()
					got <- r.Err()
				}()
				synctest.Wait()
				c.end(stop, taken)
				if err := <-got; err == nil {
					t.Error("it ended without an error")
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		r := newReading(t.Context(), make(chan struct{}))
		done := r.Done()
		r.end()
		synctest.Wait()
		select {
		case <-done:
			t.Error("a read that is over was taken back")
		default:
		}
	})
}
