package lazy

import (
	"context"
	"sync"
)

// reading is the context of one read: it ends with the folder's, or when the kernel
// takes the read back since the reader was killed. Most reads are of what is there
// and never wait, so that what joins both ends is made once somebody waits for it.
type reading struct {
	context.Context                 // the folder's
	taken           <-chan struct{} // closed when the kernel takes it back

	once sync.Once
	done chan struct{} // closed when either ends
	over chan struct{} // closed when the read is over
}

func newReading(folder context.Context, taken <-chan struct{}) *reading {
	return &reading{Context: folder, taken: taken, over: make(chan struct{})}
}

// Done implements [context.Context].
func (r *reading) Done() <-chan struct{} {
	r.once.Do(func() {
		r.done = make(chan struct{})
		go func() { // ends with the read
			select {
			case <-r.taken:
			case <-r.Context.Done():
			case <-r.over:
				return
			}
			close(r.done)
		}()
	})
	return r.done
}

// Err implements [context.Context].
func (r *reading) Err() error {
	select {
	case <-r.taken:
		return context.Canceled
	default:
		return r.Context.Err()
	}
}

// end ends what was begun; nobody may wait any more.
func (r *reading) end() { close(r.over) }
