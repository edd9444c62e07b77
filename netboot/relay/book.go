package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"ore"
)

const (
	// maxBooked is of how many blobs a book has the sums: those of a site's images,
	// and some MiB.
	maxBooked = 128
	// maxHolders is how many machines a list of the roster has at most.
	maxHolders = 4096
	// maxJoin is more than a machine says of itself.
	maxJoin = 1 << 10
)

// Book is the server's half: which machines began with which blob, in their order,
// and the sums of its chunks. What it knows is in memory: machines that have begun go
// on without it. Its methods may be called concurrently; Close ends it.
type Book struct {
	// Open opens a blob, and vouches for nothing: the bytes are compared with the
	// digest here. An error that is fs.ErrNotExist is told as such.
	Open func(context.Context, ore.Digest) (io.ReadSeekCloser, error)
	// Installs returns the name of the machine that a secret was given to, and false
	// unless that installs itself at this moment.
	Installs func(token string) (string, bool)
	// Tell tells people what a machine does.
	Tell func(machine, text string)

	all sync.WaitGroup // of what makes sums

	mu     sync.Mutex // guards what follows, and what entries have
	ctx    context.Context
	cancel context.CancelFunc
	closed bool
	blobs  map[ore.Digest]*entry
	order  []ore.Digest // of blobs, the oldest first
}

// entry is what a book has of one blob.
type entry struct {
	sums    *sums    // nil until somebody asks
	holders []holder // in the order of beginning
}

// holder is a machine that gives a blob.
type holder struct{ token, url string }

// ServeHTTP answers a machine that begins with a blob.
func (b *Book) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token := r.PathValue("token")
	name, ok := b.Installs(token)
	if !ok {
		http.Error(w, "no machine that installs itself has this token", http.StatusForbidden)
		return
	}
	digest, err := ore.ParseDigest(r.PathValue("digest"))
	var j join
	if err == nil {
		err = json.NewDecoder(io.LimitReader(r.Body, maxJoin)).Decode(&j)
	}
	at, err2 := netip.ParseAddrPort(r.RemoteAddr)
	if err = errors.Join(err, err2); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	e := b.entry(digest)
	answer := chain{}
	if answer.Sums, answer.Size, err = b.list(r.Context(), e, digest); err != nil {
		refuse(w, err)
		return
	}
	h := holder{token: token}
	if j.Port != 0 {
		h.url = "http://" + netip.AddrPortFrom(at.Addr().Unmap(), j.Port).String() + "/blob/"
	}
	var names []string
	answer.From, names = b.before(e, h)
	if len(names) > 0 {
		b.Tell(name, fmt.Sprintf("gets %s from %s, or else from here", digest.Short(), strings.Join(names, " or ")))
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // who is gone asks again
}

// refuse says that there is no list, or not yet.
func refuse(w http.ResponseWriter, err error) {
	code := http.StatusInternalServerError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		code = http.StatusNotFound
	case errors.Is(err, errNotReady):
		code = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	}
	http.Error(w, http.StatusText(code), code)
}

// entry returns what is known of a blob.
func (b *Book) entry(d ore.Digest) *entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.blobs[d]; e != nil {
		return e
	}
	if b.blobs == nil {
		b.blobs = map[ore.Digest]*entry{}
	}
	if len(b.order) >= maxBooked {
		delete(b.blobs, b.order[0])
		b.order = b.order[1:]
	}
	e := &entry{}
	b.blobs[d], b.order = e, append(b.order, d)
	return e
}

// before notes that a machine begins, and returns the machines before it, and their
// names. One that began before stays where it was: then no two have each other before
// themselves.
func (b *Book) before(e *entry, h holder) (from, names []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	mine := slices.IndexFunc(e.holders, func(o holder) bool { return o.token == h.token })
	if mine < 0 {
		if len(e.holders) >= maxHolders {
			e.holders = slices.Clone(e.holders[1:])
		}
		mine = len(e.holders)
		e.holders = append(e.holders, h)
	}
	e.holders[mine] = h // an installer that begins again has another port
	for i := mine - 1; i >= 0 && len(from) < Neighbours; i-- {
		name, ok := b.Installs(e.holders[i].token)
		switch {
		case !ok:
			e.holders = slices.Delete(e.holders, i, i+1)
		case e.holders[i].url != "":
			from, names = append(from, e.holders[i].url), append(names, name)
		}
	}
	return from, names
}
