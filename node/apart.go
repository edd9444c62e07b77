package node

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"ore"
	"ore/guest"
	"ore/node/installing"
)

// oneApart is one for a machine whose failure to install itself is its own. It begins
// anew once, on a blank disk, if there are further tries; after that it is lost, if the
// others go on without it: then there is neither a machine nor an error.
func (b *batch) oneApart(ctx context.Context, p place, hosts []guest.Host) (*machine, error) {
	m, err := b.one(ctx, p, hosts)
	if !b.alone(ctx, err) {
		return m, err
	}
	if b.start.Install.Tries > 0 && ctx.Err() == nil && !lasting(err) {
		var why *StartError
		errors.As(err, &why) // alone has seen that it is one
		b.watch.Tell(ore.Event{Stage: "retry", Machine: p.Name, Text: fmt.Sprintf("%s: %v: it begins anew, on a blank disk", why.Stage, why.Cause)})
		before := m.started.Stages
		var unplugged error
		if p.net, p.address, unplugged = b.replug(p.Machine); unplugged != nil {
			return m, errors.Join(err, unplugged)
		}
		m, err = b.one(ctx, p, hosts)
		if m != nil {
			m.started.Stages = slices.Concat(before, m.started.Stages)
		}
	}
	if !b.start.Install.Apart || !b.alone(ctx, err) {
		return m, err
	}
	return nil, b.lose(m, err)
}

// alone says whether an error is that of a machine which was to install itself, and
// not a cancel, or the failure of another one.
func (b *batch) alone(ctx context.Context, err error) bool {
	var failed *StartError
	cause := context.Cause(ctx)
	return b.start.Install != nil && errors.As(err, &failed) && b.node.ctx.Err() == nil && (cause == nil || errors.Is(cause, context.DeadlineExceeded))
}

// lasting says whether a machine's error is one that every other try would end with.
func lasting(err error) bool {
	var said *installing.Error
	return errors.As(err, &said) && said.Lasting
}

// lose notes that a machine has failed, which ended. Where none of the start's was as
// much as told what to install, the fault is this host's, and the start's.
func (b *batch) lose(m *machine, err error) error {
	var why *StartError
	errors.As(err, &why) // alone has seen that it is one
	b.mu.Lock()
	defer b.mu.Unlock()
	m.started.Lost = fmt.Sprintf("%s: %v", why.Stage, why.Cause) + ConsoleEnd(why.Console)
	m.started.Lasting = lasting(err)
	b.lost = append(b.lost, m.started)
	begun := func(s Started) bool { return len(s.Stages) > 0 }
	if len(b.lost) == len(b.start.Machines) && !slices.ContainsFunc(b.lost, begun) {
		return err
	}
	return nil
}
