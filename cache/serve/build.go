package serve

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"ore"
	"ore/cache/serve/wire"
	"ore/image"
)

// lease says who builds an image, waiting for a change as long as the client
// asks for.
func (s *Server) lease(r *request) error {
	key, err := r.key()
	if err != nil {
		return err
	}
	wait := time.Duration(0)
	if text := r.URL.Query().Get("wait"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			return refuse(http.StatusBadRequest, "wait %q: not a number of seconds", text)
		}
		wait = min(time.Duration(n)*time.Second, wire.MaxWait)
	}
	ctx, cancel := s.beyond(r.Context())
	defer cancel()
	k := leaseKey{r.client.Namespace, key}
	for end := time.Now().Add(wait); ; {
		_, _, err := s.lookup(ctx, r.client, key)
		if err == nil {
			return r.answer(wire.Lease{State: wire.Exists})
		}
		if !errors.Is(err, image.ErrMissing) {
			return err
		}
		id, event, over, err := s.leases.take(k)
		if err != nil {
			return err
		}
		if id != "" {
			// The image may have been registered between the look and the lease.
			if _, _, err := s.lookup(ctx, r.client, key); err == nil {
				_ = s.leases.release(k, id) // nobody else has it
				return r.answer(wire.Lease{State: wire.Exists})
			}
			return r.answer(wire.Lease{State: wire.Build, ID: id})
		}
		left := time.Until(end)
		if left <= 0 || ctx.Err() != nil {
			return r.answer(wire.Lease{State: wire.Wait, Event: event})
		}
		s.leases.wait(ctx, k, over, left)
	}
}

// beat is the builder's sign of life.
func (s *Server) beat(r *request) error {
	key, err := r.key()
	if err != nil {
		return err
	}
	var e *ore.Event
	if r.ContentLength != 0 {
		e = new(ore.Event)
		if err := r.decode(wire.MaxJSON, e); err != nil {
			return err
		}
	}
	if err := s.leases.beat(leaseKey{r.client.Namespace, key}, r.PathValue("id"), e); err != nil {
		return err
	}
	return r.answer(struct{}{})
}

// hold is answered as long as the lease lasts. A builder that is killed closes its
// connection, and the next one need not wait until the lease expires; one that
// lives and has lost its connection asks for the lease again at its next beat.
func (s *Server) hold(r *request) error {
	key, err := r.key()
	if err != nil {
		return err
	}
	k, id := leaseKey{r.client.Namespace, key}, r.PathValue("id")
	over, err := s.leases.over(k, id)
	if err != nil {
		return err
	}
	flow := http.NewResponseController(r.w)
	_ = flow.SetReadDeadline(time.Time{})
	r.w.Header().Set("Content-Type", "application/octet-stream")
	_, _ = r.w.Write([]byte("\n")) // who is gone does not read it
	_ = flow.Flush()
	select {
	case <-over:
	case <-s.ctx.Done():
	case <-r.Context().Done():
		_ = s.leases.release(k, id) // it may be over meanwhile
	}
	return nil
}

// release is the builder's giving up, or its end.
func (s *Server) release(r *request) error {
	key, err := r.key()
	if err != nil {
		return err
	}
	if err := s.leases.release(leaseKey{r.client.Namespace, key}, r.PathValue("id")); err != nil {
		return err
	}
	return r.answer(struct{}{})
}

// events tells the progress of a build as server-sent events (WHATWG HTML, 9.2).
func (s *Server) events(r *request) error {
	key, err := r.key()
	if err != nil {
		return err
	}
	ctx, cancel := s.beyond(r.Context())
	defer cancel()
	flow := http.NewResponseController(r.w)
	_ = flow.SetReadDeadline(time.Time{})
	begun := false
	err = s.leases.watch(ctx, leaseKey{r.client.Namespace, key}, func(e ore.Event) error {
		if !begun {
			begun = true
			r.w.Header().Set("Content-Type", "text/event-stream")
			r.w.Header().Set("Cache-Control", "no-store")
		}
		b, err := json.Marshal(e)
		if err != nil {
			return err
		}
		_ = flow.SetWriteDeadline(time.Now().Add(stall))
		if _, err := fmt.Fprintf(r.w, "data: %s\n\n", b); err != nil {
			return nil // who is gone does not listen; the context ends with it
		}
		return flow.Flush()
	})
	if begun {
		return nil
	}
	return err
}
