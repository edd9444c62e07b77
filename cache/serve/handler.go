package serve

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ore"
	"ore/cache"
	"ore/cache/serve/wire"
	"ore/image"
)

// refusal is an error with the status that it has on the wire.
type refusal struct {
	status int
	err    error
}

func (r refusal) Error() string { return r.err.Error() }
func (r refusal) Unwrap() error { return r.err }

func refuse(status int, format string, args ...any) error {
	return refusal{status, fmt.Errorf(format, args...)}
}

// statusOf returns the status of an error.
func statusOf(err error) int {
	var r refusal
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &r):
		return r.status
	case errors.As(err, &large):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, image.ErrMissing), errors.Is(err, fs.ErrNotExist), errors.Is(err, errNoLease), errors.Is(err, errNoUpload):
		return http.StatusNotFound
	case errors.Is(err, image.ErrRotten):
		return http.StatusConflict
	case errors.Is(err, image.ErrUntrusted), errors.Is(err, image.ErrForged):
		return http.StatusForbidden
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT), errors.Is(err, cache.ErrNoSpace):
		return http.StatusInsufficientStorage
	case errors.Is(err, errManyLeases):
		return http.StatusTooManyRequests
	}
	return http.StatusInternalServerError
}

// request is one request of a known client.
type request struct {
	*http.Request
	w      http.ResponseWriter
	client Identity
}

// action answers a request. If it returns an error nothing was sent.
type action func(s *Server, r *request) error

// Handler returns what answers requests. Clients must come over TLS, where
// certificates are to count.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/health", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintln(w, `{"Healthy":true}`)
	})
	read := func(pattern string, a action) { mux.Handle(pattern, s.known(false, a)) }
	write := func(pattern string, a action) { mux.Handle(pattern, s.known(true, a)) }
	read("GET /v1/stats", (*Server).stats)
	read("GET /v1/images", (*Server).list)
	read("GET /v1/images/{key}", (*Server).find)
	read("POST /v1/candidates", (*Server).candidates)
	write("POST /v1/images", (*Server).register)
	write("DELETE /v1/images/{key}", (*Server).forget)
	read("GET /v1/blobs/{digest}", (*Server).blob)
	read("GET /v1/blobs/{digest}/chunks", (*Server).chunks)
	read("POST /v1/patches", (*Server).patch)
	write("POST /v1/uploads", (*Server).announce)
	write("GET /v1/uploads/{id}", (*Server).session)
	write("PUT /v1/uploads/{id}", (*Server).receive)
	write("POST /v1/uploads/{id}/commit", (*Server).commit)
	write("DELETE /v1/uploads/{id}", (*Server).giveUp)
	write("POST /v1/leases/{key}", (*Server).lease)
	write("PUT /v1/leases/{key}/{id}", (*Server).beat)
	write("DELETE /v1/leases/{key}/{id}", (*Server).release)
	write("GET /v1/leases/{key}/{id}", (*Server).hold)
	read("GET /v1/leases/{key}/events", (*Server).events)
	return mux
}

// known lets clients through that have the right.
func (s *Server) known(write bool, a action) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.ctx.Err() != nil {
			fail(w, refuse(http.StatusServiceUnavailable, "the server is being ended"))
			return
		}
		pace := http.NewResponseController(w)
		_ = pace.SetWriteDeadline(time.Time{}) // the one of the connection's last answer
		if r.ContentLength != 0 {
			// Small bodies must come soon; handlers of large ones set their own pace.
			_ = pace.SetReadDeadline(time.Now().Add(bodyTime))
		}
		i, err := s.identify(r)
		if err == nil && write && !i.Write {
			err = refuse(http.StatusForbidden, "%s may read only: ask the cache's owner for the right to write", i.Name)
		}
		if err == nil {
			err = a(s, &request{r, w, i})
		}
		if err != nil {
			fail(w, err)
		}
	})
}

// fail sends an error.
func fail(w http.ResponseWriter, err error) {
	h := w.Header()
	for _, name := range []string{"Content-Length", "Etag", "Cache-Control"} {
		h.Del(name)
	}
	h.Set("Content-Type", "application/json")
	if status := statusOf(err); status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	w.WriteHeader(statusOf(err))
	_ = json.NewEncoder(w).Encode(wire.Refusal{Error: err.Error()}) // who is gone does not read it
}

// identify finds out who asks.
func (s *Server) identify(r *http.Request) (Identity, error) {
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		i, ok, err := s.tokens.find(token)
		if err != nil {
			return i, err
		}
		if !ok {
			return i, refuse(http.StatusUnauthorized, "the token is not known here: ask the cache's owner for one (ore cache token add)")
		}
		return i, nil
	}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		c := r.TLS.VerifiedChains[0][0]
		i, err := ofCertificate(c)
		if err != nil {
			return i, refuse(http.StatusUnauthorized, "client certificate: %w", err)
		}
		ended, err := s.revoked.Has(i.Name, c.NotBefore.Add(clockSkew)) // see issue
		if err == nil && ended {
			err = refuse(http.StatusUnauthorized, "the certificate of %s was revoked: ask the cache's owner for another one (ore cache cert)", i.Name)
		}
		return i, err
	}
	return Identity{}, refuse(http.StatusUnauthorized, "neither a token nor a client certificate was shown")
}

// read reads a body of at most limit bytes.
func (r *request) read(limit int64) ([]byte, error) {
	b, err := io.ReadAll(http.MaxBytesReader(r.w, r.Body, limit))
	var large *http.MaxBytesError
	if err != nil && !errors.As(err, &large) {
		err = refuse(http.StatusBadRequest, "read body: %w", err)
	}
	return b, err
}

// decode reads a body of JSON of at most limit bytes.
func (r *request) decode(limit int64, to any) error {
	b, err := r.read(limit)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, to); err != nil {
		return refuse(http.StatusBadRequest, "body: %w", err)
	}
	return nil
}

// answer sends v as JSON.
func (r *request) answer(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return r.send("application/json", b)
}

// send sends the whole answer.
func (r *request) send(kind string, b []byte) error {
	r.w.Header().Set("Content-Type", kind)
	r.w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	r.pace(int64(len(b)))
	_, _ = r.w.Write(b) // who is gone does not read it
	return nil
}

// pace gives the answer as long as n bytes may take.
func (r *request) pace(n int64) {
	most := stall + time.Duration(n/leastRate)*time.Second
	_ = http.NewResponseController(r.w).SetWriteDeadline(time.Now().Add(most))
}

func (r *request) key() (ore.Key, error) {
	k, err := ore.ParseKey(r.PathValue("key"))
	if err != nil {
		return k, refusal{http.StatusBadRequest, err}
	}
	return k, nil
}

func (r *request) digest() (ore.Digest, error) {
	d, err := ore.ParseDigest(r.PathValue("digest"))
	if err != nil {
		return d, refusal{http.StatusBadRequest, err}
	}
	return d, nil
}

// stats tells about the client's own namespace.
func (s *Server) stats(r *request) error {
	p, err := s.space(r.Context(), r.client.Namespace)
	if err != nil {
		return err
	}
	all, err := p.List(r.Context())
	if err != nil {
		return err
	}
	blobs, err := p.Blobs()
	if err != nil {
		return err
	}
	st := wire.Stats{Namespace: p.name, Images: len(all), Blobs: len(blobs), Quota: s.Quota,
		Leases: s.leases.count(), Started: s.started, Served: s.served.Load()}
	for _, n := range blobs {
		st.Bytes += n
	}
	st.Uploads, st.Reserved = s.reserved(p.name)
	return r.answer(st)
}

// beyond returns a context that ends with the request and with the server.
func (s *Server) beyond(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}
