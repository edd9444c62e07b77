package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// errSilent is why a transfer without progress is cut off.
var errSilent = errors.New("nothing comes any more")

// ask asks a server for a range.
func (c *Client) ask(ctx context.Context, address string, at, end, size int64) (*body, error) {
	client, stall := c.HTTP, c.Stall
	if client == nil {
		client = http.DefaultClient
	}
	if stall == 0 {
		stall = defaultStall
	}
	ctx, cancel := context.WithCancelCause(ctx)
	watch := time.AfterFunc(stall, func() { cancel(errSilent) })
	done := func() {
		watch.Stop()
		cancel(nil)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		done()
		return nil, &absence{err}
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", at, end-1))
	resp, err := client.Do(req)
	if err != nil {
		err = why(ctx, err)
		done()
		return nil, err
	}
	if err := check(resp, at, end, size); err != nil {
		resp.Body.Close()
		done()
		return nil, err
	}
	watch.Stop() // until somebody reads
	timed := &timed{ctx: ctx, r: resp.Body, watch: watch, stall: stall}
	return &body{timed, func() { resp.Body.Close(); done() }}, nil
}

// check says whether an answer is the range that was asked for.
func check(resp *http.Response, at, end, size int64) error {
	switch code := resp.StatusCode; {
	case code == http.StatusPartialContent:
		first, total, err := contentRange(resp.Header.Get("Content-Range"))
		if err != nil {
			return &absence{err}
		}
		if first != at || total >= 0 && total != size {
			return absent("it gives bytes from %d on of %d, not from %d on of %d", first, total, at, size)
		}
		return nil
	case code == http.StatusOK && at == 0 && end == size:
		if resp.ContentLength >= 0 && resp.ContentLength != size {
			return absent("it has %d bytes, not %d", resp.ContentLength, size)
		}
		return nil
	case code == http.StatusOK:
		return absent("the server gives no ranges")
	case code >= 500 || code == http.StatusTooManyRequests || code == http.StatusRequestTimeout:
		return fmt.Errorf("the server answers %s", resp.Status)
	default:
		return absent("the server answers %s", resp.Status)
	}
}

// contentRange reads the header of that name (RFC 9110, section 14.4): the first
// byte, and the size of the whole, -1 where that is not said.
func contentRange(text string) (first, total int64, err error) {
	bad := fmt.Errorf("malformed Content-Range %q", text)
	bytes, ok := strings.CutPrefix(text, "bytes ")
	span, whole, ok2 := strings.Cut(bytes, "/")
	from, to, ok3 := strings.Cut(span, "-")
	if !ok || !ok2 || !ok3 {
		return 0, 0, bad
	}
	first, err1 := strconv.ParseInt(from, 10, 64)
	last, err2 := strconv.ParseInt(to, 10, 64)
	if err1 != nil || err2 != nil || first < 0 || last < first {
		return 0, 0, bad
	}
	if whole == "*" {
		return first, -1, nil
	}
	if total, err = strconv.ParseInt(whole, 10, 64); err != nil || total <= last {
		return 0, 0, bad
	}
	return first, total, nil
}

// timed is an answer's body that is cut off when nothing comes.
type timed struct {
	ctx   context.Context
	r     io.Reader
	watch *time.Timer
	stall time.Duration
}

// Read implements io.Reader.
func (t *timed) Read(b []byte) (int, error) {
	t.watch.Reset(t.stall)
	n, err := t.r.Read(b)
	t.watch.Stop() // that nobody reads is not the server's fault
	if err != nil && !errors.Is(err, io.EOF) {
		err = why(t.ctx, err)
	}
	return n, err
}

// why returns the cause of a transfer's end, if it was cut off.
func why(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil {
		return c
	}
	return err
}
