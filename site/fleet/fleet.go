// Package fleet is a site's side of hosts elsewhere: it makes agents on this
// host, connects to those of others, and makes the engine that runs jobs there.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"ore"
	"ore/cluster"
	"ore/engine"
	"ore/image/early"
	"ore/node"
	"ore/node/agent"
	"ore/node/kit"
	"ore/site"
	"ore/site/supervisor"
)

// Rack says where a host stands.
type Rack = engine.Rack

// Hosts is the engine of agents that somebody started. It connects to them when
// it is asked for hosts.
type Hosts struct {
	Site    *site.Site
	Targets []string // see agent.ParseTarget
	Keys    agent.Keys
	Watch   ore.Watcher
	Version string // of this program
	Whole   bool   // machines wait until all of their image is there
	Rack    Rack   // where this host stands

	engine  *engine.Engine // once hosts are reserved
	agents  []*agent.Client
	meeting sync.Mutex    // guards met
	met     chan struct{} // closed once agents are there
}

var (
	_ cluster.Engine      = (*Hosts)(nil)
	_ cluster.Distributor = (*Hosts)(nil)
)

// Reserve implements [cluster.Engine].
func (h *Hosts) Reserve(ctx context.Context, r cluster.Reservation) ([]cluster.Host, error) {
	agents, err := Connect(ctx, h.Targets, h.Keys, h.Watch)
	h.agents = agents
	close(h.connected())
	if err != nil {
		return nil, err
	}
	end := func(context.Context) error {
		hangUp(agents)
		return nil
	}
	c, err := Config(h.Site, h.Watch)
	if err != nil {
		return nil, errors.Join(err, end(ctx))
	}
	c.Agents, c.End, c.Version, c.Whole, c.Rack = agents, end, h.Version, h.Whole, h.Rack
	if h.engine, err = engine.New(c); err != nil {
		return nil, errors.Join(err, end(ctx))
	}
	return h.engine.Reserve(ctx, r)
}

// Distribute implements [cluster.Distributor].
func (h *Hosts) Distribute(ctx context.Context, d cluster.Distribution, w ore.Watcher) ([]ore.Stage, error) {
	return h.engine.Distribute(ctx, d, w)
}

// Front is the engine's, once hosts are reserved.
func (h *Hosts) Front() http.Handler { return h.engine.Front() }

// Connect connects to the agents that targets name. One that cannot be reached is
// told to watch, and is an error only if there is no other.
func Connect(ctx context.Context, targets []string, k agent.Keys, watch ore.Watcher) ([]*agent.Client, error) {
	if len(targets) == 0 {
		return nil, errors.New("engine hosts: no hosts: name some with --host, or under hosts: in the settings")
	}
	clients, errs := make([]*agent.Client, len(targets)), make([]error, len(targets))
	var dialling sync.WaitGroup
	for i, s := range targets {
		dialling.Go(func() {
			var t agent.Target
			if t, errs[i] = agent.ParseTarget(s); errs[i] == nil {
				clients[i], errs[i] = agent.Dial(ctx, t, k)
			}
		})
	}
	dialling.Wait()
	var there []*agent.Client
	for i, c := range clients {
		if errs[i] == nil {
			there = append(there, c)
		} else {
			watch.Tell(ore.Event{Stage: "reserve", Text: errs[i].Error()})
		}
	}
	if len(there) == 0 {
		return nil, errors.Join(errs...)
	}
	return there, nil
}

// hangUp ends connections.
func hangUp(agents []*agent.Client) {
	var closing sync.WaitGroup
	for _, a := range agents {
		closing.Go(a.Close)
	}
	closing.Wait()
}

// Config is what an engine of the site works with, but for its agents.
func Config(s *site.Site, watch ore.Watcher) (engine.Config, error) {
	dir := filepath.Join(s.Dirs.Cache, "fleet")
	kits, err := kit.OpenPacker(dir)
	if err != nil {
		return engine.Config{}, err
	}
	sending := filepath.Join(dir, "sending") // nothing is written there: what is sent stays where it is
	if err := os.MkdirAll(sending, 0o700); err != nil {
		return engine.Config{}, fmt.Errorf("engine hosts: %w", err)
	}
	return engine.Config{
		Prepare: func(ctx context.Context, r cluster.Reservation) (node.Boot, error) { return s.Prepare(ctx, r, watch) },
		Kits:    kits, Blob: s.Cache.Verified, Dir: sending, Watch: watch,
		First: early.Folder(filepath.Join(dir, "first")),
	}, nil
}

// Node says what an agent on this host is like.
type Node struct {
	Name   string // "" for the host's
	Listen string // host:port
	Dir    string // "" for one of this user's
	Quota  int64
	Memory int64 // bytes for machines; 0 for what the host has
	Rack   string
	Switch string
	Link   float64 // bytes a second of its link; 0 for what its card says
	Keys   agent.Keys
	// Lease, where set, is read to its end, and with it ends the agent; and it
	// ends when nobody calls for agent.LeaseTime.
	Lease   io.Reader
	Version string
}

// Serve runs an agent until ctx or its lease ends. ready is told once it serves.
func Serve(ctx context.Context, n Node, ready func(agent.Ready) error) (err error) {
	if n.Name == "" {
		if n.Name, err = os.Hostname(); err != nil {
			return fmt.Errorf("name of this host: %w", err)
		}
	}
	if n.Dir, err = folder(n.Dir); err != nil {
		return err
	}
	if strings.ContainsAny(n.Dir, " ,:\"\t\n") {
		return fmt.Errorf("folder %s: User Mode Linux takes no space, comma, colon or quote in a path: give another with --dir", n.Dir)
	}
	listener, err := net.Listen("tcp", n.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w: choose another address with --listen", err)
	}
	host, _, err := net.SplitHostPort(n.Listen)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	chain, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return errors.Join(fmt.Errorf("listen: %w", err), listener.Close())
	}
	a, err := agent.Start(ctx, agent.Config{
		Name: n.Name, Version: n.Version, Keys: n.Keys, Listener: listener, Chain: chain,
		Dir: n.Dir, Quota: n.Quota, Memory: n.Memory, Rack: n.Rack, Switch: n.Switch, Link: n.Link, Lease: n.Lease != nil, Supervise: supervise,
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	if err := ready(a.Ready()); err != nil {
		return err
	}
	ended := make(chan struct{})
	if n.Lease != nil {
		go func() { // ends with the input, or with the process
			_, _ = io.Copy(io.Discard, n.Lease)
			close(ended)
		}()
	}
	select {
	case <-ctx.Done():
	case <-ended:
	case <-a.Done():
	}
	return nil
}

// maxSocketPath is what the address of a Unix socket holds (unix(7)), less the
// zero byte at its end.
const maxSocketPath = 107

// supervise starts a job's supervisor, which ends with this process.
func supervise(ctx context.Context, id, folder, images string) (agent.Supervisor, error) {
	if s := supervisor.Socket(folder); len(s) > maxSocketPath {
		return agent.Supervisor{}, fmt.Errorf("%s: longer than a socket's address can be: start 'ore node' with a --dir that has a shorter path", s)
	}
	p, err := supervisor.Start(ctx, supervisor.Job{ID: id, Folder: folder, Images: images, Lazy: true})
	if err != nil {
		return agent.Supervisor{}, err
	}
	return agent.Supervisor{
		Socket: supervisor.Socket(folder), Release: p.Release,
		Lazy: filepath.Join(folder, supervisor.LazyFolder), Device: p.Device(),
	}, nil
}
