package proxy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ore"
	"ore/deb/fetch"
)

const (
	// maxAnswers is how many are answered at a time: eight for each of sixty-four
	// machines. Others are told to come again.
	maxAnswers = 512
	// patience is how long a client may take no byte before it is given up.
	patience = time.Minute
	// slowest is the rate, in bytes a second, below which a client of a whole file
	// is given up: eight transfers at once over a line of 500 kbit/s.
	slowest = 7 << 10
)

// ServeHTTP answers GET and HEAD as the package's documentation says.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "a package proxy only gives", http.StatusMethodNotAllowed)
		return
	}
	select {
	case p.room <- struct{}{}:
		defer func() { <-p.room }()
	default:
		fetch.Busy(w, r, errBusy)
		return
	}
	known, file, ok := p.find(r.URL.Path)
	if !ok {
		http.Error(w, fmt.Sprintf("%s: is not known here: this proxy has what locks and proved indexes of its site name", r.URL.Path), http.StatusNotFound)
		return
	}
	if known != nil {
		p.give(w, r, ore.DigestOf(known), bytes.NewReader(known))
		return
	}
	if r.Method == http.MethodHead { // is answered from what is known, and fetches nothing
		p.give(w, r, file.Digest, io.NewSectionReader(nil, 0, file.Size))
		return
	}
	content, err := p.open(r.Context(), file, fetch.Wait(r))
	if err != nil {
		refuse(w, r, err)
		return
	}
	defer content.Close()
	control := http.NewResponseController(w)
	if f, ok := content.(*follower); ok {
		p.give(w, r, file.Digest, &paced{follower: f, control: control})
		return
	}
	deadline := patience + time.Duration(file.Size/slowest)*time.Second
	if err := control.SetWriteDeadline(time.Now().Add(deadline)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		refuse(w, r, err)
		return
	}
	p.give(w, r, file.Digest, content)
}

// find says what is at a path of the proxy: a page, or a file.
func (p *Proxy) find(path string) (page, fetch.File, bool) {
	if hex, ok := strings.CutPrefix(path, "/sha256/"); ok {
		d, err := ore.ParseDigest("sha256:" + hex)
		if err != nil {
			return nil, fetch.File{}, false
		}
		f, known := p.byDigest(d)
		return nil, f, known
	}
	if rest, ok := strings.CutPrefix(path, "/dists/"); ok {
		suite, at, _ := strings.Cut(rest, "/")
		return p.index(suite, at)
	}
	if at, ok := strings.CutPrefix(path, "/"); ok && fs.ValidPath(at) {
		f, known := p.byPath(at)
		return nil, f, known
	}
	return nil, fetch.File{}, false
}

// give answers with the content, whose size is where it ends.
func (p *Proxy) give(w http.ResponseWriter, r *http.Request, d ore.Digest, content io.ReadSeeker) {
	w.Header().Set("ETag", `"`+d.Hex()+`"`)
	w.Header().Set("Content-Type", "application/octet-stream")
	p.count(func(c *Counts) { c.Answers++ })
	http.ServeContent(w, r, "", time.Time{}, content)
	if f, ok := content.(*paced); ok && f.err != nil {
		panic(http.ErrAbortHandler) // the connection is cut, so that nobody takes it for the end
	}
}

// paced gives up a client that takes nothing, however long the whole takes.
type paced struct {
	*follower
	control *http.ResponseController
	err     error
}

// Read reads as the follower does.
func (c *paced) Read(b []byte) (int, error) {
	n, err := c.follower.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	if late := c.control.SetWriteDeadline(time.Now().Add(patience)); late != nil && !errors.Is(late, http.ErrNotSupported) && err == nil {
		c.err = late
		return 0, late
	}
	return n, err
}

// refuse says why a file cannot be had.
func refuse(w http.ResponseWriter, r *http.Request, err error) {
	code := http.StatusBadGateway
	switch {
	case r.Context().Err() != nil:
		return
	case errors.Is(err, errBusy):
		fetch.Busy(w, r, err)
		return
	case errors.Is(err, errClosed), errors.Is(err, context.Canceled):
		code = http.StatusServiceUnavailable
	case fetch.NotFound(err):
		code = http.StatusNotFound
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		code = http.StatusInsufficientStorage
	}
	fetch.Refuse(w, code, err)
}
