package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"ore"
	"ore/node/kit"
	"ore/node/lazy"
)

// maxBody bounds what a caller can make the agent hold: a job's list of some
// thousand machines.
const maxBody = 4 << 20

// handler returns the interface; see the package's page.
func (a *Agent) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /v1/host", a.known(func(_ caller, w http.ResponseWriter, r *http.Request) {
		f, err := a.facts(r.Context())
		reply(w, f, err)
	}))
	mux.Handle("POST /v1/renew", a.known(func(who caller, w http.ResponseWriter, r *http.Request) {
		var v Renewal
		err := read(w, r, &v)
		reply(w, a.renew(who, v), err)
	}))
	mux.Handle("POST /v1/jobs/{id}", a.known(func(who caller, w http.ResponseWriter, r *http.Request) {
		j, err := a.open(who, r.PathValue("id"))
		var g Grip
		if err == nil {
			g, err = a.make(r.Context(), j)
		}
		reply(w, g, err)
	}))
	mux.Handle("DELETE /v1/jobs/{id}", a.owned(func(j *job, w http.ResponseWriter, _ *http.Request) {
		a.mu.Lock()
		j.leaving = true
		a.mu.Unlock()
		reply(w, struct{}{}, a.release(j))
	}))
	a.handleBlobs(mux)
	mux.Handle("POST /v1/jobs/{id}/reach", a.owned(serveReach))
	mux.Handle("POST /v1/jobs/{id}/offers/{digest}", a.owned(a.serveOffer))
	mux.Handle("POST /v1/jobs/{id}/boot", a.owned(a.serveBoot))
	mux.Handle("PUT /v1/jobs/{id}/peers", a.owned(func(j *job, w http.ResponseWriter, r *http.Request) {
		var p Peers
		err := read(w, r, &p)
		if err == nil {
			j.far.set(p)
		}
		reply(w, struct{}{}, err)
	}))
	mux.Handle("GET /v1/jobs/{id}/node/v1/wire", a.known(a.serveWire))
	mux.Handle("/v1/jobs/{id}/node/", a.owned(func(j *job, w http.ResponseWriter, r *http.Request) { a.pass(j, w, r) }))
	return mux
}

// handleBlobs is the part of the interface that is about blobs.
func (a *Agent) handleBlobs(mux *http.ServeMux) {
	mux.Handle("POST /v1/jobs/{id}/blobs", a.owned(func(j *job, w http.ResponseWriter, r *http.Request) {
		var v Wanted
		err := read(w, r, &v)
		var l Lacking
		if err == nil {
			l.Blobs, err = a.want(r.Context(), j, v.Blobs)
		}
		reply(w, l, err)
	}))
	mux.Handle("POST /v1/jobs/{id}/blobs/{digest}", a.owned(func(j *job, w http.ResponseWriter, r *http.Request) {
		d, err := ore.ParseDigest(r.PathValue("digest"))
		if err == nil {
			err = a.keep(r.Context(), j, d)
		}
		reply(w, struct{}{}, err)
	}))
	mux.Handle("PUT /v1/jobs/{id}/blobs/{digest}", a.owned(func(j *job, w http.ResponseWriter, r *http.Request) {
		d, err := ore.ParseDigest(r.PathValue("digest"))
		if err == nil {
			err = a.blobs.store.PutStream(r.Context(), d, r.Body)
		}
		if err == nil {
			err = a.hold(r.Context(), j, d)
		}
		reply(w, struct{}{}, err)
	}))
	mux.Handle("POST /v1/jobs/{id}/coming", a.owned(func(j *job, w http.ResponseWriter, r *http.Request) {
		var v []ComingBlob
		err := read(w, r, &v)
		var s Shown
		if err == nil {
			s.Paths, err = a.show(j, v)
		}
		reply(w, s, err)
	}))
	mux.Handle("DELETE /v1/jobs/{id}/coming", a.owned(func(j *job, w http.ResponseWriter, _ *http.Request) {
		j.miss()
		reply(w, struct{}{}, nil)
	}))
	mux.Handle("GET /v1/jobs/{id}/coming/{digest}", a.owned(func(j *job, w http.ResponseWriter, r *http.Request) {
		d, err := ore.ParseDigest(r.PathValue("digest"))
		var t lazy.Touched
		if err == nil {
			t, err = j.touched(d)
		}
		reply(w, t, err)
	}))
}

// known serves who has a certificate, which is everybody who comes so far.
func (a *Agent) known(serve func(caller, http.ResponseWriter, *http.Request)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := callerOf(r.TLS)
		if err != nil {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		a.mu.Lock()
		a.called, a.heard = time.Now(), true // the first call ends the time that there is for it
		a.mu.Unlock()
		serve(who, w, r)
	})
}

// owned serves the owner of the job in the path.
func (a *Agent) owned(serve func(*job, http.ResponseWriter, *http.Request)) http.Handler {
	return a.known(func(who caller, w http.ResponseWriter, r *http.Request) {
		j, err := a.find(who, r.PathValue("id"))
		if err != nil {
			reply(w, nil, err)
			return
		}
		serve(j, w, r)
	})
}

// serveReach tries a connection to the caller, and to nobody else.
func serveReach(_ *job, w http.ResponseWriter, r *http.Request) {
	var v Reach
	err := read(w, r, &v)
	if err == nil {
		from, ferr := netip.ParseAddrPort(r.RemoteAddr)
		to, terr := netip.ParseAddrPort(v.Addr)
		if err = errors.Join(ferr, terr); err == nil && from.Addr().Unmap() != to.Addr().Unmap() {
			err = fmt.Errorf("reach %s: you come from %s", to.Addr(), from.Addr())
		}
	}
	if err == nil {
		d := net.Dialer{Timeout: reachTime}
		var c net.Conn
		if c, err = d.DialContext(r.Context(), "tcp", v.Addr); err == nil {
			c.Close()
		}
	}
	reply(w, struct{}{}, err)
}

func (a *Agent) serveOffer(j *job, w http.ResponseWriter, r *http.Request) {
	d, err := ore.ParseDigest(r.PathValue("digest"))
	if err == nil {
		err = a.hold(r.Context(), j, d)
	}
	if err != nil {
		reply(w, nil, err)
		return
	}
	b, err := a.blobs.offer(r.Context(), d)
	reply(w, b, err)
}

func (a *Agent) serveBoot(j *job, w http.ResponseWriter, r *http.Request) {
	var k kit.Kit
	if err := read(w, r, &k); err != nil {
		reply(w, nil, err)
		return
	}
	b, err := a.lay(r.Context(), j, k)
	reply(w, b, err)
}

// serveWire is the way to commands, which agents that the owner named have too.
func (a *Agent) serveWire(who caller, w http.ResponseWriter, r *http.Request) {
	j, ok := a.peer(who, r.PathValue("id"))
	if !ok {
		var err error
		if j, err = a.find(who, r.PathValue("id")); err != nil {
			reply(w, nil, err)
			return
		}
	}
	a.pass(j, w, r)
}

// pass gives a request to the job's supervisor.
func (a *Agent) pass(j *job, w http.ResponseWriter, r *http.Request) {
	j.making.Lock()
	p := j.proxy
	j.making.Unlock()
	if p == nil {
		reply(w, nil, fmt.Errorf("job %s: %w", j.id, ErrGone))
		return
	}
	http.StripPrefix("/v1/jobs/"+j.id+nodePart, p).ServeHTTP(w, r)
}

// read reads a request's body.
func read(w http.ResponseWriter, r *http.Request, v any) error {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	return nil
}

func reply(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		v = failure{Error: err.Error(), Gone: errors.Is(err, ErrGone)}
	}
	// A client that is gone cannot be told anything.
	_ = json.NewEncoder(w).Encode(v)
}
