package fleet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"ore"
	"ore/cluster"
	"ore/engine"
	"ore/node/agent"
	"ore/plan"
)

// surveyTime bounds how long hosts are asked for a plan, once they are connected: what
// they answer from memory. A plan without a host that is slower is a good one still.
const surveyTime = 3 * time.Second

// Survey says where machines of a run will be, as the plan sees it. It waits for the
// connections that Reserve makes.
func (h *Hosts) Survey(ctx context.Context, r cluster.Reservation) ([]plan.Host, error) {
	select {
	case <-h.connected():
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	return Survey(ctx, h.agents, r.Machines)
}

// Ask connects to the hosts for a plan alone, and says what Survey would of a run.
func (h *Hosts) Ask(ctx context.Context, m ore.Machines) ([]plan.Host, error) {
	agents, err := Connect(ctx, h.Targets, h.Keys, h.Watch)
	if err != nil {
		return nil, err
	}
	defer hangUp(agents)
	return Survey(ctx, agents, m)
}

// connected is closed once Reserve has connected to the hosts, or could not.
func (h *Hosts) connected() chan struct{} {
	h.meeting.Lock()
	defer h.meeting.Unlock()
	if h.met == nil {
		h.met = make(chan struct{})
	}
	return h.met
}

// Survey asks agents what their hosts are like, and deals machines out to them as the
// engine will. The error says that they do not fit.
func Survey(ctx context.Context, agents []*agent.Client, m ore.Machines) ([]plan.Host, error) {
	ctx, cancel := context.WithTimeout(ctx, surveyTime)
	defer cancel()
	facts, errs := make([]agent.Facts, len(agents)), make([]error, len(agents))
	var asking sync.WaitGroup
	for i, a := range agents {
		asking.Go(func() { facts[i], errs[i] = a.Host(ctx) })
	}
	asking.Wait()
	places := make([]engine.Place, len(agents))
	for i, f := range facts {
		places[i] = engine.Place{Cores: f.Cores, Load: f.Load, Free: f.Free, Blamed: errs[i] != nil}
	}
	counts, err := engine.Deal(m, places)
	if err != nil {
		return nil, errors.Join(append([]error{err}, errs...)...)
	}
	var hosts []plan.Host
	for i, f := range facts {
		if counts[i] > 0 {
			hosts = append(hosts, seen(agents[i].String(), f, counts[i]))
		}
	}
	return hosts, nil
}

// seen is a host with so many machines as the plan sees it. Blobs are there whole, of
// whatever size.
func seen(name string, f agent.Facts, machines int) plan.Host {
	h := plan.Host{Name: name, Cores: f.Cores, Load: f.Load, Machines: machines, Holds: map[ore.Digest]int64{}}
	for _, d := range f.Blobs {
		h.Holds[d] = math.MaxInt64
	}
	return h
}

// Unmet is hosts of which nothing is known before they are given, as many as may be
// asked for: one for each machine.
func Unmet(m ore.Machines) []plan.Host {
	var hosts []plan.Host
	for i := range m.Count {
		hosts = append(hosts, plan.Host{Name: fmt.Sprintf("given-%d", i), Cores: max(1, m.CPUs), Machines: 1})
	}
	return hosts
}
