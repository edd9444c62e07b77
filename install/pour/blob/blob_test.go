package blob

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"ore"
)

var content = bytes.Repeat([]byte("0123456789abcdef"), 5000)

// all reads a blob from places, and checks that it is the content.
func all(t *testing.T, c *Client, places ...string) *Stream {
	t.Helper()
	s := c.Open(t.Context(), Blob{ore.DigestOf(content), int64(len(content)), places}, 0, int64(len(content)))
	defer s.Close()
	got, err := io.ReadAll(s)
	if err != nil || !bytes.Equal(got, content) {
		t.Fatalf("%d bytes came, %v", len(got), err)
	}
	return s
}

// A server that gives little at a time is asked again for as long as it gives
// anything, and one that gives nothing for so many rounds.
func TestRounds(t *testing.T) {
	var requests atomic.Int32
	little := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := requests.Add(1); n%3 == 0 {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		var at int
		fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &at)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", at, len(content)-1, len(content)))
		w.Header().Set("Content-Length", fmt.Sprint(len(content)-at))
		w.WriteHeader(http.StatusPartialContent)
		w.Write(content[at:min(at+10_000, len(content))])
	}))
	defer little.Close()
	c := &Client{Pause: time.Millisecond}
	if s := all(t, c, little.URL); len(s.Used()) != 1 {
		t.Errorf("used %v", s.Used())
	}
	little.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	requests.Store(0)
	s := c.Open(t.Context(), Blob{ore.DigestOf(content), int64(len(content)), []string{little.URL}}, 0, 10)
	if _, err := io.ReadAll(s); err == nil || !strings.Contains(err.Error(), "503") || requests.Load() != rounds {
		t.Errorf("%d requests to a server that is down, %v", requests.Load(), err)
	}
}

// A range of a blob is what was asked for, from files and servers, however it
// is read.
func TestRange(t *testing.T) {
	name := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(name))))
	defer server.Close()
	for _, place := range []string{name, server.URL + "/blob"} {
		s := new(Client).Open(t.Context(), Blob{Size: int64(len(content)), From: []string{place}}, 7, 40_000)
		if err := iotest.TestReader(s, content[7:40_000]); err != nil {
			t.Errorf("%s: %v", place, err)
		}
		s.Close()
	}
}

// broken is a place whose disk fails.
type broken struct{}

func (broken) RoundTrip(*http.Request) (*http.Response, error) { return nil, syscall.EIO }

// A place that cannot be read does not pass for a disk here that cannot be written.
func TestBrokenPlace(t *testing.T) {
	c := &Client{HTTP: &http.Client{Transport: broken{}}, Pause: time.Microsecond}
	s := c.Open(t.Context(), Blob{ore.DigestOf(content), 10, []string{"http://there"}}, 0, 10)
	if _, err := io.ReadAll(s); err == nil || errors.Is(err, syscall.EIO) || !strings.Contains(err.Error(), syscall.EIO.Error()) {
		t.Errorf("got %v", err)
	}
}

func TestNoPlace(t *testing.T) {
	s := new(Client).Open(t.Context(), Blob{Digest: ore.DigestOf(content), Size: 10}, 0, 10)
	if _, err := io.ReadAll(s); err == nil || !strings.Contains(err.Error(), "no place is known") {
		t.Errorf("got %v", err)
	}
}

func FuzzContentRange(f *testing.F) {
	for _, s := range []string{"bytes 0-0/1", "bytes 5-9/*", "bytes 5-/10", "bytes */10", "items 0-1/2", "bytes 9-5/10", "bytes 0-9/5"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		first, total, err := contentRange(s)
		if err == nil && (first < 0 || total >= 0 && total <= first) {
			t.Errorf("%q is read as from %d of %d", s, first, total)
		}
	})
}
