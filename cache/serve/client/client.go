// Package client is the client of a cache that is served to a site (package
// serve; the protocol is that of package wire).
//
// Every call ends with its context: a caller derives a deadline from what the
// cache is expected to save, so that one that is down or slow costs no more
// than that. Within it, requests that failed on the way are sent again, with
// growing pauses. Nothing that comes is trusted: manifests and blobs are
// compared with their digests, chunks with theirs before they are written, and
// signatures go to [Config.Check].
//
// A Client may be used concurrently.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"ore"
	"ore/cache/serve/wire"
	"ore/image"
)

// How a client tries.
const (
	// tries is how often a request is sent at most; with the pauses between, some
	// ten seconds in all.
	tries = 7
	// firstPause is the pause after the first failure; each is twice as long as
	// the one before, up to lastPause.
	firstPause = 100 * time.Millisecond
	lastPause  = 4 * time.Second
	// dialTime bounds the making of a connection.
	dialTime = 10 * time.Second
	// pingTime is after which silence a connection is tested.
	pingTime = 10 * time.Second
	// maxRefusal bounds an error's body.
	maxRefusal = 64 << 10
	// maxAnswer bounds a listing: 100,000 images.
	maxAnswer = 128 << 20
)

// ErrRefused is matched by the errors of a server that works and says no.
var ErrRefused = errors.New("refused")

// Config says which cache and who asks.
type Config struct {
	// URL is https://host:port, with #sha256: and the certificate's fingerprint
	// to trust that one certificate and no authority.
	URL         string
	CA          []byte           // PEM of the authorities to trust; nil means the host's
	Token       string           // who asks, or
	Certificate *tls.Certificate // a client certificate
	// Check says whether an image is trusted; nil takes all.
	Check func(m image.Manifest, s image.Signature) error
	// Dir is a folder for unfinished fetches and the chunk lists of local layers.
	Dir string
	// Received, if not nil, is told of the bytes of bodies as they are read, from
	// several goroutines.
	Received func(n int64)
}

// Client speaks to one cache.
type Client struct {
	Config
	base *url.URL
	http *http.Client
}

// New returns a client. It makes no connection yet.
func New(c Config) (*Client, error) {
	u, err := url.Parse(c.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("cache %q: not https://host:port, or https://host:port#sha256:fingerprint", c.URL)
	}
	t := &tls.Config{MinVersion: tls.VersionTLS13}
	if u.Fragment != "" {
		if err := pin(t, u.Fragment); err != nil {
			return nil, fmt.Errorf("cache %s: %w", u.Host, err)
		}
	} else if c.CA != nil {
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(c.CA) {
			return nil, fmt.Errorf("cache %s: no certificate in the PEM of its authority", u.Host)
		}
	}
	if c.Certificate != nil {
		t.Certificates = []tls.Certificate{*c.Certificate}
	}
	u.Fragment = ""
	u.Path = strings.TrimSuffix(u.Path, "/")
	return &Client{Config: c, base: u, http: &http.Client{Transport: &http.Transport{
		TLSClientConfig: t, ForceAttemptHTTP2: true,
		DialContext:         (&net.Dialer{Timeout: dialTime}).DialContext,
		TLSHandshakeTimeout: dialTime,
		IdleConnTimeout:     time.Minute,
		MaxIdleConnsPerHost: 8,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: pingTime, PingTimeout: pingTime},
		// Blobs are compressed already, and their ranges are of the bytes as they are.
		DisableCompression: true,
	}}}, nil
}

// pin makes t trust the one certificate with this fingerprint.
func pin(t *tls.Config, fingerprint string) error {
	d, err := ore.ParseDigest(fingerprint)
	if err != nil {
		return fmt.Errorf("fingerprint: %w", err)
	}
	want, err := hex.DecodeString(d.Hex())
	if err != nil {
		return fmt.Errorf("fingerprint: %w", err)
	}
	t.InsecureSkipVerify = true // VerifyConnection does it instead
	t.VerifyConnection = func(s tls.ConnectionState) error {
		got := ore.DigestOf(s.PeerCertificates[0].Raw)
		if got.Hex() != hex.EncodeToString(want) {
			return fmt.Errorf("the server's certificate is %s, not %s: %w", got, d, errPinned)
		}
		return nil
	}
	return nil
}

var errPinned = errors.New("another server, or it has a new certificate: compare with what 'ore cache serve' printed")

// Close ends the client's idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// call is a request that can be sent again.
type call struct {
	method, path string
	query        url.Values
	body         []byte
	header       http.Header
	once         bool // do not try again
}

// send sends q until it is answered with success, or refused.
func (c *Client) send(ctx context.Context, q call) (*http.Response, error) {
	pause := firstPause
	for try := 1; ; try++ {
		r, err := c.try(ctx, q, bytes.NewReader(q.body), int64(len(q.body)))
		if err == nil || q.once || !again(err) || try == tries || ctx.Err() != nil {
			return r, c.plain(err)
		}
		// Clients that failed together should not come back together.
		if ended := sleep(ctx, pause/2+rand.N(pause)); ended != nil {
			return nil, &late{c.plain(err), ended}
		}
		pause = min(2*pause, lastPause)
	}
}

// late is what a request failed of until there was no time to try it again.
type late struct{ cause, end error }

func (l *late) Error() string { return l.cause.Error() }

func (l *late) Unwrap() []error { return []error{l.cause, l.end} }

// plain names the cache in an error, without the request that it repeats, and says
// what to do where the fault is with how the cache is named.
func (c *Client) plain(err error) error {
	var asked *url.Error
	var unknown x509.UnknownAuthorityError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &unknown):
		err = fmt.Errorf("%w: pin its certificate, by the #sha256:FINGERPRINT that 'ore cache serve' printed at the end of the address, or name its authority (--ca, or ca in the settings)", unknown)
	case errors.As(err, &asked) && errors.Is(err, context.DeadlineExceeded) && errors.Is(asked.Err, context.DeadlineExceeded):
		err = fmt.Errorf("no answer in time: %w", context.DeadlineExceeded)
	case errors.As(err, &asked) && errors.Is(err, syscall.ECONNREFUSED):
		err = fmt.Errorf("%w: nobody listens there: see that 'ore cache serve' runs, and that the address is its", asked.Err)
	case errors.As(err, &asked):
		err = asked.Err
	}
	return fmt.Errorf("cache %s: %w", c.base.Host, err)
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// try sends one request.
func (c *Client) try(ctx context.Context, q call, body io.Reader, size int64) (*http.Response, error) {
	u := *c.base
	u.Path += q.path
	u.RawQuery = q.query.Encode()
	if size == 0 {
		body = nil
	}
	r, err := http.NewRequestWithContext(ctx, q.method, u.String(), body)
	if err != nil {
		return nil, err
	}
	r.ContentLength = size
	for k, v := range q.header {
		r.Header[k] = v
	}
	if c.Token != "" {
		r.Header.Set("Authorization", "Bearer "+c.Token)
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode/100 == 2 {
		if c.Received != nil {
			answer.Body = &counted{answer.Body, c.Received}
		}
		return answer, nil
	}
	defer answer.Body.Close()
	var said wire.Refusal
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxRefusal))
	if err != nil || json.Unmarshal(b, &said) != nil || said.Error == "" {
		said.Error = answer.Status
	}
	return nil, &refused{answer.StatusCode, said.Error}
}

// counted tells how much was read of a body.
type counted struct {
	io.ReadCloser
	tell func(int64)
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	c.tell(int64(n))
	return n, err
}

// refused is a server's error.
type refused struct {
	status int
	text   string
}

func (r *refused) Error() string { return r.text }

// Is makes a 404 an image.ErrMissing, and a bad state of the server no refusal.
func (r *refused) Is(target error) bool {
	switch target {
	case image.ErrMissing:
		return r.status == http.StatusNotFound
	case ErrRefused:
		return r.status/100 == 4
	}
	return false
}

// again says whether a request that failed so may succeed later.
func again(err error) bool {
	var r *refused
	if errors.As(err, &r) {
		return r.status == http.StatusTooManyRequests || r.status >= http.StatusBadGateway && r.status <= http.StatusGatewayTimeout
	}
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	return !errors.Is(err, errPinned) && !errors.As(err, &unknown) && !errors.As(err, &name)
}

// ask sends q and decodes the JSON of the answer, which has at most limit bytes.
func (c *Client) ask(ctx context.Context, q call, answer any) error {
	r, err := c.send(ctx, q)
	if err != nil {
		return err
	}
	b, err := readAll(r.Body, maxAnswer)
	if err == nil {
		err = json.Unmarshal(b, answer)
	}
	if err != nil {
		return fmt.Errorf("cache %s: answer: %w", c.base.Host, err)
	}
	return nil
}

// readAll reads and closes a body of at most limit bytes.
func readAll(r io.ReadCloser, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err := errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("more than %d bytes", limit)
	}
	return b, nil
}

// encode is json.Marshal of what can always be encoded.
func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("client: requests hold only strings, numbers and lists: " + err.Error())
	}
	return b
}
