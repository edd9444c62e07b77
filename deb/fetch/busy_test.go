package fetch_test

import (
	"bytes"
	"errors"
	"net/http"
	"os"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ore/deb/fetch"
)

// A server that has others to serve first is asked again until it has the file, however
// often it says so, and no other address is.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var requests atomic.Int32
		c := inMemory(t, func(w http.ResponseWriter, r *http.Request) {
			if fetch.Wait(r) != 15*time.Second {
				t.Errorf("it waits for %v", fetch.Wait(r))
			}
			if requests.Add(1) < 10 {
				fetch.Busy(w, r, errors.New("others"))
				return
			}
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
		})
		c.Tries = 2
		c.Tried = func(address string, err error) {
			if err != nil {
				t.Errorf("%s is said to have failed: %v", address, err)
			}
		}
		f := file(t, "http://mirror.example.org/f", "http://other.example.org/f")
		err := c.File(t.Context(), f, nil)
		if got, _ := os.ReadFile(f.Path); err != nil || !bytes.Equal(got, content) || requests.Load() != 10 {
			t.Errorf("%d requests, %d bytes, %v", requests.Load(), len(got), err)
		}
	})
}

// A server in trouble is asked again when it wants to be, but not as late as it likes,
// and does not hold up another address.
func TestRetryAfter(t *testing.T) {
	for _, c := range []struct {
		summary, header string
		more            []string
		least, most     time.Duration
	}{
		{"in time", "20", nil, 20 * time.Second, 31 * time.Second},
		{"too late", "3600", nil, 30 * time.Second, 45 * time.Second},
		{"no number", "soon", nil, 0, time.Second},
		{"another address", "20", []string{"http://mirror.example.org/g"}, 0, time.Second},
	} {
		t.Run(c.summary, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var requests atomic.Int32
				client := inMemory(t, func(w http.ResponseWriter, r *http.Request) {
					if requests.Add(1) == 1 {
						w.Header().Set("Retry-After", c.header)
						w.WriteHeader(http.StatusServiceUnavailable)
						return
					}
					http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
				})
				begun := time.Now()
				err := client.File(t.Context(), file(t, append([]string{"http://mirror.example.org/f"}, c.more...)...), nil)
				if took := time.Since(begun); err != nil || took < c.least || took > c.most {
					t.Errorf("it took %v, want %v to %v; %v", took, c.least, c.most, err)
				}
			})
		})
	}
}

func TestWait(t *testing.T) {
	for _, c := range []struct {
		lines []string
		want  time.Duration
	}{
		{nil, 0},
		{[]string{"wait=15"}, 15 * time.Second},
		{[]string{"respond-async, Wait=10;x=y"}, 10 * time.Second},
		{[]string{"return=minimal", "wait=3"}, 3 * time.Second},
		{[]string{"15", "wait=", "wait=-1", "wait=1h"}, 0},
	} {
		r := &http.Request{Header: http.Header{"Prefer": c.lines}}
		if got := fetch.Wait(r); got != c.want {
			t.Errorf("%q: %v, want %v", c.lines, got, c.want)
		}
	}
}
