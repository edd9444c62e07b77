package installing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"ore"
	"ore/image"
	"ore/install/recipe"
)

// Of what machines that boot from the network install, an image is kept as well
// (package install/capture). All that install one environment are told an address
// that ends in the environment's key; which one of them sends is decided when the
// first asks, by who serves them, and knows who asks. What may be sent stands in their
// folder as
//
//	captured-HEX.json  the environment with this key, and how large a disk it is for
const (
	capturedPrefix = "captured-"
	// sendTime is how long a machine that was told to send the image keeps others from
	// it: the packages of the largest environments are installed within it on the
	// slowest machines, and one whose power is lost is replaced at last.
	sendTime = 2 * time.Hour
)

// sending is what one environment's image is taken for.
type sending struct {
	Environment ore.Environment
	Most        int64 // bytes
}

func capturedOf(env ore.Environment) string {
	return capturedPrefix + strings.TrimPrefix(string(env.Key()), "sha256:") + packagesSuffix
}

// capture has h send the image of what it installs, if nobody else does by then and
// there is none: r is given the address.
func (n *Network) capture(ctx context.Context, r *recipe.Recipe, h Host, most int64) error {
	if n.Captured == "" || h.Discard || r.Finished() != nil {
		return nil
	}
	if _, err := n.Site.Cache.Find(ctx, r.Environment.Key()); !errors.Is(err, image.ErrMissing) {
		return err
	}
	b, err := json.Marshal(sending{r.Environment, most})
	if err != nil {
		return err
	}
	r.Capture = n.Captured + "/" + strings.TrimPrefix(string(r.Environment.Key()), "sha256:")
	return n.write(capturedOf(r.Environment), b)
}

// Taker takes the images that machines send: of each environment one. It is an
// http.Handler below the address of Captured. Make one with Take, and Close it.
type Taker struct {
	network *Network
	who     func(*http.Request) string
	watch   ore.Watcher
	mux     *http.ServeMux
	now     func() time.Time
	ctx     context.Context // of what goes on beside requests
	cancel  context.CancelFunc
	ending  sync.WaitGroup

	mu   sync.Mutex         // guards from, and that nothing more goes on beside once it is closed
	from map[string]*sender // by key, which is without its algorithm's name
}

// sender is the machine that sends an environment's image.
type sender struct {
	name  string
	until time.Time // when another may take its place
	image *capturing
	ended bool // its image came whole, and is looked at
}

// Take returns what takes images from machines whose name who knows.
func (n *Network) Take(who func(*http.Request) string, watch ore.Watcher) *Taker {
	t := &Taker{network: n, who: who, watch: watch, mux: http.NewServeMux(), now: time.Now, from: map[string]*sender{}}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.mux.HandleFunc("POST /{key}", t.ask)
	t.mux.HandleFunc("PUT /{key}", t.put)
	t.mux.HandleFunc("PUT /{key}/sha256/{hex}", t.put)
	return t
}

// ServeHTTP implements http.Handler.
func (t *Taker) ServeHTTP(w http.ResponseWriter, r *http.Request) { t.mux.ServeHTTP(w, r) }

// Close ends what is sent, and the look at what came.
func (t *Taker) Close() error {
	t.mu.Lock()
	t.cancel()
	t.mu.Unlock()
	t.ending.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.from {
		s.image.close()
	}
	clear(t.from)
	return nil
}

// errOther is why a machine's image is not wanted.
var errOther = errors.New("it is not wanted")

// hexKey is the key of an environment without its algorithm's name.
var hexKey = regexp.MustCompile(`^[0-9a-f]{64}$`)

// ask says whether a machine is to send its image.
func (t *Taker) ask(w http.ResponseWriter, r *http.Request) {
	_, err := t.sender(r)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		http.NotFound(w, r)
	case errors.Is(err, errOther):
		http.Error(w, err.Error(), http.StatusConflict)
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// sender returns who sends the image that a request is about, which is the machine
// that asks or nobody.
func (t *Taker) sender(r *http.Request) (*sender, error) {
	key, name := r.PathValue("key"), t.who(r)
	if !hexKey.MatchString(key) || name == "" {
		return nil, fs.ErrNotExist
	}
	b, err := os.ReadFile(filepath.Join(t.network.kept(), capturedPrefix+key+packagesSuffix))
	if err != nil {
		return nil, err
	}
	var s sending
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now, there := t.now(), t.from[key]
	switch {
	case t.ctx.Err() != nil:
		return nil, t.ctx.Err()
	case there != nil && (there.ended || there.name != name && now.Before(there.until)):
		return nil, fmt.Errorf("%w: %s sends the image of %s", errOther, there.name, s.Environment.Key().Short())
	case there != nil && there.name == name:
		there.until = now.Add(sendTime)
		return there, nil
	case there != nil:
		there.image.close()
		delete(t.from, key)
	}
	m := Maker{Site: t.network.Site, Watch: t.watch}
	m.Job.Machines.Disk = s.Most
	c := m.capture(t.ctx, recipe.Recipe{Environment: s.Environment})
	if c == nil {
		return nil, fmt.Errorf("%w: there is an image of %s", errOther, s.Environment.Key().Short())
	}
	t.from[key] = &sender{name: name, until: now.Add(sendTime), image: c}
	return t.from[key], nil
}

// put takes a part of an image.
func (t *Taker) put(w http.ResponseWriter, r *http.Request) {
	s, err := t.sender(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	key := r.PathValue("key")
	http.StripPrefix("/"+key, s.image.receiver).ServeHTTP(w, r)
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.ended || !s.image.receiver.Whole() || t.ctx.Err() != nil {
		return
	}
	s.ended = true
	t.ending.Go(func() {
		s.image.close()
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.from[key] == s {
			delete(t.from, key)
		}
	})
}
