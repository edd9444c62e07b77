package installing

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"ore"
	"ore/image"
	"ore/install/recipe"
)

// DepotFlag is the flag of 'ore run' that sets [Maker.Depot].
const DepotFlag = "install-depot"

// Link is the way from a depot to who asks it, as narrow as it is made: what
// stands for a site's uplink where all machines are on one host.
type Link struct {
	Rate int64 // bits a second; 0 does not bound it
	// Once has each byte of a layer cross the link once, the first time that it is
	// asked for: all who ask read it as it comes, as from a host that relays it.
	Once bool

	mu      sync.Mutex // guards what follows
	free    time.Time  // when what crosses now has crossed
	crossed int64
	came    map[ore.Digest]int64 // of layers, how far they have come
}

// piece is what crosses a link at once: small enough that those who share it come
// forward together.
const piece = 16 << 10

// Crossed returns how many bytes have crossed the link.
func (l *Link) Crossed() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.crossed
}

// cross waits until n bytes have crossed.
func (l *Link) cross(ctx context.Context, n int64) error {
	l.mu.Lock()
	l.crossed += n
	now := time.Now()
	if l.free.Before(now) {
		l.free = now
	}
	if l.Rate > 0 {
		l.free = l.free.Add(time.Duration(float64(n) * 8 / float64(l.Rate) * float64(time.Second)))
	}
	until := l.free.Sub(now)
	l.mu.Unlock()
	if until <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(until)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// reach waits until the first end bytes of a layer have crossed, for all who ask.
func (l *Link) reach(ctx context.Context, d ore.Digest, end int64) error {
	for {
		l.mu.Lock()
		if l.came == nil {
			l.came = map[ore.Digest]int64{}
		}
		n := min(piece, end-l.came[d])
		if n > 0 { // this piece is mine
			l.came[d] += n
		}
		l.mu.Unlock()
		if n <= 0 {
			return ctx.Err()
		}
		if err := l.cross(ctx, n); err != nil {
			return err
		}
	}
}

// writer lets what is answered cross the link.
type writer struct {
	http.ResponseWriter
	ctx  context.Context
	link *Link
}

// Write writes in pieces, each of which crosses first.
func (w writer) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		part := p[:min(piece, len(p))]
		if err := w.link.cross(w.ctx, int64(len(part))); err != nil {
			return n, err
		}
		k, err := w.ResponseWriter.Write(part)
		n += k
		if err != nil {
			return n, err
		}
		p = p[k:]
	}
	return n, nil
}

// follower reads a layer as it crosses the link.
type follower struct {
	*os.File
	ctx    context.Context
	link   *Link
	digest ore.Digest
	at     int64
}

// Read reads a piece at most.
func (f *follower) Read(p []byte) (int, error) {
	n, err := f.File.Read(p[:min(piece, len(p))])
	f.at += int64(n)
	if n == 0 {
		return n, err
	}
	if err := f.link.reach(f.ctx, f.digest, f.at); err != nil {
		return 0, err
	}
	return n, err
}

// Seek goes to where an answer begins.
func (f *follower) Seek(offset int64, whence int) (at int64, err error) {
	f.at, err = f.File.Seek(offset, whence)
	return f.at, err
}

// Serve is a depot for the machines of jobs like this, which name it as their
// Depot: it gives the layers of img and the packages of its environment at l,
// behind a link, until ctx ends. Nobody is kept out: who knows the digest of a
// layer gets it.
func (m Maker) Serve(ctx context.Context, l net.Listener, img image.Manifest, link *Link) (err error) {
	s := &stock{files: map[ore.Digest]string{}}
	defer func() { err = errors.Join(err, s.release()) }()
	for _, from := range []recipe.Strategy{recipe.Whole, recipe.Packages} {
		m.From = from
		if _, err := m.recipe(ctx, s, img); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	d := &depot{files: s.files, proxy: s.proxy}
	server := &http.Server{Handler: d.behind(link), ReadHeaderTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err = server.Serve(l); errors.Is(err, http.ErrServerClosed) {
		err = nil
	}
	return errors.Join(err, s.proxy.Close())
}

// behind returns the depot behind a link.
func (d *depot) behind(link *Link) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /blobs/sha256/{hex}", func(w http.ResponseWriter, r *http.Request) {
		if !link.Once {
			d.blob(writer{w, r.Context(), link}, r)
			return
		}
		d.relay(w, r, link)
	})
	if d.proxy != nil {
		packages := http.StripPrefix("/packages", d.proxy)
		mux.HandleFunc("/packages/", func(w http.ResponseWriter, r *http.Request) {
			packages.ServeHTTP(writer{w, r.Context(), link}, r)
		})
	}
	return mux
}

// relay gives a layer as it crosses the link for the first time.
func (d *depot) relay(w http.ResponseWriter, r *http.Request, link *Link) {
	digest := ore.Digest("sha256:" + r.PathValue("hex"))
	path, ok := d.files[digest]
	if !ok {
		http.NotFound(w, r)
		return
	}
	f, err := os.Open(path)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer f.Close()
	var from io.ReadSeeker = &follower{File: f, ctx: r.Context(), link: link, digest: digest}
	w.Header().Set("ETag", `"`+digest.Hex()+`"`)
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(struct{ http.ResponseWriter }{w}, r, "", time.Time{}, from)
}
