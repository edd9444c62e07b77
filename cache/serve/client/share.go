package client

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"ore"
	"ore/cache/serve/wire"
	"ore/image"
)

// Share sees to it that the cache has the image of key. If it lacks it, one of
// all clients that ask is told to build: its build is called, which makes the
// image and pushes it, and what it tells goes to all who wait. If the builder
// fails or dies another one builds. built says whether build was called here.
func (c *Client) Share(ctx context.Context, key ore.Key, watch ore.Watcher, build func(ctx context.Context, tell ore.Watcher) error) (built bool, err error) {
	for {
		l, err := c.lease(ctx, key, watch)
		if err != nil {
			return false, fmt.Errorf("build of image %s: %w", key.Short(), err)
		}
		switch l.State {
		case wire.Exists:
			return false, nil
		case wire.Build:
			return true, c.hold(ctx, key, l.ID, func(tell ore.Watcher) error {
				return build(ctx, func(e ore.Event) {
					watch.Tell(e)
					tell(e)
				})
			})
		case wire.Wait:
			watch.Tell(l.Event)
		default:
			return false, fmt.Errorf("build of image %s: cache %s says %q", key.Short(), c.base.Host, l.State)
		}
	}
}

// lease asks once who builds. While the server lets it wait, watch is told how
// the build goes.
func (c *Client) lease(ctx context.Context, key ore.Key, watch ore.Watcher) (wire.Lease, error) {
	var l wire.Lease
	path := "/v1/leases/" + string(key)
	// The first question finds out whether there is anything to wait for.
	if err := c.ask(ctx, call{method: http.MethodPost, path: path}, &l); err != nil || l.State != wire.Wait {
		return l, err
	}
	watch.Tell(l.Event)
	listen, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	if watch != nil {
		group.Go(func() { c.listen(listen, key, watch) })
	}
	l = wire.Lease{}
	wait := strconv.Itoa(int(wire.MaxWait / time.Second))
	return l, c.ask(ctx, call{method: http.MethodPost, path: path, query: url.Values{"wait": {wait}}}, &l)
}

// maxEvent bounds one event.
const maxEvent = 64 << 10

// listen passes the events of a build on until ctx or the build ends. Events are
// for people, so errors end it and no more.
func (c *Client) listen(ctx context.Context, key ore.Key, watch ore.Watcher) {
	r, err := c.send(ctx, call{method: http.MethodGet, path: "/v1/leases/" + string(key) + "/events", once: true})
	if err != nil {
		return
	}
	defer r.Body.Close()
	lines := bufio.NewScanner(r.Body)
	lines.Buffer(nil, maxEvent)
	for lines.Scan() {
		var e ore.Event
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && json.Unmarshal([]byte(data), &e) == nil {
			watch.Tell(e)
		}
	}
}

// pending is how many events of a builder wait to be sent; more are dropped.
const pending = 64

// hold keeps a lease while f runs and gives it back.
func (c *Client) hold(ctx context.Context, key ore.Key, id string, f func(tell ore.Watcher) error) error {
	events := make(chan ore.Event, pending)
	beating, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	h := &holder{c: c, key: key, id: id}
	group.Go(func() { h.beat(beating, events) })
	group.Go(func() { h.stay(beating) })
	err := f(func(e ore.Event) {
		select {
		case events <- e:
		default: // the server is slow: events may be dropped
		}
	})
	stop()
	group.Wait()
	// Also when ctx ended: the next one should not have to wait for the expiry.
	soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialTime)
	defer cancel()
	var none struct{}
	_ = c.ask(soon, call{method: http.MethodDelete, path: h.path(), once: true}, &none) // it expires by itself, too
	return err
}

// holder keeps one lease.
type holder struct {
	c   *Client
	key ore.Key

	mu sync.Mutex // guards id
	id string
}

func (h *holder) path() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return "/v1/leases/" + string(h.key) + "/" + h.id
}

// stay keeps an answer open until ctx ends, by whose end the server sees at once
// that this process was killed. Where that cannot be had, heartbeats do.
func (h *holder) stay(ctx context.Context) {
	for ctx.Err() == nil {
		if r, err := h.c.send(ctx, call{method: http.MethodGet, path: h.path(), once: true}); err == nil {
			_, _ = io.Copy(io.Discard, r.Body) // however it ends, it is asked for again
			r.Body.Close()
		}
		_ = sleep(ctx, wire.Heartbeat)
	}
}

// beat shows that the builder lives, and tells its events, until ctx ends.
func (h *holder) beat(ctx context.Context, events <-chan ore.Event) {
	t := time.NewTicker(wire.Heartbeat)
	defer t.Stop()
	for {
		var body []byte
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			body = encode(e)
		case <-t.C:
		}
		var none struct{}
		err := h.c.ask(ctx, call{method: http.MethodPut, path: h.path(), body: body}, &none)
		if !errors.Is(err, image.ErrMissing) {
			continue // sent, or the server is away: the build goes on either way
		}
		// The server was started again. If nobody else has begun, the build is
		// this one's as before; otherwise both go on, and the last one is listed.
		var l wire.Lease
		if h.c.ask(ctx, call{method: http.MethodPost, path: "/v1/leases/" + string(h.key)}, &l) == nil && l.State == wire.Build {
			h.mu.Lock()
			h.id = l.ID
			h.mu.Unlock()
		}
	}
}
