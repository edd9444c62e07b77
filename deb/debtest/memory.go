package debtest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// InMemory returns a client of servers that are in memory, by their hosts' names, and
// end with the test: time in it may be virtual.
func InMemory(t *testing.T, hosts map[string]http.Handler) *http.Client {
	listeners := map[string]*pipes{}
	for name, h := range hosts {
		l := &pipes{dialled: make(chan net.Conn), closed: make(chan struct{})}
		server := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
		server.Start()
		t.Cleanup(server.Close)
		listeners[name+":80"] = l
	}
	dial := func(ctx context.Context, _, address string) (net.Conn, error) {
		if l := listeners[address]; l != nil {
			return l.dial(ctx)
		}
		return nil, fmt.Errorf("dial %s: no such host", address)
	}
	return &http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
}

// pipes is a listener in memory.
type pipes struct {
	dialled chan net.Conn
	once    sync.Once
	closed  chan struct{}
}

func (p *pipes) dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case p.dialled <- theirs:
		return ours, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept implements net.Listener.
func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.dialled:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr implements net.Listener.
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }
