package slurm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ore"
	"ore/cluster"
	"ore/engine"
	"ore/image"
	"ore/node/agent"
)

// Config is what an engine works with.
type Config struct {
	Settings Settings
	Program  Program
	Timeout  time.Duration // of the job; 0 for none
	Dir      string        // an existing folder of the user, where the hosts of earlier runs are remembered
	// Hint is what jobs with the same image have in common and is known before
	// the image is: by it hosts are found that have it. It may be "".
	Hint string
	// Hosts is what the engine behind this one works with, without agents and
	// end, which are this one's.
	Hosts engine.Config
}

// Engine runs one job on hosts of Slurm. Its methods may be called concurrently.
type Engine struct {
	config     Config
	allocation *allocation
	agents     agents
	ours       agent.Keys // for the agents
	clients    []*agent.Client
	inner      *engine.Engine

	mu  sync.Mutex // guards key
	key ore.Key    // of the job's environment, once it is known
}

var (
	_ cluster.Engine      = (*Engine)(nil)
	_ cluster.Distributor = (*Engine)(nil)
)

// New returns an engine for one job. It asks for nothing yet.
func New(c Config) (*Engine, error) {
	if err := c.Settings.Check(); err != nil {
		return nil, err
	}
	return &Engine{config: c}, nil
}

// Reserve implements [cluster.Engine].
func (e *Engine) Reserve(ctx context.Context, r cluster.Reservation) ([]cluster.Host, error) {
	ask := request{job: r.Job, machines: r.Machines, timeout: e.config.Timeout}
	came, err := e.allocate(ctx, &ask)
	if err != nil {
		return nil, fmt.Errorf("engine slurm: %w", err)
	}
	// Who ends the allocation ends the waiting for what was to be done with it.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	reserved := make(chan struct{})
	defer close(reserved)
	go func() {
		select {
		case <-e.allocation.lease.done:
			cancel(e.allocation.over())
		case <-reserved:
		}
	}()
	if err := e.meet(ctx, came); err != nil {
		return nil, errors.Join(fmt.Errorf("engine slurm: %w", err), e.end(ctx))
	}
	c := e.config.Hosts
	c.Agents, c.End, c.Most = e.clients, e.end, e.allocation.most
	inner, err := engine.New(c)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("engine slurm: %w", err), e.end(ctx))
	}
	e.inner = inner
	made := r.Image
	r.Image = func(ctx context.Context) (image.Manifest, error) {
		img, err := made(ctx)
		if err == nil {
			e.know(ctx, ask, img.Key)
		}
		return img, err
	}
	if made == nil {
		r.Image = nil
	}
	hosts, err := inner.Reserve(ctx, r) // on an error it has called end
	if err != nil {
		return nil, fmt.Errorf("engine slurm: %w", e.explain(err))
	}
	for i, h := range hosts {
		hosts[i].Node = e.wrap(h.Node)
	}
	return hosts, nil
}

// allocate asks for hosts that had the image if some are free, else for any. Where
// Slurm is asked by its service, the job has come to this process's door.
func (e *Engine) allocate(ctx context.Context, r *request) (came *visitor, err error) {
	s, watch := e.config.Settings, e.config.Hosts.Watch
	if e.agents.keys, err = e.issue(); err != nil {
		return nil, err
	}
	was := remembered{}
	if e.config.Hint != "" {
		was = recall(e.config.Dir).Hints[e.config.Hint]
	}
	if s.REST != "" {
		r.feature = s.marked(ctx, was)
		errand, err := e.config.Program.errand(e.agents.keys)
		if err != nil {
			return nil, err
		}
		e.allocation, came, err = s.submit(ctx, *r, errand, watch)
		return came, err
	}
	r.named, r.feature = s.prefer(ctx, *r, was)
	if len(r.named) > 0 {
		quiet := ore.Watcher(nil) // its refusal is no news
		if e.allocation, err = s.allocate(ctx, *r, quiet); err == nil || ctx.Err() != nil {
			return nil, err
		}
		r.named = nil
	}
	e.allocation, err = s.allocate(ctx, *r, watch)
	return nil, err
}

// issue makes the keys of the job: ours, and one for all its agents, since one line
// goes to all of them, and they are one user's on hosts that are his for the time.
func (e *Engine) issue() (line []byte, err error) {
	authority, err := agent.NewAuthority()
	if err != nil {
		return nil, err
	}
	theirs, err := authority.Agent(agentName)
	if err != nil {
		return nil, err
	}
	if e.ours, err = authority.Client("ore"); err != nil {
		return nil, err
	}
	line, err = json.Marshal(theirs)
	return append(line, '\n'), err
}

// meet starts agents on the hosts, if the job's script does not, and connects to
// them.
func (e *Engine) meet(ctx context.Context, came *visitor) (err error) {
	tell := e.config.Hosts.Watch
	tell.Tell(ore.Event{Stage: "reserve", Text: fmt.Sprintf("Slurm job %s: %d hosts", e.allocation.id, len(e.allocation.hosts))})
	e.agents.allocation = e.allocation
	var ready []agent.Ready
	if came != nil {
		ready, err = e.agents.visited(ctx, came)
	} else {
		ready, err = e.agents.start(ctx, e.config.Program)
	}
	if err != nil {
		return err
	}
	if err := e.dial(ctx, ready); err != nil {
		return err
	}
	if text := e.leftOut(); text != "" {
		tell.Tell(ore.Event{Stage: "reserve", Text: text})
	}
	return nil
}

// leftOut says which hosts take no part, and what was heard of it.
func (e *Engine) leftOut() string {
	var gone []string
	for _, h := range e.allocation.hosts {
		if !slices.ContainsFunc(e.clients, func(c *agent.Client) bool { return c.String() == h }) {
			gone = append(gone, h)
		}
	}
	if len(gone) == 0 {
		return ""
	}
	text := fmt.Sprintf("Slurm job %s: no agent on %s", e.allocation.id, strings.Join(gone, ", "))
	if heard := strings.TrimSpace(e.agents.heard.String()); heard != "" {
		text += ": " + strings.Join(strings.Fields(heard), " ")
	}
	return text
}

// agentName is what the certificate of each agent of a job is for.
const agentName = "ore-node"

// dial connects to the agents. One that cannot be reached is left out, as long as
// there are others.
func (e *Engine) dial(ctx context.Context, ready []agent.Ready) error {
	clients, errs := make([]*agent.Client, len(ready)), make([]error, len(ready))
	var g errgroup.Group
	for i, r := range ready {
		g.Go(func() error {
			clients[i], errs[i] = agent.Dial(ctx, agent.Target{Name: agentName, Addr: r.Addr, Said: r.Name}, e.ours)
			return nil
		})
	}
	_ = g.Wait() // their errors are the hosts'
	for _, c := range clients {
		if c != nil {
			e.clients = append(e.clients, c)
		}
	}
	if len(e.clients) == 0 {
		return fmt.Errorf("connect to the agents: %w: see that hosts of Slurm can be reached from here on any port", errors.Join(errs...))
	}
	slices.SortFunc(e.clients, func(a, b *agent.Client) int {
		return strings.Compare(a.String(), b.String())
	})
	return nil
}

// know takes the job's key down, for accounting and for the next run.
func (e *Engine) know(ctx context.Context, r request, k ore.Key) {
	e.mu.Lock()
	e.key = k
	e.mu.Unlock()
	r.key = k
	if err := e.allocation.note(ctx, r); err != nil {
		e.config.Hosts.Watch.Tell(ore.Event{Stage: "reserve", Text: "Slurm's accounting lacks the environment: " + err.Error()})
	}
}

// Distribute implements [cluster.Distributor].
func (e *Engine) Distribute(ctx context.Context, d cluster.Distribution, w ore.Watcher) ([]ore.Stage, error) {
	stages, err := e.inner.Distribute(ctx, d, w)
	return stages, e.explain(err)
}

// Front is that of the engine behind this one, once hosts are reserved.
func (e *Engine) Front() http.Handler { return e.inner.Front() }

// Over is closed when the allocation has ended, once hosts are reserved.
func (e *Engine) Over() <-chan struct{} { return e.allocation.lease.done }

// Why is why the allocation has ended, nil while it lasts.
func (e *Engine) Why() error { return e.allocation.over() }

// end gives back all that Reserve took, and remembers where the image now is.
func (e *Engine) end(ctx context.Context) error {
	var names []string
	patience := endTime
	for _, c := range e.clients {
		if errors.Is(context.Cause(c.Lost()), agent.ErrLost) {
			patience = lostEndTime
		} else {
			names = append(names, c.String())
		}
	}
	for _, c := range e.clients {
		c.Close()
	}
	e.agents.end(ctx, patience)
	err := e.allocation.giveBack(ctx)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.config.Hint != "" && e.key != "" && len(names) > 0 {
		m := recall(e.config.Dir)
		m.add(e.config.Hint, remembered{Key: e.key, Hosts: names, Time: time.Now()})
		err = errors.Join(err, m.write(e.config.Dir))
	}
	return err
}

// explain gives an error Slurm's reason, if Slurm has ended the allocation.
func (e *Engine) explain(err error) error {
	if err == nil {
		return nil
	}
	if over := e.allocation.ended(); over != nil {
		return over
	}
	return err
}
