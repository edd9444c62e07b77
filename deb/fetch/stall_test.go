package fetch_test

import (
	"bytes"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ore/deb/debtest"
	"ore/deb/fetch"
)

// TestStalled has a server fall silent in the middle. Time is virtual, so that only
// the server's silence counts, and not that of a busy computer.
func TestStalled(t *testing.T) {
	for _, test := range []struct {
		summary  string
		fault    debtest.Fault
		requests int32
		say      string // "" if the file comes
	}{
		{"once", once(1, debtest.Stalled("")), 2, ""},
		{"for ever", debtest.Stalled(""), 3, "no progress"},
	} {
		t.Run(test.summary, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var requests atomic.Int32
				c := inMemory(t, func(w http.ResponseWriter, r *http.Request) {
					requests.Add(1)
					if !test.fault(w, r, content) {
						http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
					}
				})
				c.Tries = 3
				f := file(t, "http://mirror.example.org/f")
				err := c.File(t.Context(), f, nil)
				if n := requests.Load(); n != test.requests {
					t.Errorf("%d requests, want %d", n, test.requests)
				}
				got, _ := os.ReadFile(f.Path)
				if test.say == "" {
					if err != nil || !bytes.Equal(got, content) {
						t.Errorf("the file has %d bytes, %v", len(got), err)
					}
				} else if err == nil || !strings.Contains(err.Error(), test.say) || !fetch.Unreachable(err) || got != nil {
					t.Errorf("%d bytes, %v, want an error with %q", len(got), err, test.say)
				}
			})
		})
	}
}

// A server that gives too little counts as silent, however often it gives that.
func TestTrickle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := inMemory(t, func(w http.ResponseWriter, r *http.Request) {
			for {
				if _, err := w.Write(content[:1]); err != nil || http.NewResponseController(w).Flush() != nil {
					return
				}
				time.Sleep(time.Second)
			}
		})
		c.Tries = 1
		begun := time.Now()
		if err := c.File(t.Context(), file(t, "http://mirror.example.org/f"), nil); err == nil || !strings.Contains(err.Error(), "no progress") {
			t.Error(err)
		}
		if took := time.Since(begun); took > time.Minute {
			t.Errorf("it was waited for for %v", took)
		}
	})
}

// Who takes long for what has come does not take that for a server's silence, and does
// not ask again.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var requests atomic.Int32
		c := inMemory(t, func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		})
		f := file(t, "http://mirror.example.org/f")
		if err := c.File(t.Context(), f, func(int64) { time.Sleep(time.Minute) }); err != nil || requests.Load() != 1 {
			t.Errorf("%d requests, %v", requests.Load(), err)
		}
	})
}

// A transfer that breaks more often than there are tries comes to its end, as long as
// each brings something.
func TestBrokenAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var requests atomic.Int32
		c := inMemory(t, func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			w = &short{w, 20_000}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		})
		c.Tries = 3
		f := file(t, "http://mirror.example.org/f")
		err := c.File(t.Context(), f, nil)
		got, _ := os.ReadFile(f.Path)
		if n := int(requests.Load()); err != nil || !bytes.Equal(got, content) || n <= c.Tries || n != (len(content)+19_999)/20_000 {
			t.Errorf("%d requests, %d of %d bytes, %v", n, len(got), len(content), err)
		}
	})
}

// short is an answer that breaks after some bytes.
type short struct {
	http.ResponseWriter
	left int
}

// Write passes on what is left.
func (s *short) Write(b []byte) (int, error) {
	if len(b) > s.left {
		_, _ = s.ResponseWriter.Write(b[:s.left])
		_ = http.NewResponseController(s.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	s.left -= len(b)
	return s.ResponseWriter.Write(b)
}

// inMemory returns a client of a server in memory.
func inMemory(t *testing.T, h http.HandlerFunc) *fetch.Client {
	return &fetch.Client{HTTP: debtest.InMemory(t, map[string]http.Handler{"mirror.example.org": h})}
}
