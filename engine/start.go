package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"ore"
	"ore/node"
)

// at returns the host where a machine is, which was h's at first.
func (e *Engine) at(machine string, h *host) *host {
	e.mu.Lock()
	defer e.mu.Unlock()
	if now := e.where[machine]; now != nil {
		return now
	}
	return h
}

// start starts machines that were placed on h: those whose host cannot have them
// any more on others. Machines on one host start together or not at all.
func (e *Engine) start(ctx context.Context, h *host, s node.Start, w ore.Watcher) ([]node.Started, error) {
	s.Subnet = e.subnet
	var all []node.Started
	for len(s.Machines) > 0 {
		here, rest := e.together(s.Machines, h)
		now := e.at(here[0].Name, h)
		one := s
		one.Machines = here
		started, err := e.startOn(ctx, now, one, w)
		if err == nil {
			all, s.Machines = append(all, started...), rest
			continue
		}
		if ctx.Err() != nil {
			return nil, err
		}
		now.suspect(ctx, err)
		err = now.fault() // what came first is the cause, and the start's end its effect
		moved := e.move(here, s.Resources, w)
		if moved == nil {
			moved = e.join(ctx)
		}
		if moved != nil {
			return nil, errors.Join(err, moved)
		}
		w.Tell(ore.Event{Stage: "start", Text: fmt.Sprintf("%v: trying elsewhere", now.named(err))})
	}
	return all, nil
}

// together returns those of machines that are on the same host as the first,
// and the rest.
func (e *Engine) together(machines []node.Machine, h *host) (here, rest []node.Machine) {
	first := e.at(machines[0].Name, h)
	for _, m := range machines {
		if e.at(m.Name, h) == first {
			here = append(here, m)
		} else {
			rest = append(rest, m)
		}
	}
	return here, rest
}

// startOn starts machines on a host, after all that it lacks was brought there.
func (e *Engine) startOn(ctx context.Context, h *host, s node.Start, w ore.Watcher) ([]node.Started, error) {
	if err := h.fault(); err != nil {
		return nil, err
	}
	boot, err := e.ready(ctx, h, w)
	if err != nil {
		return nil, err
	}
	s.Boot = boot
	if err := e.lazily(ctx, h, &s, w); err != nil {
		return nil, err
	}
	started, err := h.job.Start(ctx, s, w)
	e.recordOf(ctx, h, err != nil)
	return started, err
}

// ready has a host have all that its machines are started with.
func (e *Engine) ready(ctx context.Context, h *host, w ore.Watcher) (node.Boot, error) {
	h.laying.Lock()
	defer h.laying.Unlock()
	e.mu.Lock()
	supplied, blobs := slices.Contains(e.supplied, h), slices.Concat(e.kit.Blobs(), e.sent)
	e.mu.Unlock()
	if !supplied {
		slices.Sort(blobs)
		if _, err := e.bring(ctx, []*host{h}, slices.Compact(blobs), w); err != nil {
			return node.Boot{}, err
		}
		if err := h.fault(); err != nil {
			return node.Boot{}, err
		}
	}
	return h.lay(ctx)
}

// lay has a host that has the kit lay it out, once. It is called with laying held.
func (h *host) lay(ctx context.Context) (node.Boot, error) {
	if h.laid {
		return h.boot, nil
	}
	h.engine.mu.Lock()
	k := h.engine.kit
	h.engine.mu.Unlock()
	var err error
	if h.boot, err = h.job.Boot(ctx, k); err != nil {
		return node.Boot{}, err
	}
	h.laid = true
	return h.boot, nil
}

// layAhead has hosts lay the kit out while their layers come.
func (e *Engine) layAhead(ctx context.Context, hosts []*host) {
	// It lives on when the call that begins it returns.
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	e.mu.Lock()
	defer e.mu.Unlock()
	before := e.stopLaying
	e.stopLaying = func() {
		cancel()
		if before != nil {
			before()
		}
	}
	for _, h := range hosts {
		e.laying.Go(func() {
			h.laying.Lock()
			defer h.laying.Unlock()
			_, _ = h.lay(ctx) // if it cannot, the start asks again and says why
		})
	}
}

// move finds other hosts for machines.
func (e *Engine) move(machines []node.Machine, r ore.Resources, w ore.Watcher) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	has := map[*host]int{}
	for name, h := range e.where {
		if !slices.ContainsFunc(machines, func(m node.Machine) bool { return m.Name == name }) {
			has[h]++
		}
	}
	places := make([]Place, len(e.hosts))
	for i, h := range e.hosts {
		places[i] = Place{Cores: h.facts.Cores, Free: h.facts.Free - int64(has[h])*r.Memory, Busy: has[h] * max(1, r.CPUs), Blamed: h.fault() != nil}
	}
	counts, err := Deal(ore.Machines{Count: len(machines), Resources: r}, places)
	if err != nil {
		return fmt.Errorf("no other host for %s: %w", machines[0].Name, err)
	}
	for i, n := range counts {
		for range n {
			e.where[machines[0].Name] = e.hosts[i]
			w.Tell(ore.Event{Stage: "start", Machine: machines[0].Name, Text: "on host " + e.hosts[i].name()})
			machines = machines[1:]
		}
	}
	return nil
}
