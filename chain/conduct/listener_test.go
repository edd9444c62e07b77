package conduct_test

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
)

// listener is what hosts in memory have in common, whatever network lies between
// them: a name, which is their address, and who comes to them.
type listener struct {
	name   string
	accept chan net.Conn
	closed chan struct{}
	once   *sync.Once
}

func newListener(name string) listener {
	return listener{name, make(chan net.Conn), make(chan struct{}), new(sync.Once)}
}

// reach brings a connection's other end to who listens.
func (l listener) reach(ctx context.Context, other net.Conn) error {
	select {
	case l.accept <- other:
		return nil
	case <-l.closed:
		return fmt.Errorf("dial %s: %w", l.name, syscall.ECONNREFUSED)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l listener) Addr() net.Addr { return l }

// Network and String implement net.Addr.
func (l listener) Network() string { return "memory" }
func (l listener) String() string  { return l.name }
