package engine

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"ore"
	"ore/node"
	"ore/node/agent"
	"ore/vnet"
)

// maxBody bounds a request to the front: a start carries a manifest.
const maxBody = 128 << 20

// Front serves the interface of package node for all machines of the job together,
// on whichever hosts they are, so that who attaches to kept machines need not know
// of hosts. What concerns one machine is passed on to its host, what concerns all is
// put together, and a start that grows finds places for those that have none. It
// does not serve the release, which is for who has the hosts.
func (e *Engine) Front() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/start", e.serveGrow)
	mux.HandleFunc("GET /v1/machines", func(w http.ResponseWriter, r *http.Request) { answer(w, e.machines(r.Context()), nil) })
	mux.HandleFunc("POST /v1/publish", func(w http.ResponseWriter, r *http.Request) {
		var p ore.Port
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&p)
		if err == nil {
			p, err = e.hosts[0].Publish(r.Context(), p)
		}
		answer(w, p, err)
	})
	mux.HandleFunc("GET /v1/wire", func(w http.ResponseWriter, r *http.Request) { e.pass(w, r, r.URL.Query().Get("machine")) })
	mux.HandleFunc("/v1/machines/{name}/{what}", func(w http.ResponseWriter, r *http.Request) { e.pass(w, r, r.PathValue("name")) })
	return mux
}

// answer writes an answer as package node does.
func answer(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		v = struct {
			Error   string
			Unknown bool
		}{err.Error(), errors.Is(err, node.ErrUnknown)}
	}
	_ = json.NewEncoder(w).Encode(v) // a client that is gone cannot be told anything
}

// pass passes a request on to the host of a machine.
func (e *Engine) pass(w http.ResponseWriter, r *http.Request, machine string) {
	h := e.at(machine, nil)
	if h == nil {
		answer(w, nil, fmt.Errorf("machine %q: %w: see 'ore jobs show' for the machines of a job", machine, node.ErrUnknown))
		return
	}
	if lost := h.lostFor(); lost != nil {
		answer(w, nil, fmt.Errorf("machine %s was lost with its host: %w", machine, lost))
		return
	}
	h.job.Forward(w, r)
}

// lostFor is why the host's machines are gone, nil while it is there.
func (h *host) lostFor() error {
	if h.job == nil {
		return cmp.Or(h.fault(), agent.ErrLost)
	}
	if cause := context.Cause(h.agent.Lost()); errors.Is(cause, agent.ErrLost) {
		return cause
	}
	if bad := h.fault(); errors.Is(bad, agent.ErrLost) || errors.Is(bad, agent.ErrGone) {
		return bad
	}
	return h.tornBy()
}

// machines lists all machines of the job, by rank.
func (e *Engine) machines(ctx context.Context) []node.Started {
	e.mu.Lock()
	on := map[*host][]string{}
	for name, h := range e.where {
		on[h] = append(on[h], name)
	}
	e.mu.Unlock()
	var mu sync.Mutex
	var all []node.Started
	var g errgroup.Group
	for h, names := range on {
		g.Go(func() error {
			there, lost := []node.Started(nil), h.lostFor()
			if lost == nil {
				ctx, cancel := context.WithTimeout(ctx, askTime)
				defer cancel()
				there, lost = h.job.Machines(ctx)
			}
			mu.Lock()
			defer mu.Unlock()
			for _, name := range names {
				at := slices.IndexFunc(there, func(s node.Started) bool { return s.Name == name })
				switch {
				case at >= 0:
					all = append(all, there[at])
				case lost != nil:
					all = append(all, e.missed(name, lost))
				}
			}
			return nil
		})
	}
	_ = g.Wait() // what is wrong with a host is said of its machines
	slices.SortFunc(all, func(a, b node.Started) int { return a.Rank - b.Rank })
	return all
}

// missed describes a machine whose host does not answer.
func (e *Engine) missed(name string, why error) node.Started {
	s := node.Started{Machine: node.Machine{Name: name}, Lost: why.Error()}
	for e.name(s.Rank) != name {
		s.Rank++
	}
	if ip, err := vnet.AddressOf(e.subnet, s.Rank); err == nil {
		s.IP = ip.String()
	}
	return s
}

// serveGrow answers with one node.Update a line.
func (e *Engine) serveGrow(w http.ResponseWriter, r *http.Request) {
	var s node.Start
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&s); err != nil {
		answer(w, nil, err)
		return
	}
	var mu sync.Mutex // one line at a time
	enc, flush := json.NewEncoder(w), http.NewResponseController(w)
	tell := func(u node.Update) {
		mu.Lock()
		defer mu.Unlock()
		// A client that is gone ends the request's context, and so the start.
		_ = enc.Encode(u)
		_ = flush.Flush()
	}
	started, err := e.grow(r.Context(), s, func(v ore.Event) { tell(node.Update{Event: &v}) })
	if err != nil {
		tell(node.Update{Error: err.Error()})
		return
	}
	tell(node.Update{Started: started})
}

// grow starts those machines of s that do not run: new ones, those of hosts that
// were lost, on others, and those that ended on theirs.
func (e *Engine) grow(ctx context.Context, s node.Start, w ore.Watcher) ([]node.Started, error) {
	e.growing.Lock()
	defer e.growing.Unlock()
	if room := e.room(); room > 0 && s.Size > room {
		return nil, fmt.Errorf("%d machines: the batch system has given hosts for %d: end these and start more at once with 'ore up -n'", s.Size, room)
	}
	e.askAll(ctx)
	var homeless []node.Machine
	e.mu.Lock()
	for _, m := range s.Machines {
		if h := e.where[m.Name]; h == nil || h.lostFor() != nil {
			homeless = append(homeless, m)
		}
	}
	e.wanted.Machines.Count = max(e.wanted.Machines.Count, s.Size)
	s.Subnet, s.Secret = e.subnet, e.shared
	e.mu.Unlock()
	if len(homeless) > 0 {
		if err := e.move(homeless, s.Resources, w); err != nil {
			return nil, err
		}
		if err := e.join(ctx); err != nil {
			return nil, err
		}
	}
	parts := map[*host][]node.Machine{}
	for _, m := range s.Machines {
		h := e.at(m.Name, nil)
		parts[h] = append(parts[h], m)
	}
	var mu sync.Mutex
	var all []node.Started
	g, ctx := errgroup.WithContext(ctx)
	for h, machines := range parts {
		g.Go(func() error {
			one := s
			one.Machines = machines
			started, err := e.startOn(ctx, h, one, w)
			mu.Lock()
			defer mu.Unlock()
			all = append(all, started...)
			return err
		})
	}
	err := g.Wait()
	slices.SortFunc(all, func(a, b node.Started) int { return a.Rank - b.Rank })
	return all, err
}

// askAll finds out which hosts of machines do not answer: these are not waited for.
func (e *Engine) askAll(ctx context.Context) {
	e.mu.Lock()
	asked := map[*host]bool{}
	for _, h := range e.where {
		asked[h] = true
	}
	e.mu.Unlock()
	var g errgroup.Group
	for h := range asked {
		g.Go(func() error {
			if h.lostFor() == nil {
				h.gone(ctx)
			}
			return nil
		})
	}
	_ = g.Wait() // what is wrong is the host's
}

// room is how many machines a batch system has given hosts for; 0 bounds nothing.
func (e *Engine) room() int {
	total := 0
	for _, n := range e.config.Most {
		total += n
	}
	return total
}

// share remembers the secret that machines of the job share, for those that come
// later. It is in memory alone.
func (e *Engine) share(s node.Start) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(s.Secret) > 0 {
		e.shared = s.Secret
	}
}
