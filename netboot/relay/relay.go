package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ore"
	"ore/netboot/link"
)

const (
	// maxMemory is what a machine keeps for others at most.
	maxMemory = 1 << 30
	// leastMemory is what it keeps in any case: what is asked for ahead, by some.
	leastMemory = 16 * Chunk
	// joinTime is how long the server may take to say who is before, or that it does
	// not know the sums yet.
	joinTime = 10 * time.Second
	// joinWait is how long who asks for a blob waits for that: less than anybody waits
	// for a first byte. The server is asked for the blob itself then, and for what is
	// before each joinAgain until it says so.
	joinWait  = 3 * time.Second
	joinAgain = time.Second
	// dialTime is how long a machine may take to answer at all.
	dialTime = 5 * time.Second
	// maxConnections and maxPerAddress bound those who ask here: the next machines,
	// by some requests each.
	maxConnections = 64
	maxPerAddress  = 16
	// maxAsking is how many connections this machine has to one place, fewer than
	// that takes: those that are behind it may want something each.
	maxAsking = 12
	// headerTime is how long they may take to say what they want, idleTime how long
	// they may say nothing between two requests, and answerTime how long they may
	// take for what they asked for.
	headerTime = 10 * time.Second
	idleTime   = time.Minute
	answerTime = 5 * time.Minute
)

// Config says where a machine gets what it passes on.
type Config struct {
	Chain     string            // address at which the server answers who begins with a blob, once its digest is appended
	Blobs     string            // address at which it gives a blob, once its digest is appended
	Memory    int64             // bytes kept for other machines; 0: as the package's documentation says
	Transport http.RoundTripper // asks; nil: one of its own
}

// Relay is the machine's half. It is what blobs are asked for by: an
// http.RoundTripper, which has what is at Config.Blobs from the other machines, and
// anything else from where it is. Its methods may be called concurrently.
type Relay struct {
	config Config
	base   http.RoundTripper
	home   *place
	port   uint16 // 0 for none
	server *http.Server
	ctx    context.Context // of what is fetched, for all who wait
	cancel context.CancelFunc
	all    sync.WaitGroup // of fetches, of the server, and of who is given something

	given atomic.Int64
	came  struct{ home, near atomic.Int64 }

	mu      sync.Mutex // guards what follows
	closed  bool
	blobs   map[ore.Digest]*blob
	joining map[ore.Digest]chan struct{} // blobs that the server is asked about; closed at the end of that
	places  map[string]*place            // neighbours, by address
	pieces  map[key]*piece               // that are here, or on their way
	held    []key                        // those that are here, the oldest first
	used    int64                        // their bytes
	takes   time.Duration                // this machine for a chunk, of late
}

// Start begins to pass on what is asked for, until Close. It listens at the address
// by which this machine has its server.
func Start(ctx context.Context, c Config) (*Relay, error) {
	r := newRelay(ctx, c)
	if err := r.listen(); err != nil {
		return nil, errors.Join(fmt.Errorf("pass on to other machines: %w", err), r.Close())
	}
	return r, nil
}

// newRelay makes one that only asks.
func newRelay(ctx context.Context, c Config) *Relay {
	if c.Memory == 0 {
		c.Memory = min(available()/4, maxMemory)
	}
	c.Memory = max(c.Memory, leastMemory)
	r := &Relay{config: c, base: c.Transport, home: newPlace(c.Blobs),
		blobs: map[ore.Digest]*blob{}, joining: map[ore.Digest]chan struct{}{}, places: map[string]*place{}, pieces: map[key]*piece{}}
	if r.base == nil {
		r.base = &http.Transport{DialContext: (&net.Dialer{Timeout: dialTime}).DialContext, MaxConnsPerHost: maxAsking, MaxIdleConnsPerHost: maxAsking, IdleConnTimeout: idleTime / 2}
	}
	r.ctx, r.cancel = context.WithCancel(ctx)
	return r
}

// listen begins to give.
func (r *Relay) listen() error {
	home, err := url.Parse(r.config.Blobs)
	if err != nil {
		return err
	}
	probe, err := net.Dial("udp4", home.Host) // sends nothing; it says by which address this machine is there
	if err != nil {
		return err
	}
	host, _, err := net.SplitHostPort(probe.LocalAddr().String())
	probe.Close()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp4", net.JoinHostPort(host, "0"))
	if err != nil {
		return err
	}
	r.serve(l)
	return nil
}

// serve gives to those who come.
func (r *Relay) serve(l net.Listener) {
	r.port = uint16(l.Addr().(*net.TCPAddr).Port)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /blob/{digest}", r.give)
	r.server = &http.Server{Handler: mux, ReadHeaderTimeout: headerTime, IdleTimeout: idleTime, WriteTimeout: answerTime}
	r.all.Go(func() { r.server.Serve(link.Bound(l, maxConnections, maxPerAddress)) }) // it ends when it is closed, or the machine asks on and gives nothing
}

// available is how much memory the kernel has to give, in bytes (proc_meminfo(5)).
func available() int64 {
	b, _ := os.ReadFile("/proc/meminfo")
	_, rest, _ := strings.Cut(string(b), "MemAvailable:")
	line, _, _ := strings.Cut(rest, "\n")
	n, _ := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(line, "kB")), 10, 64)
	return n << 10
}

// Close ends what is asked for and given, and waits for that.
func (r *Relay) Close() error {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	var err error
	if r.server != nil {
		err = r.server.Close()
	}
	r.all.Wait()
	if t, ok := r.base.(*http.Transport); ok && r.config.Transport == nil {
		t.CloseIdleConnections()
	}
	return err
}

// Counts says how many bytes came, and from where, and how many others were given.
type Counts struct{ Home, Near, Given int64 }

// Counts returns how much it was until this moment.
func (r *Relay) Counts() Counts {
	return Counts{Home: r.came.home.Load(), Near: r.came.near.Load(), Given: r.given.Load()}
}

// RoundTrip answers who asks for a range of a blob. Where the server knows of no
// chunks, or not yet, it is asked itself.
func (r *Relay) RoundTrip(req *http.Request) (*http.Response, error) {
	name, ok := strings.CutPrefix(req.URL.String(), r.config.Blobs)
	from, to, ranged := span(req.Header.Get("Range"))
	digest, err := ore.ParseDigest(name)
	if !ok || !ranged || err != nil || req.Method != http.MethodGet {
		return r.base.RoundTrip(req)
	}
	b := r.blob(req.Context(), digest)
	if b == nil {
		return r.plainly(req, digest)
	}
	if from >= b.size {
		return r.base.RoundTrip(req)
	}
	to = min(to, b.size-1)
	body := &reader{ctx: req.Context(), blob: b, at: from, end: to + 1, most: ahead}
	switch err := body.load(); {
	case err != nil && r.known(digest) == nil:
		return r.base.RoundTrip(req) // the server has it no more, and says so itself
	case err != nil:
		return nil, err
	}
	h := http.Header{"Content-Range": {fmt.Sprintf("bytes %d-%d/%d", from, to, b.size)}}
	return &http.Response{Status: "206 Partial Content", StatusCode: http.StatusPartialContent, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, ContentLength: to + 1 - from, Request: req, Body: body}, nil
}

// span reads the header Range, of one range with both ends (RFC 9110, section 14.2).
func span(text string) (from, to int64, ok bool) {
	text, ok = strings.CutPrefix(text, "bytes=")
	first, last, ok2 := strings.Cut(text, "-")
	from, err := strconv.ParseInt(first, 10, 64)
	to, err2 := strconv.ParseInt(last, 10, 64)
	return from, to, ok && ok2 && err == nil && err2 == nil && from >= 0 && to >= from
}

// give gives a range of a blob to another machine.
func (r *Relay) give(w http.ResponseWriter, q *http.Request) {
	d, err := ore.ParseDigest(q.PathValue("digest"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	b := r.enter(d)
	if b == nil {
		http.NotFound(w, q)
		return
	}
	defer r.all.Done()
	g := &given{reader{ctx: q.Context(), blob: b, end: b.size}}
	if from, _, ok := span(q.Header.Get("Range")); ok && from < b.size {
		g.at = from
		if err := g.load(); err != nil {
			http.Error(w, errBehind.Error(), http.StatusBadGateway)
			return
		}
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, q, "", time.Time{}, g)
}

// enter returns what is known of a blob for one who is given of it, whom Close waits for
// until all is done; nil for nothing.
func (r *Relay) enter(d ore.Digest) *blob {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.blobs[d]
	if b == nil || r.closed {
		return nil
	}
	r.all.Add(1)
	return b
}
