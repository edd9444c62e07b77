package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"path/filepath"
	"sync"

	"ore/node"
)

// far is the way from a job's machines here to those on other hosts: a Unix
// socket in the job's folder, where the supervisor asks for a machine by its
// name and is passed on to the agent of that machine's host.
type far struct {
	server *http.Server
	wire   *http.Transport
	served sync.WaitGroup

	mu    sync.Mutex // guards peers
	peers Peers
}

func newFar(k Keys, job string) *far {
	f := &far{peers: Peers{}}
	f.wire = &http.Transport{DialTLSContext: func(ctx context.Context, network, at string) (net.Conn, error) {
		machine, _, err := net.SplitHostPort(at)
		if err != nil {
			return nil, err
		}
		p, ok := f.find(machine)
		if !ok {
			return nil, fmt.Errorf("machine %q: %w", machine, node.ErrUnknown)
		}
		conf, err := k.client(p.Name)
		if err != nil {
			return nil, err
		}
		d := tls.Dialer{NetDialer: &net.Dialer{Timeout: dialTime}, Config: conf}
		return d.DialContext(ctx, network, p.Addr)
	}}
	quiet := log.New(io.Discard, "", 0)
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			machine := r.In.PathValue("machine")
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "https", machine, machine
			r.Out.URL.Path = "/v1/jobs/" + job + nodePart + "/v1/wire"
		},
		Transport: f.wire, FlushInterval: -1, ErrorLog: quiet,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) { reply(w, nil, err) },
	}
	mux := http.NewServeMux()
	mux.Handle("GET /{machine}/v1/wire", proxy)
	f.server = &http.Server{Handler: mux, ReadHeaderTimeout: headTime, ErrorLog: quiet}
	return f
}

// listen opens the way in the job's folder.
func (f *far) listen(folder string) error {
	l, err := net.Listen("unix", filepath.Join(folder, node.FarSocket))
	if err != nil {
		return err
	}
	f.served.Go(func() { _ = f.server.Serve(l) }) // until close
	return nil
}

func (f *far) find(machine string) (Peer, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.peers[machine]
	return p, ok
}

// knows says whether an agent of that name is a peer.
func (f *far) knows(agent string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.peers {
		if p.Name == agent {
			return true
		}
	}
	return false
}

func (f *far) set(p Peers) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.peers = p
}

// close ends the way and all that is on it. Machines' commands end when their
// supervisor does.
func (f *far) close() error {
	err := f.server.Close()
	f.served.Wait()
	f.wire.CloseIdleConnections()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
