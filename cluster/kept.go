package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"ore"
	"ore/node"
)

// unlessKept passes an error on, unless it says that machines are kept: then the
// others are waited for.
func (r *run) unlessKept(err error) error {
	var failed *node.FailedError
	if r.Kept != nil && errors.As(err, &failed) {
		return nil
	}
	return err
}

// leave ends the machines, unless some are to be kept as they failed.
func (r *run) leave(ctx context.Context, v *reserved, err error) error {
	var failed *node.FailedError
	if r.Kept == nil || !errors.As(err, &failed) || ctx.Err() != nil {
		return errors.Join(err, r.release(ctx, v))
	}
	hosts, there := v.wait()
	if there != nil {
		return errors.Join(err, there)
	}
	bed := r.bed(hosts)
	unkept := r.Kept(bed)
	if unkept == nil {
		unkept = bed.HandOver()
	}
	if unkept != nil {
		return errors.Join(err, unkept, r.release(ctx, v))
	}
	return err
}

// Again has those machines of a bed go on whose installation failed. encoded is
// what the bed's Encode gave; install makes of a Config's Memory how. Machines
// that fail again are kept, and are a *node.FailedError.
func Again(ctx context.Context, n *node.Client, encoded json.RawMessage, install func(memory json.RawMessage) (Install, error), watch ore.Watcher) (_ []node.Started, err error) {
	var s more
	if err := json.Unmarshal(encoded, &s); err != nil {
		return nil, fmt.Errorf("retry: %w", err)
	}
	there, err := n.Machines(ctx)
	if err != nil {
		return nil, fmt.Errorf("retry: %w", err)
	}
	var failed *node.FailedError
	if !errors.As(node.Failed(there), &failed) {
		return nil, errors.New("retry: no machine's installation has failed: 'ore jobs show' says how they are")
	}
	how, err := install(s.Memory)
	if err != nil {
		return nil, fmt.Errorf("retry: %w", err)
	}
	var names []string
	for _, m := range failed.Machines {
		names, s.Machines = append(names, m.Name), append(s.Machines, m.Machine)
	}
	o, release, err := how(ctx, s.Image, s.Machines)
	if err != nil {
		return nil, fmt.Errorf("retry: %w", err)
	}
	o.Keep = true
	s.Again, s.Install = true, o.Of(names)
	started, err := n.Start(ctx, s.Start, watch)
	if err := errors.Join(err, release()); err != nil {
		return nil, fmt.Errorf("retry: %w", err)
	}
	for _, m := range started {
		if m.Failed != "" {
			continue
		}
		if err := PutFiles(ctx, n, m.Name, JobDir, s.Copies); err != nil {
			return nil, fmt.Errorf("retry: %w", err)
		}
	}
	return started, node.Failed(started)
}
