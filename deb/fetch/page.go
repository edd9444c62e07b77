package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Validators are what a server said to know a page by, for asking later
// whether it has changed (RFC 9110, section 8.8).
type Validators struct {
	ETag         string
	LastModified string
}

// Page is a small page.
type Page struct {
	Body      []byte
	Unchanged bool // the page that the validators knew still stands; Body is nil
	Validators
}

// Page fetches a page of at most limit bytes, unless it is the one known.
func (c *Client) Page(ctx context.Context, url string, known Validators, limit int64) (Page, error) {
	var last error
	for n := 1; n <= c.tries(); n++ {
		page, err := c.page(ctx, url, known, limit)
		if err == nil {
			return page, nil
		}
		last = err
		if ctx.Err() != nil {
			return Page{}, ctx.Err()
		}
		if !Unreachable(err) || n == c.tries() || !c.pause(ctx, n, err) {
			break
		}
	}
	return Page{}, last
}

func (c *Client) page(ctx context.Context, url string, known Validators, limit int64) (Page, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(c.stall(), func() { cancel(errStalled) })
	defer watch.Stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return Page{}, fmt.Errorf("fetch %s: %w", url, err)
	}
	if known.ETag != "" {
		req.Header.Set("If-None-Match", known.ETag)
	}
	if known.LastModified != "" {
		req.Header.Set("If-Modified-Since", known.LastModified)
	}
	resp, err := c.http().Do(req)
	if err != nil {
		return Page{}, broken(ctx, url, err)
	}
	defer resp.Body.Close()
	switch resp.StatusCode {
	case http.StatusNotModified:
		return Page{Unchanged: true, Validators: known}, nil
	case http.StatusOK:
	default:
		return Page{}, status(url, resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit+1))
	if err != nil {
		return Page{}, broken(ctx, url, err)
	}
	if int64(len(body)) > limit {
		return Page{}, fmt.Errorf("fetch %s: %w", url, errTooLarge)
	}
	return Page{Body: body, Validators: Validators{
		ETag: resp.Header.Get("ETag"), LastModified: resp.Header.Get("Last-Modified")}}, nil
}

// errTooLarge is a page that cannot be what it should be.
var errTooLarge = errors.New("it is larger than any such page")
