// Package leaving reads the image that a machine on another host leaves on its disk
// (package install/capture): its manifest before the machine runs anything of the job,
// which waits for that, and its layers while the job runs. For what lacks then the job's
// machines stay a while, and no longer. The image costs its machine this room until it
// ends with its job.
package leaving

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"ore"
	"ore/cluster"
	"ore/install/capture"
)

// Image is what a machine leaves.
type Image struct {
	Receiver *capture.Receiver // which takes it, and is closed with it
	Machine  string            // that has it
	Watch    ore.Watcher
	Tell     func(error) // told why it could not be read
}

// Reader reads one image. The zero value expects none.
type Reader struct {
	mu      sync.Mutex      // guards what follows
	image   *Image          // nil where none is kept
	ctx     context.Context // ends what reads it, and says why
	reading sync.WaitGroup  // again, where the machine was lost and is started again
	failed  error           // why the last one could not read it
}

const (
	// ManifestTime bounds the reading of a manifest. It has some hundred kilobytes: a
	// link on which these take longer brings no layers in the time of a job.
	ManifestTime = 10 * time.Second
	// MaxLinger bounds how long machines stay for their image alone once their job is
	// done: about what it takes the next ones to install its packages again.
	MaxLinger = 2 * time.Minute
)

// Reasons why an image is given up.
var (
	errManifest = fmt.Errorf("its manifest has not come in %v: the link to its machine is slow", ManifestTime)
	errLinger   = fmt.Errorf("not all of it has come %v after the job's end: the link to its machine is slow", MaxLinger)
)

// Expect says which image a machine leaves, and returns how that ends: what is being
// read is waited for as long as MaxLinger, and what could not be read is told.
func (l *Reader) Expect(ctx context.Context, c Image) (closed func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	coming, stop := context.WithCancelCause(ctx)
	l.image, l.ctx = &c, coming
	return func() error {
		t := time.AfterFunc(MaxLinger, func() { stop(errLinger) })
		l.reading.Wait()
		t.Stop()
		stop(nil)
		err := c.Receiver.Close()
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.image = nil; err == nil || ctx.Err() != nil {
			return nil
		}
		if err = cmp.Or(l.failed, err); !errors.Is(err, capture.ErrNothing) { // why it leaves none is for the machine to say
			c.Tell(err)
		}
		return nil
	}
}

// Installed reads the image of a machine that is ready, if it is the one that has it:
// the manifest before it returns, and the rest afterwards.
func (l *Reader) Installed(n cluster.Node, machine string) {
	l.mu.Lock()
	c, ctx := l.image, l.ctx
	l.mu.Unlock()
	if c == nil || machine != c.Machine {
		return
	}
	read := func(ctx context.Context, path string, w io.Writer) error {
		return n.Get(ctx, machine, "/", []string{path}, w)
	}
	bounded, cancel := context.WithTimeoutCause(ctx, ManifestTime, errManifest)
	defer cancel()
	if err := c.Receiver.Begin(bounded, read); err != nil {
		l.fail(bounded, err)
		return
	}
	l.reading.Go(func() { l.fail(ctx, c.Receiver.Collect(ctx, read, c.Watch)) })
}

// fail notes why an image could not be read, nil if it was: by ctx's end, or err.
func (l *Reader) fail(ctx context.Context, err error) {
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = err
}
