package node

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"

	"ore"
)

// maxStart bounds the body of a start: it carries a manifest.
const maxStart = 128 << 20

// Handler returns the node's HTTP interface; see the package's page. Who can
// reach it can do everything with the job, so it is served where only the
// job's owner can connect.
func (n *Node) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/start", n.serveStart)
	mux.HandleFunc("GET /v1/machines", func(w http.ResponseWriter, _ *http.Request) { reply(w, n.Machines(), nil) })
	mux.HandleFunc("GET /v1/wire", n.serveWire)
	mux.HandleFunc("GET /v1/machines/{name}/dial", n.serveDial)
	mux.HandleFunc("PUT /v1/machines/{name}/files", func(w http.ResponseWriter, r *http.Request) {
		reply(w, struct{}{}, n.Put(r.Context(), r.PathValue("name"), r.FormValue("dir"), r.Body))
	})
	mux.HandleFunc("GET /v1/machines/{name}/files", n.serveGet)
	mux.HandleFunc("GET /v1/machines/{name}/console", func(w http.ResponseWriter, r *http.Request) {
		from, _ := strconv.ParseInt(r.FormValue("from"), 10, 64) // without one it is the beginning
		s, err := n.Console(r.PathValue("name"), from)
		reply(w, s, err)
	})
	mux.HandleFunc("POST /v1/publish", func(w http.ResponseWriter, r *http.Request) {
		var p ore.Port
		err := json.NewDecoder(io.LimitReader(r.Body, maxStart)).Decode(&p)
		if err == nil {
			p, err = n.Publish(p)
		}
		reply(w, p, err)
	})
	mux.HandleFunc("DELETE /v1/machines", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, struct{}{}, n.Release())
	})
	n.serveTrunks(mux)
	return mux
}

// failure is the body of an answer that is an error.
type failure struct {
	Error   string
	Unknown bool `json:",omitempty"` // the error is ErrUnknown
}

func reply(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		v = failure{Error: err.Error(), Unknown: errors.Is(err, ErrUnknown)}
	}
	// A client that is gone cannot be told anything.
	_ = json.NewEncoder(w).Encode(v)
}

// serveStart answers with one Update a line.
func (n *Node) serveStart(w http.ResponseWriter, r *http.Request) {
	var s Start
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxStart)).Decode(&s); err != nil {
		reply(w, nil, err)
		return
	}
	var mu sync.Mutex // one line at a time
	enc, flush := json.NewEncoder(w), http.NewResponseController(w)
	tell := func(u Update) {
		mu.Lock()
		defer mu.Unlock()
		// A client that is gone ends the request's context, and so the start.
		_ = enc.Encode(u)
		_ = flush.Flush()
	}
	started, err := n.Start(r.Context(), s, func(e ore.Event) { tell(Update{Event: &e}) })
	if err == nil {
		tell(Update{Started: started})
		return
	}
	u := Update{Error: err.Error()}
	var se *StartError
	if errors.As(err, &se) {
		u.Error, u.Machine, u.Stage, u.Console = se.Cause.Error(), se.Machine, se.Stage, se.Console
	}
	tell(u)
}

// trailer is the HTTP trailer that says how a stream of files ended.
const trailer = "Ore-Error"

func (n *Node) serveGet(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		reply(w, nil, err)
		return
	}
	w.Header().Set("Trailer", trailer)
	w.Header().Set("Content-Type", "application/x-tar")
	err := n.Get(r.Context(), r.PathValue("name"), r.Form.Get("dir"), r.Form["pattern"], w)
	if err != nil {
		w.Header().Set(trailer, strconv.Quote(err.Error()))
	}
}
