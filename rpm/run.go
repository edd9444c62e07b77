package rpm

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"ore/install/output"
	"ore/install/sandbox"
	"ore/rpm/tools"
)

// work has a worker carry out o and returns what it said at the end.
func (m *Maker) work(ctx context.Context, o order) (last message, err error) {
	archive, err := m.Tools(ctx)
	if err != nil {
		return last, err
	}
	if o.Tools, err = tools.Tree(ctx, m.path(toolsDir), archive, m.Watch); err != nil {
		return last, err
	}
	o.owners(m.Tier)
	in, err := json.Marshal(o)
	if err != nil {
		return last, fmt.Errorf("order: %w", err)
	}
	from, to := io.Pipe()
	complaints := &output.Lines{}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		err := sandbox.Spawn(gctx, sandbox.Options{
			Tier: m.Tier, Args: m.Args, Stdin: bytes.NewReader(in), Stdout: to, Stderr: complaints, Owners: o.Owners,
		})
		to.Close() // the reader sees the end
		if err != nil {
			return fmt.Errorf("worker: %w: %s", err, complaints.Tail())
		}
		return nil
	})
	g.Go(func() error {
		err := m.listen(json.NewDecoder(from), &last)
		from.Close() // a worker that goes on talking is not waited for
		return err
	})
	if err := g.Wait(); ctx.Err() != nil {
		return last, ctx.Err() // that the worker was killed is only how it ended
	} else if err != nil {
		return last, err
	}
	if last.Packages == nil && last.Done == nil {
		return last, fmt.Errorf("worker: it ended without a result: %s", complaints.Tail())
	}
	return last, nil
}

// listen reads the worker's messages to their end.
func (m *Maker) listen(in *json.Decoder, last *message) error {
	for {
		var x message
		err := in.Decode(&x)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("worker: read what it says: %w", err)
		case x.Error != "":
			return errors.New(x.Error)
		case x.Event != nil:
			m.Watch.Tell(*x.Event)
		default:
			*last = x
		}
	}
}
