package installing

import (
	"cmp"
	"context"
	"errors"
	"io"
	"sync"

	"ore/cluster"
	"ore/install/capture"
)

// leaving is the image that a machine on another host leaves on its disk, from which
// it is read while the job runs: nobody waits for what crosses the link between. It
// stays there until the machine ends with its job, and costs it this room.
type leaving struct {
	mu      sync.Mutex      // guards what follows
	image   *capturing      // nil where none is kept
	ctx     context.Context // ends what reads it
	reading sync.WaitGroup  // again, where the machine was lost and is started again
	failed  error           // why the last one could not read it
}

// expect says which image a machine leaves, and returns how that ends: what is being
// read is waited for, and what could not be read is told.
func (l *leaving) expect(ctx context.Context, c *capturing) (closed func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.image, l.ctx = c, ctx
	return func() error {
		l.reading.Wait()
		err := c.receiver.Close()
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.image = nil; err == nil || ctx.Err() != nil {
			return nil
		}
		if err = cmp.Or(l.failed, err); !errors.Is(err, capture.ErrNothing) { // why it leaves none is for the machine to say
			c.tell(err)
		}
		return nil
	}
}

// installed reads the image of a machine that is ready, if it is the one that has it.
func (l *leaving) installed(n cluster.Node, machine string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.image == nil || machine != l.image.machine {
		return
	}
	c, ctx := l.image, l.ctx
	l.reading.Go(func() {
		err := c.receiver.Collect(ctx, func(ctx context.Context, name string, w io.Writer) error {
			return n.Get(ctx, machine, "/"+capture.Left, []string{name}, w)
		}, c.maker.Watch)
		l.mu.Lock()
		defer l.mu.Unlock()
		l.failed = err
	})
}
