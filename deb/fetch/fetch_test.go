package fetch_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ore"
	"ore/deb/debtest"
	"ore/deb/fetch"
)

// quick is a client that loses no time over its tries.
func quick() *fetch.Client {
	return &fetch.Client{Tries: 3, Pause: time.Millisecond, Stall: 10 * time.Second}
}

var content = bytes.Repeat([]byte("0123456789abcdef"), 20_000)

// serve serves content at every path, broken by fault; it counts requests.
func serve(t *testing.T, fault debtest.Fault) (url string, requests *atomic.Int32) {
	t.Helper()
	requests = new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if fault == nil || !fault(w, r, content) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, requests
}

func file(t *testing.T, urls ...string) fetch.File {
	return fetch.File{URLs: urls, Path: filepath.Join(t.TempDir(), "f"), Size: int64(len(content)), Digest: ore.DigestOf(content)}
}

// once makes a fault happen at the first n requests only.
func once(n int32, f debtest.Fault) debtest.Fault {
	var count atomic.Int32
	return func(w http.ResponseWriter, r *http.Request, c []byte) bool {
		return count.Add(1) <= n && f(w, r, c)
	}
}

// answer is a fault: a status without a word.
func answer(code int) debtest.Fault {
	return func(w http.ResponseWriter, _ *http.Request, _ []byte) bool {
		w.WriteHeader(code)
		return true
	}
}

// wrongHalf is a fault: half of a content that is not the one, and then nothing.
func wrongHalf(w http.ResponseWriter, r *http.Request, c []byte) bool {
	return debtest.Cut("")(w, r, bytes.ToUpper(c))
}

func TestFileOvercomes(t *testing.T) {
	tests := []struct {
		summary  string
		fault    debtest.Fault
		left     []byte // in the part from before
		requests int32
	}{
		{summary: "nothing is wrong", requests: 1},
		{summary: "down at first", fault: once(2, debtest.Down), requests: 3},
		{summary: "too many requests", fault: once(1, answer(http.StatusTooManyRequests)), requests: 2},
		{summary: "cut in the middle, and continued", fault: debtest.Cut(""), requests: 2},
		{summary: "cut in the middle of wrong bytes, and continued", fault: once(1, wrongHalf), requests: 3},
		{summary: "a part from before", left: content[:100_000], requests: 1},
		{summary: "the whole from before", left: content, requests: 0},
		{summary: "a wrong part from before", left: bytes.Repeat([]byte("x"), 100_000), requests: 2},
		{summary: "a wrong whole from before", left: bytes.Repeat([]byte("x"), len(content)), requests: 1},
		{summary: "too long a part from before", left: append(bytes.Clone(content), 'x'), requests: 1},
		{summary: "a server that cannot continue", left: content[:1000], requests: 1,
			fault: func(w http.ResponseWriter, r *http.Request, c []byte) bool { w.Write(c); return true }},
		{summary: "a server that continues elsewhere", left: content[:1000], requests: 2,
			fault: once(1, func(w http.ResponseWriter, r *http.Request, c []byte) bool {
				w.Header().Set("Content-Range", "bytes 0-99/100")
				w.WriteHeader(http.StatusPartialContent)
				return true
			})},
	}
	for _, test := range tests {
		t.Run(test.summary, func(t *testing.T) {
			url, requests := serve(t, test.fault)
			f := file(t, url+"/a+b")
			if test.left != nil {
				if err := os.WriteFile(f.Path+".part", test.left, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			var seen atomic.Int64
			if err := quick().File(t.Context(), f, func(n int64) { seen.Add(n) }); err != nil {
				t.Fatal(err)
			}
			got, err := os.ReadFile(f.Path)
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("the file has %d bytes, %v", len(got), err)
			}
			if seen.Load() != int64(len(content)) {
				t.Errorf("progress adds up to %d of %d", seen.Load(), len(content))
			}
			if requests.Load() != test.requests {
				t.Errorf("%d requests, want %d", requests.Load(), test.requests)
			}
			if _, err := os.Stat(f.Path + ".part"); err == nil {
				t.Error("a part is left")
			}
		})
	}
}

func TestFileGivesUp(t *testing.T) {
	long := func(w http.ResponseWriter, r *http.Request, c []byte) bool {
		w.Write(append(bytes.Clone(c), 'x'))
		return true
	}
	tests := []struct {
		summary     string
		fault       debtest.Fault
		requests    int32
		unreachable bool
		say         string
	}{
		{"down", debtest.Down, 3, true, "503 Service Unavailable: the mirror is in trouble: try again later"},
		{"missing", debtest.Missing(""), 1, false, "404 Not Found: check the mirror's address"},
		{"refused", answer(http.StatusForbidden), 1, false, "403 Forbidden: use a mirror or a proxy that serves you"},
		{"not understood", answer(http.StatusBadRequest), 1, false, "400 Bad Request: check the mirror's address"},
		{"wrong content", debtest.Corrupted(""), 1, false, "has hash"},
		{"too short, for ever", debtest.Short(""), 3, true, "it ended after"},
		{"too long", long, 1, false, "bytes where the index says"},
	}
	for _, test := range tests {
		t.Run(test.summary, func(t *testing.T) {
			url, requests := serve(t, test.fault)
			f := file(t, url)
			err := quick().File(t.Context(), f, nil)
			if err == nil || !strings.Contains(err.Error(), test.say) {
				t.Fatalf("got %v, want an error with %q", err, test.say)
			}
			if fetch.Unreachable(err) != test.unreachable {
				t.Errorf("unreachable: %v, want %v", fetch.Unreachable(err), test.unreachable)
			}
			if requests.Load() != test.requests {
				t.Errorf("%d requests, want %d", requests.Load(), test.requests)
			}
			if _, err := os.Stat(f.Path); err == nil {
				t.Error("there is a file")
			}
		})
	}
}

func TestNextAddress(t *testing.T) {
	gone, _ := serve(t, debtest.Missing(""))
	liar, _ := serve(t, debtest.Corrupted(""))
	good, _ := serve(t, nil)
	if err := quick().File(t.Context(), file(t, gone, liar, good), nil); err != nil {
		t.Error(err)
	}
}

func TestNoServer(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	err := quick().File(t.Context(), file(t, server.URL), nil)
	if !fetch.Unreachable(err) || !strings.Contains(err.Error(), "check the network") || strings.Count(err.Error(), server.URL) != 1 {
		t.Errorf("got %v", err)
	}
}

// A server that takes a connection and says nothing is told from one that is
// not there.
func TestSilentServer(t *testing.T) {
	end := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-end }))
	defer server.Close()
	defer close(end)
	c := quick()
	c.Tries, c.HTTP = 1, &http.Client{Transport: &http.Transport{ResponseHeaderTimeout: 20 * time.Millisecond}}
	defer c.CloseIdle()
	_, err := c.Page(t.Context(), server.URL, fetch.Validators{}, 1)
	if !fetch.Unreachable(err) || strings.Count(err.Error(), server.URL) != 1 ||
		!strings.Contains(err.Error(), "does not answer in time") || !strings.Contains(err.Error(), "use another mirror") {
		t.Errorf("got %v", err)
	}
}

// TestOneFetch lets many ask for the same file at once, through clients that
// know nothing of each other, as in several processes.
func TestOneFetch(t *testing.T) {
	url, requests := serve(t, nil)
	f := file(t, url)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := quick().File(t.Context(), f, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := requests.Load(); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func TestCancelKeepsThePart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	url, _ := serve(t, debtest.Stalled(""))
	f := file(t, url)
	err := quick().File(ctx, f, func(n int64) {
		if n > 0 {
			cancel()
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if info, err := os.Stat(f.Path + ".part"); err != nil || info.Size() == 0 {
		t.Errorf("the part: %v, %v", info, err)
	}
}

func TestAllStopsAtTheFirstError(t *testing.T) {
	good, _ := serve(t, nil)
	gone, _ := serve(t, debtest.Missing(""))
	err := quick().All(t.Context(), []fetch.File{file(t, good), file(t, gone), file(t, good)}, nil)
	if !fetch.NotFound(err) {
		t.Errorf("got %v", err)
	}
}

func TestPage(t *testing.T) {
	url, _ := serve(t, func(w http.ResponseWriter, r *http.Request, c []byte) bool {
		w.Header().Set("ETag", `"x"`)
		http.ServeContent(w, r, "", time.Unix(1_700_000_000, 0), bytes.NewReader(c))
		return true
	})
	c := quick()
	page, err := c.Page(t.Context(), url, fetch.Validators{}, int64(len(content)))
	if err != nil || page.Unchanged || !bytes.Equal(page.Body, content) || page.ETag != `"x"` {
		t.Fatalf("got %v, %+v", err, page.Validators)
	}
	for _, known := range []fetch.Validators{{ETag: page.ETag}, {LastModified: page.LastModified}} {
		again, err := c.Page(t.Context(), url, known, 1)
		if err != nil || !again.Unchanged || again.Validators != known {
			t.Errorf("known by %+v: %v, unchanged %v", known, err, again.Unchanged)
		}
	}
	if _, err := c.Page(t.Context(), url, fetch.Validators{}, int64(len(content))-1); err == nil {
		t.Error("a page above the limit is read")
	}
	down, requests := serve(t, once(2, debtest.Down))
	if _, err := c.Page(t.Context(), down, fetch.Validators{}, 1<<20); err != nil || requests.Load() != 3 {
		t.Errorf("down twice: %v after %d requests", err, requests.Load())
	}
}

// TestFileAddresses reads from the disk.
func TestFileAddresses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "source")
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	c := fetch.New()
	c.Tries, c.Pause = 1, time.Millisecond
	f := file(t, "file://"+path)
	if err := os.WriteFile(f.Path+".part", content[:5000], 0o644); err != nil {
		t.Fatal(err)
	}
	if err := c.File(t.Context(), f, nil); err != nil {
		t.Error(err)
	}
	if _, err := c.Page(t.Context(), "file://"+path+"x", fetch.Validators{}, 10); !fetch.NotFound(err) {
		t.Errorf("a file that is not there: %v", err)
	}
}
