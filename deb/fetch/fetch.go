// Package fetch brings files home over HTTP when their size and hash are known
// before, as those of packages and indexes are, and small pages when they are not.
//
// A file is written beside its place under a name that ends in ".part", hashed
// while it is written, and renamed only when size and hash are right. What a
// broken try has left is continued by the next one, in this process or another:
// the part is locked (flock(2)) while somebody works on it, so that two who
// want the same file fetch it once.
//
// Trouble of the net and of servers (no connection, no progress, status 5xx and
// 429, a body that ends early) is tried again a few times with growing pauses.
// A file that is not there and a file that has the wrong content are not.
//
// A package proxy has others to serve first. It is told how long one waits for a file
// to begin (Prefer: wait, RFC 7240), and says so if that does not do: it is then asked
// again for as long as it says this. That is no trouble, and counts as no try.
package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/sys/unix"

	"ore"
)

const (
	// defaultTries is how often a file is tried before giving up: with the
	// pauses below that outlasts a server's restart, but not a user's patience.
	defaultTries = 5
	// defaultPause is the wait before the second try; each further wait is
	// twice as long, up to maxPause.
	defaultPause = 250 * time.Millisecond
	maxPause     = 5 * time.Second
	// defaultStall is how long stallBytes may take to come before a transfer
	// counts as dead: a line of 5 kbit/s still passes.
	defaultStall = 30 * time.Second
	stallBytes   = 16 << 10
	// dialTimeout and headerTimeout bound the wait for a server that does not
	// answer at all.
	dialTimeout   = 10 * time.Second
	headerTimeout = 30 * time.Second
	// Parallel is how many files are fetched at once. A mirror serves one
	// connection at some ten MB/s; eight fill a fast line without being rude.
	Parallel = 8
)

// Client fetches. The zero value is ready to use, but makes no connections
// that are kept; New does.
type Client struct {
	HTTP  *http.Client  // nil means http.DefaultClient
	Tries int           // 0 means 5
	Pause time.Duration // before the second try; 0 means 250 ms
	Stall time.Duration // without progress; 0 means 30 s
	// Tried, if not nil, hears of each address that was asked for a file and how that
	// ended: with nil if the file came. It is called from many goroutines.
	Tried func(address string, err error)
}

// New returns a client with connections of its own. It follows the proxy that
// the environment names, and reads file: addresses from the disk.
func New() *Client {
	t := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: headerTimeout,
		MaxIdleConnsPerHost:   Parallel,
		MaxConnsPerHost:       Parallel,
		IdleConnTimeout:       headerTimeout,
		DisableCompression:    true, // hashes are of the bytes as they are
		ForceAttemptHTTP2:     true,
	}
	t.RegisterProtocol("file", http.NewFileTransport(http.Dir("/")))
	return &Client{HTTP: &http.Client{Transport: t}}
}

// CloseIdle closes the connections that are kept for the next file.
func (c *Client) CloseIdle() { c.http().CloseIdleConnections() }

func (c *Client) http() *http.Client {
	if c.HTTP == nil {
		return http.DefaultClient
	}
	return c.HTTP
}

func (c *Client) tries() int {
	if c.Tries == 0 {
		return defaultTries
	}
	return c.Tries
}

func (c *Client) stall() time.Duration {
	if c.Stall == 0 {
		return defaultStall
	}
	return c.Stall
}

// pause waits after the try number n, counted from 1, which ended in err, or longer if
// the server asked for that; it reports whether there is reason to go on.
func (c *Client) pause(ctx context.Context, n int, err error) bool {
	d := c.Pause
	if d == 0 {
		d = defaultPause
	}
	d = min(d<<(n-1), maxPause)
	var status *StatusError
	if errors.As(err, &status) {
		d = max(d, status.wait)
	}
	d += rand.N(d/2 + 1) // so that many clients do not come back at once
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// StatusError is an answer of a server that is no success.
type StatusError struct {
	URL  string
	Code int
	Said string // what it says is wrong, "" if it does not

	wait time.Duration // that it asks for, at most maxWait
	busy bool          // it is well, and will have the file later
}

// Error gives the address, the status, and what to do about it; or what a server says
// that had it from another one.
func (e *StatusError) Error() string {
	if e.Said != "" {
		return fmt.Sprintf("%s (says %s)", e.Said, e.URL)
	}
	return fmt.Sprintf("fetch %s: the server answers %d %s: %s", e.URL, e.Code, http.StatusText(e.Code), e.advice())
}

func (e *StatusError) advice() string {
	switch {
	case NotFound(e):
		return "check the mirror's address, or use another mirror"
	case e.Code == http.StatusUnauthorized || e.Code == http.StatusForbidden || e.Code == http.StatusProxyAuthRequired:
		return "use a mirror or a proxy that serves you"
	case e.Code == http.StatusTooManyRequests || e.Code >= http.StatusInternalServerError:
		return "the mirror is in trouble: try again later, or use another mirror"
	}
	return "check the mirror's address and the proxy's"
}

// NotFound reports whether the file is simply not there.
func NotFound(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && (status.Code == http.StatusNotFound || status.Code == http.StatusGone)
}

// ContentError is a file whose content is not what the index says.
type ContentError struct {
	URL        string
	Want, Got  ore.Digest
	Size, Have int64
}

// Error gives what was expected and what came.
func (e *ContentError) Error() string {
	if e.Size != e.Have {
		return fmt.Sprintf("fetch %s: it has %d bytes where the index says %d: the mirror is being updated, or lies: try again later or use another mirror",
			e.URL, e.Have, e.Size)
	}
	return fmt.Sprintf("fetch %s: its content has hash %s where the index says %s: the mirror is being updated, or lies: try again later or use another mirror",
		e.URL, e.Got.Short(), e.Want.Short())
}

// errStalled is why a transfer without progress is cut off.
var errStalled = errors.New("no progress")

// errSilent is why a server is given up that takes a connection and says nothing.
var errSilent = errors.New("the server does not answer in time")

// Unreachable reports whether err is trouble of the net or of a server, which
// another time or another mirror may not have.
func Unreachable(err error) bool {
	var status *StatusError
	if errors.As(err, &status) {
		return status.Code >= 500 || status.Code == http.StatusTooManyRequests
	}
	var content *ContentError
	var transfer *TransferError
	return !errors.As(err, &content) && errors.As(err, &transfer)
}

// Severed reports whether err is a server that refused the connection or cut it: most
// likely there is none any more.
func Severed(err error) bool {
	var transfer *TransferError
	return errors.As(err, &transfer) && (errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ECONNRESET) ||
		errors.Is(err, unix.EPIPE) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF))
}

// broken returns the error of a transfer that ended in err.
func broken(ctx context.Context, address string, err error) error {
	if c := context.Cause(ctx); c != nil {
		err = c // why it was cut off, not what that made of it
	}
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err // which says the address once more
	}
	var lookup *net.DNSError
	var wait net.Error
	if !errors.As(err, &lookup) && errors.As(err, &wait) && wait.Timeout() {
		err = fmt.Errorf("%w (%w)", errSilent, err)
	}
	return &TransferError{URL: address, Err: err}
}

// TransferError is a transfer that did not come to its end.
type TransferError struct {
	URL string
	Err error
}

// Error says that the mirror, and not what it has, is the trouble.
func (e *TransferError) Error() string {
	return fmt.Sprintf("fetch %s: %v: check the network and the mirror's address, or use another mirror", e.URL, e.Err)
}

// Unwrap returns the cause.
func (e *TransferError) Unwrap() error { return e.Err }
