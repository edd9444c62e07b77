package installing

import (
	"context"
	"io"
	"net"
	"sync"
)

// Depot passes connections that machines make on to the Unix socket at which
// layers and packages are given. Make one with Open.
type Depot struct {
	listener net.Listener
	socket   string
	cancel   context.CancelFunc
	serving  sync.WaitGroup
}

// OpenDepot serves l until Close.
func OpenDepot(l net.Listener, socket string) *Depot {
	ctx, cancel := context.WithCancel(context.Background())
	d := &Depot{listener: l, socket: socket, cancel: cancel}
	d.serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			d.serving.Go(func() { d.pass(ctx, c) })
		}
	})
	return d
}

// Close ends all connections.
func (d *Depot) Close() error {
	d.cancel()
	err := d.listener.Close()
	d.serving.Wait()
	return err
}

// pass carries one connection. One that nobody takes is closed, as a server that
// has gone would do.
func (d *Depot) pass(ctx context.Context, c net.Conn) {
	defer c.Close()
	var dialer net.Dialer
	there, err := dialer.DialContext(ctx, "unix", d.socket)
	if err != nil {
		return
	}
	defer there.Close()
	defer context.AfterFunc(ctx, func() { c.Close(); there.Close() })()
	var both sync.WaitGroup
	one := func(to, from net.Conn) {
		io.Copy(to, from)
		if w, ok := to.(interface{ CloseWrite() error }); ok {
			w.CloseWrite()
			return
		}
		to.Close()
	}
	both.Go(func() { one(there, c) })
	one(c, there)
	both.Wait()
}
