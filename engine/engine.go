package engine

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ore"
	"ore/chain/conduct"
	"ore/cluster"
	"ore/image"
	"ore/image/early"
	"ore/node"
	"ore/node/agent"
	"ore/node/kit"
	"ore/vnet"
	"ore/vnet/trunk"
)

// reserveTime bounds a reservation from when the image is there: some calls to
// each host, and its supervisor's start.
const reserveTime = time.Minute

// Config is what an engine works with.
type Config struct {
	// Agents are those of the hosts that may be used. The caller closes them,
	// once the engine has released its hosts.
	Agents []*agent.Client
	// Most, where set, is how many machines hosts may have at first, by the names of
	// their agents: what a batch system has counted. Machines whose host is lost go
	// to the others beyond that.
	Most map[string]int
	// Rack is where this host stands. Of the others their agents say it.
	Rack Rack
	// Prepare gets ready on this host what machines are started with.
	Prepare func(ctx context.Context, r cluster.Reservation) (node.Boot, error)
	// Kits makes them fit to be sent.
	Kits *kit.Packer
	// Blob says where this host has a blob, whose bytes are verified.
	Blob func(ctx context.Context, d ore.Digest) (path string, err error)
	// Dir is an existing folder for what transfers keep here while they last.
	Dir string
	// Version is that of this program; agents of another one are not used. ""
	// takes all.
	Version string
	// First is where is kept what machines read first of images; "" keeps nothing.
	First early.Folder
	// Whole has machines start only once all of their layers have come.
	Whole bool
	// Watch may be nil.
	Watch ore.Watcher
	// End, where set, is called once when the last host was released: a batch
	// system gets its allocation back.
	End func(ctx context.Context) error
}

// Engine runs one job on hosts elsewhere. Its methods may be called concurrently.
type Engine struct {
	config Config
	source *source
	secret trunk.Key // from which the keys of links between hosts are made
	// conductor has all transfers of the job: a host that takes over machines while
	// their layers are under way joins those.
	conductor *conduct.Conductor

	reaching  sync.Mutex // one question at a time; guards the next two
	asked     bool
	reachable bool // hosts can connect to this one

	joining sync.Mutex // one joining at a time; guards joined
	joined  bool

	laying sync.WaitGroup // what layAhead began

	growing sync.Mutex // one growth at a time

	mu         sync.Mutex // guards what follows
	shared     []byte     // the secret of the job's machines
	hosts      []*host    // all that may be used
	where      map[string]*host
	wanted     cluster.Reservation
	network    ore.Network
	subnet     netip.Prefix
	kit        kit.Kit
	paths      map[ore.Digest]string // of the kit's blobs
	image      image.Manifest
	sent       []ore.Digest // what every host must have that starts machines
	supplied   []*host      // those that have it, or get it
	stages     []ore.Stage  // of sending the kit
	record     early.Record // of the image
	poured     []ore.Digest // what machines that install themselves read as it comes; set before anything is sent for them
	rest       *rest        // what comes while machines run
	stopLaying func()       // nil before layAhead
	recording  *recording
	forwards   []*forward
	released   int
	placed     int // hosts that were given to the cluster
}

var (
	_ cluster.Engine      = (*Engine)(nil)
	_ cluster.Distributor = (*Engine)(nil)
)

// New returns an engine for one job.
func New(c Config) (*Engine, error) {
	if len(c.Agents) == 0 {
		return nil, errors.New("engine hosts: no hosts: name some with --host, or under hosts: in the settings")
	}
	e := &Engine{config: c, where: map[string]*host{}, secret: trunk.NewKey(), conductor: conduct.New(conduct.Config{})}
	seen := map[string]bool{}
	for i, a := range c.Agents {
		if seen[a.Addr()] {
			return nil, fmt.Errorf("engine hosts: %s was named twice: name each host once", a.Addr())
		}
		seen[a.Addr()] = true
		e.hosts = append(e.hosts, &host{engine: e, agent: a, id: "h" + strconv.Itoa(i)})
	}
	e.source = newSource(c)
	return e, nil
}

// Reserve implements [cluster.Engine].
func (e *Engine) Reserve(ctx context.Context, r cluster.Reservation) ([]cluster.Host, error) {
	hosts, err := e.reserve(ctx, r)
	if err != nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reserveTime)
		defer cancel()
		return nil, errors.Join(err, e.end(ctx, e.hosts))
	}
	return hosts, nil
}

func (e *Engine) reserve(ctx context.Context, r cluster.Reservation) ([]cluster.Host, error) {
	e.wanted = r
	if err := e.meet(ctx); err != nil {
		return nil, err
	}
	if err := e.sendKit(ctx); err != nil {
		return nil, err
	}
	if r.Image != nil {
		img, err := r.Image(ctx)
		if err != nil {
			return nil, err
		}
		e.image = img
	}
	ctx, cancel := context.WithTimeoutCause(ctx, reserveTime, fmt.Errorf("the hosts did not answer within %v", reserveTime))
	defer cancel()
	counts, err := e.place(ctx)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []cluster.Host
	rank := 0
	for i, h := range e.hosts {
		if counts[i] == 0 {
			continue // it stays for machines whose host is lost
		}
		c := cluster.Host{Node: h}
		for range counts[i] {
			m := node.Machine{Name: e.name(rank), Rank: rank}
			c.Machines = append(c.Machines, m)
			e.where[m.Name] = h
			rank++
		}
		all = append(all, c)
	}
	e.placed = len(all)
	e.config.Watch.Tell(ore.Event{Stage: "reserve", Text: fmt.Sprintf("%d machines on %d of %d hosts", rank, len(all), len(e.hosts))})
	return all, nil
}

// name is the name of the machine with a rank.
func (e *Engine) name(rank int) string { return cluster.MachineName(rank) }

// meet makes the job known to all agents. A host that refuses is left out, as
// long as there are others.
func (e *Engine) meet(ctx context.Context) error {
	var g errgroup.Group
	for _, h := range e.hosts {
		g.Go(func() error {
			if err := h.meet(ctx, e.wanted.Job); err != nil {
				h.blame(err)
			}
			return nil
		})
	}
	_ = g.Wait() // their errors are the hosts'
	var used []netip.Prefix
	var errs []error
	for _, h := range e.hosts {
		if err := h.fault(); err != nil {
			errs = append(errs, err)
			e.config.Watch.Tell(ore.Event{Stage: "reserve", Text: err.Error()})
			continue
		}
		used = append(used, h.facts.Subnets...)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if len(errs) == len(e.hosts) {
		return fmt.Errorf("engine hosts: none can be used: %w", errors.Join(errs...))
	}
	var err error
	e.subnet, err = vnet.ChooseSubnet(used)
	return err
}

// place says how many machines each host gets.
func (e *Engine) place(ctx context.Context) ([]int, error) {
	var g errgroup.Group
	var layers []ore.Digest
	for _, l := range e.image.Layers {
		layers = append(layers, l.Digest)
	}
	places := make([]Place, len(e.hosts))
	for i, h := range e.hosts {
		g.Go(func() error {
			places[i] = h.offer(ctx, layers)
			return nil
		})
	}
	_ = g.Wait()
	counts, err := Deal(e.wanted.Machines, places)
	if err != nil {
		var why []error
		for _, h := range e.hosts {
			why = append(why, h.fault())
		}
		return nil, errors.Join(append([]error{err}, why...)...)
	}
	return counts, nil
}

// end ends the job on hosts, and what this side has of it.
func (e *Engine) end(ctx context.Context, hosts []*host) error {
	e.stopRest()
	e.endRecord()
	e.mu.Lock()
	stop := e.stopLaying
	e.mu.Unlock()
	if stop != nil {
		stop()
	}
	e.laying.Wait()
	var g errgroup.Group
	for _, h := range hosts {
		g.Go(func() error { return h.end(ctx) })
	}
	e.mu.Lock()
	for _, f := range e.forwards {
		g.Go(f.close)
	}
	e.forwards = nil
	e.mu.Unlock()
	err := errors.Join(g.Wait(), e.source.close())
	if e.config.End != nil {
		err = errors.Join(err, e.config.End(ctx))
	}
	return err
}

// release is called for each host that the cluster was given. With the last one
// all are let go, also those that were kept in case one is lost.
func (e *Engine) release(ctx context.Context) error {
	e.mu.Lock()
	e.released++
	last := e.released == e.placed
	hosts := slices.Clone(e.hosts)
	e.mu.Unlock()
	if !last {
		return nil
	}
	return e.end(ctx, hosts)
}
