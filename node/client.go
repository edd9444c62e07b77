package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"

	"ore"
	"ore/guest"
	"ore/guest/wire"
)

// Client speaks to a node over its socket, or over whatever leads to it. Its
// methods may be called concurrently.
type Client struct {
	http *http.Client
	base string // before the paths of the node's interface
}

// NewClient returns a client of the node that listens on the Unix socket at path.
func NewClient(path string) *Client {
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	return NewClientOver(&http.Client{Transport: t}, "http://node")
}

// NewClientOver returns a client of the node whose interface c finds under the
// URL base. c must speak HTTP/1.1, which connections can be taken over from.
func NewClientOver(c *http.Client, base string) *Client { return &Client{http: c, base: base} }

// Close lets go of idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	var f failure
	if err := json.NewDecoder(resp.Body).Decode(&f); err != nil {
		return nil, fmt.Errorf("the node answered %s", resp.Status)
	}
	if f.Unknown {
		return nil, fmt.Errorf("%s: %w", f.Error, ErrUnknown)
	}
	return nil, errors.New(f.Error)
}

func (c *Client) call(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	resp, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// Forward passes a request for the node on, and its answer back.
func (c *Client) Forward(w http.ResponseWriter, r *http.Request) {
	to, err := url.Parse(c.base)
	if err != nil {
		reply(w, nil, err)
		return
	}
	p := httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = to.Host
		},
		Transport: c.http.Transport, FlushInterval: -1, ErrorLog: log.New(io.Discard, "", 0),
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			reply(w, nil, fmt.Errorf("the host does not answer: %w: if it stays so, 'ore grow' starts its machines on others", err))
		},
	}
	p.ServeHTTP(w, r)
}

// Start starts machines, all or none. An error that is a machine's is a *StartError.
func (c *Client) Start(ctx context.Context, s Start, watch ore.Watcher) ([]Started, error) {
	b, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	resp, err := c.do(ctx, http.MethodPost, "/v1/start", bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	d := json.NewDecoder(resp.Body)
	for {
		var u Update
		if err := d.Decode(&u); err != nil {
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			return nil, fmt.Errorf("the supervisor of the job ended: %w: see the job's log", err)
		}
		switch {
		case u.Event != nil:
			watch.Tell(*u.Event)
		case u.Machine != "":
			return nil, &StartError{Machine: u.Machine, Stage: u.Stage, Console: u.Console, Cause: errors.New(u.Error)}
		case u.Error != "":
			return nil, errors.New(u.Error)
		default:
			return u.Started, nil
		}
	}
}

// Machines lists the machines that were started.
func (c *Client) Machines(ctx context.Context) ([]Started, error) {
	var all []Started
	err := c.call(ctx, http.MethodGet, "/v1/machines", nil, &all)
	return all, err
}

// Exec runs a command on a machine; see guest.Conn.Exec.
func (c *Client) Exec(ctx context.Context, machine string, cmd guest.Command) (guest.Exit, error) {
	conn, err := c.upgrade(ctx, "/v1/wire?machine="+url.QueryEscape(machine)) // said for whoever leads to several nodes
	if err != nil {
		return guest.Exit{}, fmt.Errorf("exec on %s: %w", machine, err)
	}
	s := wire.NewSession(conn, true)
	defer s.Close()
	q, std := cmd.Launch(machine)
	exit, err := s.Call(ctx, q, std)
	if wire.IsRefused(err) {
		return exit, asLost(machine, err)
	}
	if err != nil && ctx.Err() == nil {
		return exit, fmt.Errorf("exec on %s: the supervisor of the job ended: %w: run the job again", machine, err)
	}
	return exit, err
}

// Dial connects with a TCP port of a machine.
func (c *Client) Dial(ctx context.Context, machine string, port int) (io.ReadWriteCloser, error) {
	return c.upgrade(ctx, "/v1/machines/"+url.PathEscape(machine)+"/dial?port="+strconv.Itoa(port))
}

// upgrade asks for path and takes the connection over.
func (c *Client) upgrade(ctx context.Context, path string) (io.ReadWriteCloser, error) {
	req, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, c.base+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Connection", "Upgrade")
	req.Header.Set("Upgrade", protocol)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if rw, ok := resp.Body.(io.ReadWriteCloser); ok && resp.StatusCode == http.StatusSwitchingProtocols {
		return rw, nil
	}
	defer resp.Body.Close()
	var f failure
	if err := json.NewDecoder(resp.Body).Decode(&f); err != nil {
		return nil, fmt.Errorf("the node answered %s", resp.Status)
	}
	return nil, errors.New(f.Error)
}

func files(machine, dir string, patterns []string) string {
	q := url.Values{"dir": {dir}, "pattern": patterns}
	return "/v1/machines/" + url.PathEscape(machine) + "/files?" + q.Encode()
}

// Put unpacks a tar stream in dir of a machine.
func (c *Client) Put(ctx context.Context, machine, dir string, tar io.Reader) error {
	resp, err := c.do(ctx, http.MethodPut, files(machine, dir, nil), struct{ io.Reader }{tar})
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Get writes what matches patterns in dir of a machine to w as a tar stream.
func (c *Client) Get(ctx context.Context, machine, dir string, patterns []string, w io.Writer) error {
	resp, err := c.do(ctx, http.MethodGet, files(machine, dir, patterns), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(w, resp.Body); err != nil {
		return fmt.Errorf("get from %s: %w", machine, err)
	}
	if s := resp.Trailer.Get(trailer); s != "" {
		if t, err := strconv.Unquote(s); err == nil {
			s = t
		}
		return errors.New(s)
	}
	return nil
}

// Console returns what is kept of a machine's console: its beginning and its end.
func (c *Client) Console(ctx context.Context, machine string) (string, error) {
	s, err := c.Said(ctx, machine, 0)
	return string(s.Text), err
}

// Said returns what a machine's console said from a byte on, as far as that is kept.
func (c *Client) Said(ctx context.Context, machine string, from int64) (Said, error) {
	var s Said
	err := c.call(ctx, http.MethodGet, fmt.Sprintf("/v1/machines/%s/console?from=%d", url.PathEscape(machine), from), nil, &s)
	return s, err
}

// Publish makes a machine's port reachable on the host.
func (c *Client) Publish(ctx context.Context, p ore.Port) (ore.Port, error) {
	var got ore.Port
	err := c.call(ctx, http.MethodPost, "/v1/publish", p, &got)
	return got, err
}

// Release ends all machines.
func (c *Client) Release(ctx context.Context) error {
	return c.call(ctx, http.MethodDelete, "/v1/machines", nil, nil)
}
