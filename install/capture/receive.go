package capture

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"

	"ore"
	"ore/image"
)

// maxManifest bounds what is read of a manifest, as package image does.
const maxManifest = 64 << 20

// ErrNothing is why no image was kept where the machine sent none.
var ErrNothing = errors.New("the machine sent no image")

// Config says what a Receiver takes.
type Config struct {
	Environment ore.Environment // what the machine installs
	Store       *image.Store    // takes the layers
	Most        int64           // bytes of all layers, and of all files in them
	// Room, if not nil, makes sure that there is room for so many bytes.
	Room func(ctx context.Context, bytes int64) (release func(), err error)
	Keep func(ctx context.Context, m image.Manifest) error // is given the image that was looked at
}

// Receiver takes one image from one machine. It is an http.Handler of the requests
// that the package describes, relative to the address. Make one with New, and
// Close it.
type Receiver struct {
	config Config
	ctx    context.Context // of what goes on beside requests
	cancel context.CancelFunc
	mux    *http.ServeMux

	mu      sync.Mutex // guards what follows
	m       *image.Manifest
	text    ore.Digest // of m as it was sent
	left    []byte     // the manifest that Begin has read
	release func()     // of the room
	state   state
	err     error // why nothing is kept
	looking sync.WaitGroup
}

// state is how far an image has come.
type state int

const (
	coming state = iota
	looked       // it is being looked at, or has been
	closed
)

// New returns a receiver. What goes on beside requests ends with ctx.
func New(ctx context.Context, c Config) *Receiver {
	v := &Receiver{config: c, mux: http.NewServeMux(), err: ErrNothing, release: func() {}}
	v.ctx, v.cancel = context.WithCancel(ctx)
	v.mux.HandleFunc("POST /{$}", func(http.ResponseWriter, *http.Request) {}) // whoever knows the address is wanted
	v.mux.HandleFunc("PUT /{$}", v.manifest)
	v.mux.HandleFunc("PUT /sha256/{hex}", v.layer)
	return v
}

// ServeHTTP implements http.Handler.
func (v *Receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "" {
		r.URL.Path = "/"
	}
	v.mux.ServeHTTP(w, r)
}

// Close waits until what has come is looked at and kept, and says why nothing is
// kept, if nothing is. Nothing is taken any more.
func (v *Receiver) Close() error {
	v.mu.Lock()
	if v.state == coming {
		v.state = closed
	}
	v.mu.Unlock()
	v.looking.Wait()
	v.cancel()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.release()
	v.release = func() {}
	return v.err
}

// Whole says whether all of the image has come.
func (v *Receiver) Whole() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.state == looked
}

// refusal is an answer that is an error of the machine's.
func refusal(w http.ResponseWriter, err error) {
	http.Error(w, err.Error(), http.StatusUnprocessableEntity)
}

// manifest takes the manifest.
func (v *Receiver) manifest(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxManifest))
	if err != nil {
		refusal(w, err)
		return
	}
	wanted, err := v.take(r.Context(), b)
	if err != nil {
		refusal(w, err)
		return
	}
	if wanted == nil {
		wanted = []ore.Digest{}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(wanted) // who does not hear it asks again
}

// take notes a manifest and returns which layers lack. Once none does, the image
// is looked at.
func (v *Receiver) take(ctx context.Context, b []byte) ([]ore.Digest, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.state == closed:
		return nil, errors.New("no image is taken any more")
	case v.m == nil:
		if err := v.accept(ctx, b); err != nil {
			v.err = err
			return nil, err
		}
	case v.text != ore.DigestOf(b):
		return nil, errors.New("another manifest was sent before")
	}
	if v.state == looked {
		return nil, nil
	}
	var wanted []ore.Digest
	for _, l := range v.m.Layers {
		_, err := v.config.Store.Verified(ctx, l.Digest)
		switch {
		case errors.Is(err, image.ErrMissing) || errors.Is(err, image.ErrRotten):
			wanted = append(wanted, l.Digest)
		case err != nil:
			return nil, err
		}
	}
	if len(wanted) == 0 {
		v.state = looked
		m := *v.m
		v.looking.Go(func() { v.look(m) })
	}
	return wanted, nil
}

// accept checks a manifest for what can be seen of it alone.
func (v *Receiver) accept(ctx context.Context, b []byte) error {
	m, err := image.DecodeManifest(b)
	if err != nil {
		return err
	}
	if m.Key != v.config.Environment.Key() {
		return fmt.Errorf("the image is of %s: %s was to be installed", m.Key.Short(), v.config.Environment.Key().Short())
	}
	var sum int64
	for _, l := range m.Layers {
		if sum += l.Size; l.Size > v.config.Most || sum > v.config.Most {
			return fmt.Errorf("the layers have more than %d bytes, which is all that the machine has", v.config.Most)
		}
	}
	if v.config.Room != nil {
		release, err := v.config.Room(ctx, sum)
		if err != nil {
			return err
		}
		v.release = release
	}
	v.m, v.text, v.err = &m, ore.DigestOf(b), errors.New("the machine did not send all layers")
	return nil
}

// layer takes a layer that the manifest names.
func (v *Receiver) layer(w http.ResponseWriter, r *http.Request) {
	d := ore.Digest("sha256:" + r.PathValue("hex"))
	size, err := v.named(d)
	if err != nil {
		refusal(w, err)
		return
	}
	if err := v.config.Store.PutStream(r.Context(), d, http.MaxBytesReader(w, r.Body, size)); err != nil {
		refusal(w, err)
		return
	}
	w.WriteHeader(http.StatusOK)
}

// named returns the size of a layer that may come.
func (v *Receiver) named(d ore.Digest) (int64, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.m != nil && v.state == coming {
		for _, l := range v.m.Layers {
			if l.Digest == d {
				return l.Size, nil
			}
		}
	}
	return 0, fmt.Errorf("layer %s was not asked for", d.Short())
}

// look looks at the image, and has it kept.
func (v *Receiver) look(m image.Manifest) {
	m.Environment = v.config.Environment
	m, err := Look(v.ctx, v.config.Store, m, v.config.Most)
	if err == nil {
		err = v.config.Keep(v.ctx, m)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.err = err
}
