package relay

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ore"
	places "ore/install/pour/blob"
)

// slowDisk is a blob that takes some time to read, each time.
type slowDisk struct {
	opened
	each time.Duration
}

// Read implements io.Reader.
func (s slowDisk) Read(b []byte) (int, error) {
	time.Sleep(s.each)
	return s.opened.Read(b)
}

// slowSums has the server read a blob so slowly that its sums take that time.
func (s *lender) slowSums(b []byte, all time.Duration) {
	s.book.Open = func(context.Context, ore.Digest) (io.ReadSeekCloser, error) {
		return slowDisk{opened{bytes.NewReader(b)}, all / time.Duration(chunks(int64(len(b)))+1)}, nil
	}
}

// Sums that take longer than anybody waits for a first byte, three times here, hold up
// nobody: what they are of comes from the server meanwhile, as fast as without a relay,
// and from another machine as soon as they are there.
func TestSumsMayTakeLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 256 << 10 // so that the blob takes 128 s when both machines ask for it
		b := content(128 * Chunk)
		net := &fabric{at: map[string]*port{}}
		s := newLender(b)
		s.URL, s.line = "http://10.0.0.1:80", &line{rate: 2 * rate}
		s.slowSums(b, time.Minute)
		server := &http.Server{Handler: s.mux}
		var last, all sync.WaitGroup
		l := net.listen(1)
		last.Go(func() { server.Serve(l) })
		var relays [2]*Relay
		for i := range relays {
			base := net.transport(2 + i)
			defer base.CloseIdleConnections()
			r := newRelay(t.Context(), Config{Chain: s.URL + "/chain/m" + string(rune('0'+i)) + "/", Blobs: s.URL + "/blob/", Transport: base})
			r.serve(net.listen(2 + i))
			relays[i] = r
			all.Go(func() {
				c := places.Client{HTTP: &http.Client{Transport: r}}
				from := places.Blob{Digest: ore.DigestOf(b), Size: int64(len(b)), From: []string{s.URL + "/blob/" + string(ore.DigestOf(b))}}
				begun := time.Now()
				got, err := io.ReadAll(c.Open(t.Context(), from, 0, int64(len(b))))
				if err != nil || !bytes.Equal(got, b) {
					t.Errorf("machine %d: %d of %d bytes, %v", i, len(got), len(b), err)
				}
				t.Logf("machine %d: %v, %+v", i, time.Since(begun), r.Counts())
				if took := time.Since(begun); took > 110*time.Second { // half of it from each other, and nothing comes twice
					t.Errorf("machine %d took %v, and 128 s without a relay", i, took)
				}
			})
		}
		all.Wait()
		if c := relays[1].Counts(); c.Near+relays[0].Counts().Near < int64(len(b))/3 {
			t.Errorf("the machines passed on little: %+v, %+v", relays[0].Counts(), c)
		}
		for _, r := range relays {
			r.Close()
		}
		server.Close()
		s.book.Close()
		last.Wait()
	})
}

// Sums are made once and to their end, though who asked for them is gone, and who asks
// meanwhile hears so at once; a book that is closed makes no more of them.
func TestSumsAreNotBoundToWhoAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := content(8 * Chunk)
		s := newLender(b)
		defer s.book.Close()
		s.slowSums(b, time.Minute)
		e, d := s.book.entry(ore.DigestOf(b)), ore.DigestOf(b)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		begun := time.Now()
		if _, _, err := s.book.list(gone, e, d); err == nil {
			t.Error("who is gone has an answer")
		}
		if _, _, err := s.book.list(t.Context(), e, d); err != errNotReady || time.Since(begun) > brief {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
		time.Sleep(time.Minute)
		if all, size, err := s.book.list(t.Context(), e, d); err != nil || size != int64(len(b)) || len(all) != 8*32 || time.Since(begun) > time.Minute+brief {
			t.Errorf("after %v: %d bytes of sums of %d, %v", time.Since(begun), len(all), size, err)
		}
	})
}

// A book that is closed while it makes sums ends that, and tells nobody of it.
func TestClosedBookMakesNoSums(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := content(8 * Chunk)
		s := newLender(b)
		s.slowSums(b, time.Minute)
		e, d := s.book.entry(ore.DigestOf(b)), ore.DigestOf(b)
		begun := time.Now()
		s.book.list(t.Context(), e, d)
		s.book.Close()
		if took := time.Since(begun); took > time.Minute/2 {
			t.Errorf("it ended after %v", took)
		}
		for range 2 { // what was begun, and what is not any more
			if _, _, err := s.book.list(t.Context(), e, d); err == nil || strings.Join(s.told, "") != "" {
				t.Errorf("after the end: %v, %q", err, s.told)
			}
		}
	})
}

// Who asks for a blob that is known does not wait until another one is, and who is gone
// waits for none.
func TestNoBlobWaitsForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known, slow := content(2*Chunk), content(3*Chunk)
		net := &fabric{at: map[string]*port{}}
		s := newLender(known, slow)
		s.URL = "http://10.0.0.1:80"
		server := &http.Server{Handler: s.mux}
		var all sync.WaitGroup
		l := net.listen(1)
		all.Go(func() { server.Serve(l) })
		base := net.transport(2)
		r := newRelay(t.Context(), Config{Chain: s.URL + "/chain/m/", Blobs: s.URL + "/blob/", Transport: base})
		s.has(t, r, known)
		s.slowSums(slow, time.Minute)
		asker, leave := context.WithCancel(t.Context())
		begun := time.Now()
		var left atomic.Bool
		all.Go(func() {
			defer left.Store(true)
			if b, err := s.read(asker, r, ore.DigestOf(slow), 0, 10); err == nil {
				t.Errorf("who is gone got %d bytes", len(b))
			}
		})
		synctest.Wait() // it waits to hear of the other blob
		s.has(t, r, known)
		leave()
		synctest.Wait()
		if took := time.Since(begun); took > 0 || !left.Load() {
			t.Errorf("a known blob waited %v, and who is gone still waits: %v", took, !left.Load())
		}
		r.Close()
		server.Close()
		all.Wait()
		s.book.Close()
		base.CloseIdleConnections()
	})
}

// A blob that the server has lost since its sums were made is not asked for time and
// again, neither by the first machine nor by one behind it: who wants it goes on without.
func TestWhatTheServerLostIsLost(t *testing.T) {
	b := content(8 * Chunk)
	s := newLender(b)
	defer s.book.Close()
	var asked atomic.Int64
	mux := http.NewServeMux()
	mux.Handle(Pattern, s.book)
	mux.HandleFunc("GET /blob/{digest}", func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.Error(w, "gone", http.StatusGone)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	s.URL = server.URL
	for _, token := range []string{"first", "second"} {
		asked.Store(0)
		c := places.Client{HTTP: &http.Client{Transport: s.joins(t, token, 0)}, Pause: time.Millisecond}
		from := places.Blob{Digest: ore.DigestOf(b), Size: int64(len(b)), From: []string{s.URL + "/blob/" + string(ore.DigestOf(b))}}
		_, err := io.ReadAll(c.Open(t.Context(), from, 0, int64(len(b))))
		if err == nil || !strings.Contains(err.Error(), "410 Gone") || asked.Load() > 3 {
			t.Errorf("the %s asked %d times: %v", token, asked.Load(), err)
		}
	}
}
