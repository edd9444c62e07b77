package node

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"ore/guest"
	"ore/guest/wire"
)

// protocol is the name that an upgraded connection asks for.
const protocol = "ore-stream"

// upgrade answers 101 and takes the connection over.
func upgrade(w http.ResponseWriter, r *http.Request) (io.ReadWriteCloser, error) {
	if r.Header.Get("Upgrade") != protocol {
		return nil, errors.New("not an upgrade to " + protocol)
	}
	conn, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, err
	}
	_, err = conn.Write([]byte("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: " + protocol + "\r\n\r\n"))
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &buffered{Conn: conn, r: buf.Reader}, nil
}

// buffered is a connection of which some bytes have been read already.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

// serveDial connects the client with a port of a machine.
func (n *Node) serveDial(w http.ResponseWriter, r *http.Request) {
	port, err := strconv.Atoi(r.FormValue("port"))
	if err != nil {
		reply(w, nil, err)
		return
	}
	n.mu.Lock()
	network := n.network
	n.mu.Unlock()
	if network == nil {
		reply(w, nil, ErrUnknown)
		return
	}
	there, err := network.DialContext(r.Context(), r.PathValue("name"), port)
	if err != nil {
		reply(w, nil, err)
		return
	}
	defer there.Close()
	here, err := upgrade(w, r)
	if err != nil {
		reply(w, nil, err)
		return
	}
	defer here.Close()
	splice(here, there)
}

// splice copies both ways until both directions have ended.
func splice(a, b io.ReadWriteCloser) {
	var g sync.WaitGroup
	one := func(dst, src io.ReadWriteCloser) {
		io.Copy(dst, src)
		if c, ok := dst.(interface{ CloseWrite() error }); ok {
			c.CloseWrite()
			return
		}
		dst.Close()
	}
	g.Go(func() { one(a, b) })
	g.Go(func() { one(b, a) })
	g.Wait()
}

// serveWire runs the commands that a client asks for on one connection.
func (n *Node) serveWire(w http.ResponseWriter, r *http.Request) {
	conn, err := upgrade(w, r)
	if err != nil {
		reply(w, nil, err)
		return
	}
	s := wire.NewSession(conn, false)
	defer s.Close()
	ctx, cancel := context.WithCancel(n.ctx)
	defer cancel()
	var inputs wire.Inputs
	var serving sync.WaitGroup
	defer serving.Wait()
	for {
		st, err := s.Accept()
		if err != nil {
			cancel() // the client is gone, and so its commands
			return
		}
		serving.Go(func() {
			q, err := wire.ReceiveRequest(st)
			switch {
			case err != nil || q.Op == wire.Stdin && !inputs.Offer(q.ID, st):
				st.Close()
			case q.Op == wire.Launch:
				c := &call{node: n, stream: st, request: q, inputs: &inputs}
				c.serve(ctx)
			case q.Op != wire.Stdin:
				wire.WriteFailure(st, errors.New("not done here: "+string(q.Op)))
				st.Finish()
			}
		})
	}
}

// call is one command of a client.
type call struct {
	node    *Node
	stream  *wire.Stream
	request wire.Request
	inputs  *wire.Inputs
	mu      sync.Mutex // one frame at a time
}

func (c *call) serve(ctx context.Context) {
	defer c.stream.Close()
	defer c.inputs.Drop(c.request.ID)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	resize := make(chan guest.Size, 1)
	controlled := make(chan struct{})
	go func() {
		defer close(controlled)
		defer cancel()
		c.control(cancel, resize)
	}()
	m, err := c.node.lookup(c.request.To)
	var exit guest.Exit
	if err == nil {
		exit, err = m.exec(ctx, c.command(ctx, m, resize))
	}
	c.mu.Lock()
	if err != nil && exit == (guest.Exit{}) {
		wire.WriteFailure(c.stream, err)
	} else {
		wire.WriteExit(c.stream, exit)
	}
	c.mu.Unlock()
	c.stream.CloseWrite()
	<-controlled
}

// control reads what the client says besides input, until the stream ends.
func (c *call) control(cancel func(), resize chan<- guest.Size) {
	buf := make([]byte, wire.MaxFrame)
	for {
		k, p, err := wire.ReadFrame(c.stream, buf)
		switch {
		case err != nil:
			return
		case k == wire.Signal:
			cancel() // the machine's side sends SIGTERM, waits the grace, and kills
		case k == wire.Resize:
			select {
			case resize <- wire.ParseResize(p):
			default: // a newer size comes soon
			}
		}
	}
}

func (c *call) command(ctx context.Context, m *machine, resize <-chan guest.Size) guest.Command {
	q := c.request
	cmd := guest.Command{
		Args: q.Args, Script: q.Script, Env: append(c.node.env(m), q.Env...), Dir: q.Dir, User: q.User, Secrets: q.Secrets,
		Processes: q.Pids, Sweep: q.Sweep, Grace: time.Duration(q.GraceMS) * time.Millisecond,
		Stdout: frames{c, wire.Stdout}, Stderr: frames{c, wire.Stderr},
	}
	if q.TTY != nil {
		cmd.TTY = &guest.TTY{Size: *q.TTY, Resize: resize}
	}
	if q.Input {
		select {
		case in := <-c.inputs.Take(q.ID):
			cmd.Stdin = in
		case <-ctx.Done():
		}
	}
	return cmd
}

// frames writes one of a command's outputs to the client.
type frames struct {
	call *call
	sort wire.Sort
}

func (f frames) Write(p []byte) (int, error) {
	f.call.mu.Lock()
	defer f.call.mu.Unlock()
	for sent := 0; sent < len(p); {
		k := min(len(p)-sent, wire.MaxFrame)
		if err := wire.WriteFrame(f.call.stream, f.sort, p[sent:sent+k]); err != nil {
			return sent, err
		}
		sent += k
	}
	return len(p), nil
}
