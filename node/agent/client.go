package agent

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ore"
	"ore/chain"
	"ore/node"
	"ore/node/kit"
	"ore/node/lazy"
)

const (
	// dialTime bounds a connection to an agent with its handshake.
	dialTime = 10 * time.Second
	// callTime bounds calls that only look something up.
	callTime = 10 * time.Second
	// maxAnswer bounds what an agent can make its client hold: the facts of a
	// host with a hundred thousand blobs.
	maxAnswer = 16 << 20
)

// Client speaks to one agent. It renews the leases of the jobs that were made
// through it until Close; from when the agent has not answered for [LeaseTime]
// the host counts as lost, for good. Its methods may be called concurrently.
type Client struct {
	name string // of its certificate
	said string
	addr string
	http *http.Client
	from atomic.Pointer[netip.Addr] // this side's address on the way to the agent
	at   atomic.Pointer[netip.Addr] // the agent's

	ctx    context.Context // ends with Close or the host's loss
	end    context.CancelCauseFunc
	leases sync.WaitGroup

	mu    sync.Mutex // guards what follows
	jobs  map[string]bool
	conns map[*connection]bool // all that are open
}

// connection is one of a client's, which its owner can close from outside: what
// waits for a host that is lost does not notice by itself.
type connection struct {
	*tls.Conn
	client *Client
}

// Close closes the connection.
func (c *connection) Close() error {
	c.client.mu.Lock()
	delete(c.client.conns, c)
	c.client.mu.Unlock()
	return c.Conn.Close()
}

// Target says which agent is meant: the name that its certificate must have,
// and where it listens.
type Target struct {
	Name string
	Addr string // host:port
	Said string // what people call the host; "" for its name
}

// ParseTarget reads what people write: HOST, HOST:PORT, or NAME=HOST:PORT for
// one that is reached by another name than its certificate's.
func ParseTarget(s string) (Target, error) {
	t := Target{Addr: s, Said: s}
	if name, addr, ok := strings.Cut(s, "="); ok {
		t.Name, t.Addr, t.Said = name, addr, name
	}
	host, port, err := net.SplitHostPort(t.Addr)
	if err != nil { // without a port, perhaps
		host, port = t.Addr, DefaultPort
		if ip, err := netip.ParseAddr(host); (err != nil || !ip.Is6()) && strings.ContainsAny(host, ":[]") {
			return t, fmt.Errorf("host %q: write HOST, HOST:PORT or NAME=HOST:PORT", s)
		}
	}
	if host == "" || port == "" {
		return t, fmt.Errorf("host %q: write HOST, HOST:PORT or NAME=HOST:PORT", s)
	}
	if t.Name == "" {
		t.Name = host
	}
	t.Addr = net.JoinHostPort(host, port)
	return t, nil
}

// Dial connects to an agent and makes sure that it is there and answers.
func Dial(ctx context.Context, t Target, k Keys) (*Client, error) {
	conf, err := k.client(t.Name)
	if err != nil {
		return nil, err
	}
	c := &Client{name: t.Name, said: cmp.Or(t.Said, t.Name), addr: t.Addr, jobs: map[string]bool{}, conns: map[*connection]bool{}}
	// The client's life is its owner's, not that of the call that makes it.
	c.ctx, c.end = context.WithCancelCause(context.WithoutCancel(ctx))
	c.http = &http.Client{Transport: &http.Transport{
		DialTLSContext:      func(ctx context.Context, network, _ string) (net.Conn, error) { return c.dial(ctx, conf) },
		MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute,
	}}
	if _, err := c.Host(ctx); err != nil {
		c.Close()
		return nil, fmt.Errorf("host %s: %w: see that 'ore node' runs there, with keys of the same authority", c, err)
	}
	c.leases.Go(c.renew)
	return c, nil
}

// dial makes one connection.
func (c *Client) dial(ctx context.Context, conf *tls.Config) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: renewEvery, Interval: renewEvery, Count: 3}}
	bare, err := d.DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return nil, err
	}
	conn := &connection{Conn: tls.Client(bare, conf), client: c}
	if err := conn.HandshakeContext(ctx); err != nil {
		bare.Close()
		return nil, err
	}
	for end, a := range map[*atomic.Pointer[netip.Addr]]net.Addr{&c.from: conn.LocalAddr(), &c.at: conn.RemoteAddr()} {
		if a, ok := a.(*net.TCPAddr); ok {
			ip := a.AddrPort().Addr().Unmap()
			end.Store(&ip)
		}
	}
	c.mu.Lock()
	c.conns[conn] = true
	c.mu.Unlock()
	return conn, nil
}

// cut closes all connections.
func (c *Client) cut() {
	c.mu.Lock()
	all := slices.Collect(maps.Keys(c.conns))
	c.mu.Unlock()
	for _, conn := range all {
		conn.NetConn().Close() // at once, and not after a word to a side that is gone
		conn.Close()
	}
}

// Name is what the agent's certificate calls it.
func (c *Client) Name() string { return c.name }

// String is what people call the host.
func (c *Client) String() string { return c.said }

// Addr is where the agent listens.
func (c *Client) Addr() string { return c.addr }

// From is this side's address on the way to the agent.
func (c *Client) From() netip.Addr { return known(&c.from) }

// At is the agent's address.
func (c *Client) At() netip.Addr { return known(&c.at) }

func known(p *atomic.Pointer[netip.Addr]) netip.Addr {
	if a := p.Load(); a != nil {
		return *a
	}
	return netip.Addr{}
}

// Lost ends when the host has not answered for LeaseTime; its cause then
// matches ErrLost. It ends with Close as well.
func (c *Client) Lost() context.Context { return c.ctx }

// Close ends the use of the agent. Jobs that were not released end when their
// lease does.
func (c *Client) Close() {
	c.end(errors.New("closed"))
	c.leases.Wait()
	c.cut()
}

// renew tells the agent that its client lives, and finds out when it does not.
func (c *Client) renew() {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for last := time.Now(); ; {
		select {
		case <-c.ctx.Done():
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(c.ctx, renewEvery)
		_, err := c.Renew(ctx)
		cancel()
		if err == nil {
			last = time.Now()
		} else if time.Since(last) >= LeaseTime {
			c.end(fmt.Errorf("host %s: %w: no answer for %v: %w", c, ErrLost, LeaseTime, err))
			c.cut()
			return
		}
	}
}

// Renew tells the agent that the owner of this client's jobs lives, and returns
// those of them that the agent does not have any more. It is done regularly
// without being called.
func (c *Client) Renew(ctx context.Context) ([]string, error) {
	c.mu.Lock()
	var r Renewal
	for id := range c.jobs {
		r.Jobs = append(r.Jobs, id)
	}
	c.mu.Unlock()
	var gone Renewed
	err := c.call(ctx, http.MethodPost, "/v1/renew", r, &gone)
	return gone.Gone, err
}

// Host returns what the host says of itself.
func (c *Client) Host(ctx context.Context) (Facts, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	var f Facts
	err := c.call(ctx, http.MethodGet, "/v1/host", nil, &f)
	return f, err
}

// Job makes the job's supervisor on the host, if it has none yet.
func (c *Client) Job(ctx context.Context, id string) (*Job, error) {
	j := &Job{client: c, id: id}
	c.mu.Lock()
	c.jobs[id] = true
	c.mu.Unlock()
	if err := c.call(ctx, http.MethodPost, j.path(""), nil, &j.grip); err != nil {
		c.forget(id)
		return nil, fmt.Errorf("host %s: %w", c, err)
	}
	if _, port, err := net.SplitHostPort(j.grip.Chain); err == nil { // it may not know by which address it is reached
		j.grip.Chain = net.JoinHostPort(c.At().String(), port)
	}
	j.Client = node.NewClientOver(c.http, base+j.path(nodePart))
	return j, nil
}

func (c *Client) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.jobs, id)
}

// base stands before all paths. Nobody looks its name up.
const base = "https://agent"

// call asks for path and reads the answer.
func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	v := call{out: out}
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		v.body = bytes.NewReader(b)
	}
	return c.stream(ctx, method, path, v)
}

// call is what goes to and what comes from an agent.
type call struct {
	body io.Reader
	out  any // nil to ignore the answer
}

// stream is call with a body that need not fit into memory.
func (c *Client) stream(ctx context.Context, method, path string, v call) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(c.ctx, func() { cancel(context.Cause(c.ctx)) })()
	req, err := http.NewRequestWithContext(ctx, method, base+path, v.body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return plain(ctx, err)
	}
	defer resp.Body.Close()
	d := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer))
	if resp.StatusCode == http.StatusOK {
		if v.out == nil {
			return nil
		}
		if err := d.Decode(v.out); err != nil {
			return plain(ctx, fmt.Errorf("read the answer: %w", err))
		}
		return nil
	}
	var f failure
	if err := d.Decode(&f); err != nil || f.Error == "" {
		return fmt.Errorf("the agent answered %s", resp.Status)
	}
	if f.Gone {
		return fmt.Errorf("%s: %w", f.Error, ErrGone)
	}
	return errors.New(f.Error)
}

// plain leaves out of an error what says nothing to people: a URL that has the
// agent's name in it nowhere.
func plain(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// Job is one job on the agent's host. Its methods, and those of the node behind
// it, may be called concurrently.
type Job struct {
	*node.Client
	client *Client
	id     string
	grip   Grip
}

func (j *Job) path(rest string) string { return "/v1/jobs/" + url.PathEscape(j.id) + rest }

// Chain returns where the host takes part in transfers, and the grant that
// orders it to.
func (j *Job) Chain() (addr string, g chain.Grant) { return j.grip.Chain, j.grip.Conduct }

// Want has the host hold those of the blobs that it has until the job ends, and
// returns the others.
func (j *Job) Want(ctx context.Context, blobs []ore.Digest) ([]ore.Digest, error) {
	var l Lacking
	err := j.client.call(ctx, http.MethodPost, j.path("/blobs"), Wanted{blobs}, &l)
	return l.Blobs, err
}

// Keep has the host verify a blob that the chain brought, and hold it like those
// of Want.
func (j *Job) Keep(ctx context.Context, d ore.Digest) error {
	return j.client.call(ctx, http.MethodPost, j.path("/blobs/"+string(d)), nil, nil)
}

// Reach says whether the host can connect to an address of this side.
func (j *Job) Reach(ctx context.Context, addr string) error {
	return j.client.call(ctx, http.MethodPost, j.path("/reach"), Reach{addr}, nil)
}

// Give sends the bytes of a blob to the host, for when the chain cannot fetch
// them, and has it hold the blob like those of Want.
func (j *Job) Give(ctx context.Context, d ore.Digest, r io.Reader) error {
	return j.client.stream(ctx, http.MethodPut, j.path("/blobs/"+string(d)), call{body: struct{ io.Reader }{r}})
}

// Offer has the host give a blob that it holds to others, by the chain.
func (j *Job) Offer(ctx context.Context, d ore.Digest) (chain.Blob, error) {
	var b chain.Blob
	err := j.client.call(ctx, http.MethodPost, j.path("/offers/"+string(d)), nil, &b)
	return b, err
}

// Lazy says whether machines of the job can read layers on this host that are
// still coming.
func (j *Job) Lazy() bool { return j.grip.Lazy }

// Show has the host show blobs to the job's machines that are still coming, and
// returns where they find them.
func (j *Job) Show(ctx context.Context, blobs []ComingBlob) (map[ore.Digest]string, error) {
	var s Shown
	err := j.client.call(ctx, http.MethodPost, j.path("/coming"), blobs, &s)
	return s.Paths, err
}

// Miss has reads of what Show showed fail, rather than wait, where it is not there: it
// does not come.
func (j *Job) Miss(ctx context.Context) error {
	return j.client.call(ctx, http.MethodDelete, j.path("/coming"), nil, nil)
}

// Touched returns what machines have read of a blob that was shown.
func (j *Job) Touched(ctx context.Context, d ore.Digest) (lazy.Touched, error) {
	var t lazy.Touched
	err := j.client.call(ctx, http.MethodGet, j.path("/coming/"+string(d)), nil, &t)
	return t, err
}

// Boot has the host lay out a kit whose blobs it holds, and returns what it is
// there.
func (j *Job) Boot(ctx context.Context, k kit.Kit) (node.Boot, error) {
	var b node.Boot
	err := j.client.call(ctx, http.MethodPost, j.path("/boot"), k, &b)
	return b, err
}

// Meet tells the host where the job's machines on other hosts are.
func (j *Job) Meet(ctx context.Context, p Peers) error {
	return j.client.call(ctx, http.MethodPut, j.path("/peers"), p, nil)
}

// End ends the job on the host, and all that it has there.
func (j *Job) End(ctx context.Context) error {
	err := j.client.call(ctx, http.MethodDelete, j.path(""), nil, nil)
	j.client.forget(j.id)
	if errors.Is(err, ErrGone) {
		return nil
	}
	return err
}
