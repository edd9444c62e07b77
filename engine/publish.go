package engine

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"

	"ore"
	"ore/cluster"
	"ore/node/ports"
)

// forward is a port of this host that leads to a machine's, wherever that is.
type forward struct {
	listener *net.TCPListener
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

// Publish implements [cluster.Publisher]: the port is one of the host that the
// job comes from, as it is for machines here.
func (h *host) Publish(ctx context.Context, p ore.Port) (ore.Port, error) {
	l, err := ports.Listen(p.Listen)
	if err != nil {
		return p, err
	}
	f := &forward{listener: l}
	// The port is open until the job's release.
	f.ctx, f.cancel = context.WithCancel(context.WithoutCancel(ctx))
	e := h.engine
	e.mu.Lock()
	e.forwards = append(e.forwards, f)
	e.mu.Unlock()
	p.Listen = l.Addr().String()
	machine := cluster.MachineName(p.Rank)
	f.running.Go(func() {
		f.serve(func() (io.ReadWriteCloser, error) { return e.at(machine, h).job.Dial(f.ctx, machine, p.Port) })
	})
	return p, nil
}

// serve connects who comes with what dial gives, until close.
func (f *forward) serve(dial func() (io.ReadWriteCloser, error)) {
	for {
		c, err := f.listener.AcceptTCP()
		if err != nil {
			return // closed; a port that breaks otherwise is of no use any more
		}
		f.running.Go(func() {
			defer c.Close()
			there, err := dial()
			if err != nil {
				return // the caller sees the end of the connection, as with any closed port
			}
			defer there.Close()
			defer context.AfterFunc(f.ctx, func() { c.Close(); there.Close() })()
			var both sync.WaitGroup
			both.Go(func() { half(there, c) })
			both.Go(func() { half(c, there) })
			both.Wait()
		})
	}
}

// half copies one direction, and ends it.
func half(to io.WriteCloser, from io.Reader) {
	_, _ = io.Copy(to, from) // who reads at the other end sees how far it came
	if w, ok := to.(interface{ CloseWrite() error }); ok {
		_ = w.CloseWrite()
		return
	}
	to.Close()
}

// close ends the port and its connections.
func (f *forward) close() error {
	f.cancel()
	err := f.listener.Close()
	f.running.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
