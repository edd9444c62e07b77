package installing

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"ore"
	"ore/image"
)

// Bundle is files that follow each other in one blob, so that what is a hundred
// packages crosses the links between hosts as one.
type Bundle struct {
	Blob  ore.Digest // "" where there is no file
	Files map[ore.Digest]Span
}

// Span is where a file is in its bundle.
type Span struct{ At, Size int64 }

// Giver is a depot that a host has itself, of what its store has for an order.
// Make one with [Give].
type Giver struct {
	server *http.Server
	served chan error
	store  *image.Store
	coming map[ore.Digest]string
	order  *Order
}

// Give serves at l, until Close, what an order needs from the store:
//
//	GET /blobs/sha256/HEX       one of its blobs, or of its bundle's files
//	GET /packages/sha256/HEX    the same
//
// Of a blob that is coming still, coming says at which path it can be read: who asks
// for bytes that are not there waits for them.
func Give(l net.Listener, store *image.Store, coming map[ore.Digest]string, o *Order) *Giver {
	g := &Giver{served: make(chan error, 1), store: store, coming: coming, order: o}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /blobs/sha256/{hex}", g.give)
	mux.HandleFunc("GET /packages/sha256/{hex}", g.give)
	g.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { g.served <- g.server.Serve(l) }()
	return g
}

// Close ends the service, and with it all that are served.
func (g *Giver) Close() error {
	err := g.server.Close()
	if e := <-g.served; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// give serves one file, in ranges too. Who asks verifies it.
func (g *Giver) give(w http.ResponseWriter, r *http.Request) {
	d := ore.Digest("sha256:" + r.PathValue("hex"))
	blob, span, ok := g.order.find(d)
	if !ok {
		http.NotFound(w, r)
		return
	}
	f, err := g.open(blob)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer f.Close()
	if span.Size < 0 { // the whole blob
		info, err := f.Stat()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		span.Size = info.Size()
	}
	w.Header().Set("ETag", `"`+d.Hex()+`"`)
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, io.NewSectionReader(f, span.At, span.Size))
}

// open opens a blob, whole or coming.
func (g *Giver) open(d ore.Digest) (*os.File, error) {
	path := g.coming[d]
	if path == "" {
		var err error
		if path, err = g.store.Path(d); err != nil {
			return nil, err
		}
	}
	return os.Open(path)
}

// find says in which blob a file is, and where; a size below 0 means all of it.
func (o *Order) find(d ore.Digest) (blob ore.Digest, at Span, ok bool) {
	if o.Bundle != nil {
		if at, ok = o.Bundle.Files[d]; ok {
			return o.Bundle.Blob, at, true
		}
	}
	for _, b := range o.Blobs {
		if b == d {
			return d, Span{Size: -1}, true
		}
	}
	return "", at, false
}

// Needs lists the blobs that a host has to have for the order.
func (o *Order) Needs() []ore.Digest {
	all := []ore.Digest{o.Program}
	for _, l := range o.Image.Layers {
		all = append(all, l.Digest)
	}
	all = append(all, o.Blobs...)
	if o.Bundle != nil && o.Bundle.Blob != "" {
		all = append(all, o.Bundle.Blob)
	}
	return all
}

// Poured lists those of Needs that machines read once, from a device, and verify as
// a whole before anything starts that came of them: these may still come. What is
// given over the network is not among them: who waits there for long gives up. Nor is
// what they boot from, of which the installer may have a layer too.
func (o *Order) Poured() []ore.Digest {
	others := 3 + len(o.Image.Layers) // the disk, the kernel's modules and the program
	devices := o.Blobs[:min(len(o.Blobs), max(0, Devices-others))]
	return slices.DeleteFunc(slices.Clone(devices), func(d ore.Digest) bool {
		return slices.ContainsFunc(o.Image.Layers, func(l image.Layer) bool { return l.Digest == d })
	})
}

// Of returns the order for some of its machines.
func (o *Order) Of(names []string) *Order {
	few := *o
	few.Machines = map[string]Machine{}
	for _, n := range names {
		if m, ok := o.Machines[n]; ok {
			few.Machines[n] = m
		}
	}
	return &few
}
