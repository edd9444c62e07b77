package slurm

import (
	"context"
	"errors"
	"io"

	"ore"
	"ore/cluster"
	"ore/guest"
	"ore/node"
)

// host is a host of the engine behind this one, whose errors say what Slurm did
// to it.
type host struct {
	cluster.Node
	engine *Engine
}

var (
	_ cluster.Node      = host{}
	_ cluster.Publisher = host{}
)

func (e *Engine) wrap(n cluster.Node) cluster.Node { return host{Node: n, engine: e} }

// Start implements [cluster.Node].
func (h host) Start(ctx context.Context, s node.Start, w ore.Watcher) ([]node.Started, error) {
	started, err := h.Node.Start(ctx, s, w)
	return started, h.engine.explain(err)
}

// Exec implements [cluster.Node].
func (h host) Exec(ctx context.Context, machine string, c guest.Command) (guest.Exit, error) {
	exit, err := h.Node.Exec(ctx, machine, c)
	return exit, h.engine.explain(err)
}

// Put implements [cluster.Node].
func (h host) Put(ctx context.Context, machine, dir string, tar io.Reader) error {
	return h.engine.explain(h.Node.Put(ctx, machine, dir, tar))
}

// Get implements [cluster.Node].
func (h host) Get(ctx context.Context, machine, dir string, patterns []string, w io.Writer) error {
	return h.engine.explain(h.Node.Get(ctx, machine, dir, patterns, w))
}

// Publish implements [cluster.Publisher].
func (h host) Publish(ctx context.Context, p ore.Port) (ore.Port, error) {
	pub, ok := h.Node.(cluster.Publisher)
	if !ok {
		return p, errors.ErrUnsupported
	}
	return pub.Publish(ctx, p)
}

// Console returns the end of a machine's console.
func (h host) Console(ctx context.Context, machine string) (string, error) {
	c, ok := h.Node.(interface {
		Console(ctx context.Context, machine string) (string, error)
	})
	if !ok {
		return "", errors.ErrUnsupported
	}
	return c.Console(ctx, machine)
}
