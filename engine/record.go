package engine

import (
	"context"
	"time"

	"ore"
	"ore/image"
	"ore/image/early"
	"ore/node"
)

// What is recorded: a job's first seconds. What it reads later has come by itself in
// most cases. Each read that is not in the record costs the way to the source and
// back, behind all that is under way: a hundred milliseconds at 100 Mbit/s.
const (
	// recordFor is how long after their start machines are watched, on hosts that
	// may be so busy that all takes a multiple of its time.
	recordFor = 15 * time.Second
	// maxLead is how many bytes of a layer are recorded: a job that reads all over
	// has no first bytes.
	maxLead = 64 << 20
)

// readWeight is what reading through the folder costs in all, for what its server
// needs: the kernel's part of each read changes to the server and back, and copies
// the bytes once more. It is 5.5 on two busy cores (BenchmarkRead of node/lazy).
const readWeight = 6

// recording watches what the machines of one host read first.
type recording struct {
	host   *host
	image  image.Manifest
	cancel context.CancelFunc
	done   chan struct{}
}

// watches says whether the host's machines are those that show what is read first
// of the image: the first ones of an image that nobody has watched.
func (e *Engine) watches(h *host, s node.Start) bool {
	if e.config.First == "" || e.config.Whole || s.Install != nil || !h.job.Lazy() {
		return false
	}
	if _, known := e.config.First.Load(s.Image.Digest()); known {
		return false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.recording == nil {
		e.recording = &recording{host: h, image: s.Image, done: make(chan struct{})}
		return true
	}
	return false
}

// record begins to wait for what there is to be recorded of a host whose machines
// have started, or not.
func (e *Engine) recordOf(ctx context.Context, h *host, failed bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.recording
	if r == nil || r.host != h || r.cancel != nil {
		return
	}
	if failed {
		e.recording = nil // others may show it
		return
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.cancel = cancel
	go func() {
		defer close(r.done)
		select {
		case <-time.After(recordFor):
		case <-ctx.Done(): // the job was quicker
		}
		asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
		defer cancel()
		e.saveRecord(asking, r)
	}()
}

// endRecord takes down what was recorded until now, and waits for that.
func (e *Engine) endRecord() {
	e.mu.Lock()
	r := e.recording
	e.mu.Unlock()
	if r != nil && r.cancel != nil {
		r.cancel()
		<-r.done
	}
}

// saveRecord asks the host what was read. Without an answer the next job is watched.
func (e *Engine) saveRecord(ctx context.Context, r *recording) {
	var record early.Record
	for _, l := range r.image.Layers {
		t, err := r.host.job.Touched(ctx, l.Digest)
		if err != nil {
			return
		}
		kept := early.Layer{Digest: l.Digest, List: e.source.list(l.Digest), Took: readWeight * t.Took}
		left := int64(maxLead)
		for _, g := range t.Ranges {
			if g.Size > 0 && left > 0 {
				kept.Ranges = append(kept.Ranges, early.Range(g))
				left -= g.Size
			}
		}
		record.Layers = append(record.Layers, kept)
	}
	if err := e.config.First.Save(r.image.Digest(), record); err != nil {
		e.config.Watch.Tell(ore.Event{Stage: "note", Text: err.Error()})
	}
}
