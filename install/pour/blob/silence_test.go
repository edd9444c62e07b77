package blob

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
)

// places answers requests in place of the network.
type places func(r *http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (p places) RoundTrip(r *http.Request) (*http.Response, error) { return p(r) }

// halting reads what there is, and then waits until the request is given up.
type halting struct {
	io.Reader
	request *http.Request
}

func (h halting) Read(b []byte) (int, error) {
	n, err := h.Reader.Read(b)
	if err == io.EOF {
		<-h.request.Context().Done()
		err = h.request.Context().Err()
	}
	return n, err
}

// A place that says nothing, and one that falls silent in the middle, are left for
// the next one, and no byte comes twice. Time is virtual, so that only a place's
// silence counts, and not that of a busy computer.
func TestSilence(t *testing.T) {
	for _, host := range []string{"silent", "half"} {
		synctest.Test(t, func(t *testing.T) {
			came := 0
			c := &Client{HTTP: &http.Client{Transport: places(func(r *http.Request) (*http.Response, error) {
				if r.Host == "silent" {
					<-r.Context().Done()
					return nil, r.Context().Err()
				}
				var at int
				fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &at)
				header := http.Header{"Content-Range": {fmt.Sprintf("bytes %d-%d/%d", at, len(content)-1, len(content))}}
				answer := &http.Response{StatusCode: http.StatusPartialContent, Header: header, Request: r}
				part := content[at:]
				if r.Host == "half" {
					part = content[at : len(content)/2]
					answer.Body = io.NopCloser(halting{bytes.NewReader(part), r})
				} else {
					answer.Body = io.NopCloser(bytes.NewReader(part))
				}
				came += len(part)
				return answer, nil
			})}}
			all(t, c, "http://"+host+"/blob", "http://good/blob")
			if came != len(content) {
				t.Errorf("%s: %d bytes came of a blob of %d", host, came, len(content))
			}
		})
	}
}
