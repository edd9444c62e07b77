package install

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"ore/image"
	"ore/install/exact"
	"ore/install/layer"
	"ore/install/output"
	"ore/install/sandbox"
	"ore/install/sandbox/host"
	"ore/install/wire"
)

// run is one worker, seen from outside, and what came of it.
type run struct {
	builder *Builder
	order   wire.Order
	place   places
	done    *layer.Outcome
	tried   exact.Memory
	based   func(image.Manifest) // see Request

	mu     sync.Mutex // guards layers
	layers map[int]image.Layer
}

// manifest describes the finished image.
func (r *run) manifest() image.Manifest {
	m := r.done.Manifest(r.order.Environment)
	if r.order.Unsealed {
		return m // also without those that were there before, which are not all of it
	}
	for i := range len(r.layers) {
		m.Layers = append(m.Layers, r.layers[i])
	}
	return m
}

// do starts the worker and keeps its layers in the store. The worker makes itself ready
// while debs brings the packages, and then gets its order.
func (r *run) do(ctx context.Context, debs func(context.Context) ([]string, error)) error {
	in, orders, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("order: %w", err)
	}
	defer orders.Close() // not before all is over: a worker that reads the end complains
	from, to := io.Pipe()
	complaints := &output.Lines{}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		err := sandbox.Spawn(gctx, sandbox.Options{
			Tier: r.builder.Tier, Args: r.builder.Args, Stdin: in, Stdout: to, Stderr: complaints,
			Owners: r.order.Owners,
		})
		to.Close() // the reader sees the end
		in.Close() // and who writes an order that nobody reads any more
		if err != nil {
			host.Doubt(r.builder.Dir) // the way to start it may work no longer
			return fmt.Errorf("worker: %w: %s", err, complaints.Tail())
		}
		return nil
	})
	g.Go(func() error {
		o := r.order
		var err error
		if o.Debs, err = debs(gctx); err != nil {
			return err
		}
		if err := json.NewEncoder(orders).Encode(o); err != nil && !errors.Is(err, unix.EPIPE) {
			return fmt.Errorf("order: %w", err)
		}
		return nil // a worker that has ended says why itself
	})
	g.Go(func() error {
		err := r.listen(gctx, g, json.NewDecoder(from))
		from.Close() // a worker that goes on talking is not waited for
		return err
	})
	if err := g.Wait(); ctx.Err() != nil {
		return ctx.Err() // that the worker was killed is only how it ended
	} else if err != nil {
		return err
	}
	if r.done == nil {
		return fmt.Errorf("worker: it ended without a result: %s", complaints.Tail())
	}
	return nil
}

// listen reads the worker's messages to their end. Layers are kept meanwhile.
func (r *run) listen(ctx context.Context, g *errgroup.Group, in *json.Decoder) error {
	for {
		var m wire.Message
		err := in.Decode(&m)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("worker: read what it says: %w", err)
		case m.Tried != nil:
			r.tried = m.Tried
		case m.Refused != "":
			return &refusal{m.Refused}
		case m.Error != "":
			return m.Failure()
		case m.Event != nil:
			r.builder.Watch.Tell(*m.Event)
		case m.Done != nil:
			r.done = m.Done
		case m.Layer != nil:
			g.Go(func() error { return r.keep(ctx, *m.Layer) })
		}
	}
}

// keep puts a finished layer into the store; the base's is also noted, so that
// later builds find it.
func (r *run) keep(ctx context.Context, l wire.Sealed) error {
	d, size, err := r.builder.Store.Adopt(ctx, l.Path)
	if err != nil {
		return err
	}
	layer := image.Layer{Digest: d, Size: size, Compression: string(r.order.Options.Compression), Key: l.Key}
	r.mu.Lock()
	r.layers[l.Index] = layer
	r.mu.Unlock()
	if l.Index > 0 {
		return nil
	}
	if err := r.place.base.Keep(filepath.Join(r.order.Work, "nodes"), layer); err != nil || r.based == nil {
		return err
	}
	m := l.Tree.Manifest(r.order.Environment.BaseOnly())
	m.Layers = []image.Layer{layer}
	r.based(m)
	return nil
}
