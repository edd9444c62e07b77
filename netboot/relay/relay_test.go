package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"ore"
)

// content is n bytes that are like no others.
func content(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}).Read(b)
	return b
}

// opened is a blob in memory.
type opened struct{ *bytes.Reader }

func (opened) Close() error { return nil }

// lender is a server that gives blobs and says who is before whom. Each token but
// "stranger" is a machine that installs itself, unless it is gone.
type lender struct {
	URL   string
	mux   *http.ServeMux
	book  *Book
	line  *line // that what is given crosses; nil bounds nothing
	blobs map[ore.Digest][]byte
	gave  atomic.Int64 // bytes of blobs

	mu   sync.Mutex // guards what follows
	gone map[string]bool
	told []string
}

// newLender makes one that nobody can reach.
func newLender(all ...[]byte) *lender {
	s := &lender{mux: http.NewServeMux(), blobs: map[ore.Digest][]byte{}, gone: map[string]bool{}}
	for _, b := range all {
		s.blobs[ore.DigestOf(b)] = b
	}
	open := func(_ context.Context, d ore.Digest) (io.ReadSeekCloser, error) {
		b, ok := s.blobs[d]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return opened{bytes.NewReader(b)}, nil
	}
	s.book = &Book{Open: open, Installs: func(token string) (string, bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		return "machine " + token, token != "stranger" && !s.gone[token]
	}, Tell: func(machine, text string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.told = append(s.told, machine+" "+text)
	}}
	s.mux.Handle(Pattern, s.book)
	s.mux.HandleFunc("GET /blob/{digest}", func(w http.ResponseWriter, r *http.Request) {
		f, err := open(r.Context(), ore.Digest(r.PathValue("digest")))
		if err != nil {
			http.NotFound(w, r)
			return
		}
		http.ServeContent(counted{w, s}, r, "", time.Time{}, f)
	})
	return s
}

// lend makes one in this host's network.
func lend(t testing.TB, all ...[]byte) *lender {
	t.Helper()
	s := newLender(all...)
	server := httptest.NewServer(s.mux)
	t.Cleanup(func() {
		server.Close()
		s.book.Close()
	})
	s.URL = server.URL
	return s
}

// counted is an answer of which the bytes are counted, and cross the server's line.
type counted struct {
	http.ResponseWriter
	lender *lender
}

func (c counted) Write(b []byte) (int, error) {
	c.lender.line.cross(len(b))
	c.lender.gave.Add(int64(len(b)))
	return c.ResponseWriter.Write(b)
}

// joins starts a machine's relay.
func (s *lender) joins(t testing.TB, token string, memory int64) *Relay {
	t.Helper()
	r, err := Start(t.Context(), Config{Chain: s.URL + "/chain/" + token + "/", Blobs: s.URL + "/blob/", Memory: memory})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return r
}

// read reads the range of a blob from the offset from on up to to.
func (s *lender) read(ctx context.Context, by http.RoundTripper, d ore.Digest, from, to int) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/blob/"+string(d), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
	resp, err := by.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusPartialContent {
		return nil, errors.New(resp.Status)
	}
	return io.ReadAll(resp.Body)
}

// has reads a blob and sees that it is what it should be.
func (s *lender) has(t testing.TB, by http.RoundTripper, b []byte) {
	t.Helper()
	got, err := s.read(t.Context(), by, ore.DigestOf(b), 0, len(b))
	if err != nil || !bytes.Equal(got, b) {
		t.Errorf("%d bytes came of %d, %v", len(got), len(b), err)
	}
}

// A machine's ranges are the blob's, whatever they begin and end with; what is none
// of the server's blobs is asked for plainly.
func TestRanges(t *testing.T) {
	b, empty := content(3*Chunk+5), []byte{}
	s := lend(t, b, empty)
	r := s.joins(t, "1", 0)
	d := ore.DigestOf(b)
	for _, c := range [][2]int{{0, 96}, {7, Chunk}, {Chunk - 1, Chunk + 1}, {Chunk, 2 * Chunk}, {3 * Chunk, len(b)}, {len(b) - 1, len(b)}, {5, len(b) + 99}} {
		got, err := s.read(t.Context(), r, d, c[0], c[1])
		if want := b[c[0]:min(c[1], len(b))]; err != nil || !bytes.Equal(got, want) {
			t.Errorf("%v: %d bytes, %v", c, len(got), err)
		}
	}
	for name, c := range map[string]struct {
		digest ore.Digest
		from   int
		want   string
	}{"beyond the end": {d, len(b), "416"}, "no such blob": {ore.DigestOf([]byte("x")), 0, "404"}, "of nothing": {ore.DigestOf(empty), 0, "200"}} {
		if got, err := s.read(t.Context(), r, c.digest, c.from, c.from+10); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	resp, err := (&http.Client{Transport: r}).Get(s.URL + "/blob/" + string(d)) // no range
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || !bytes.Equal(got, b) {
		t.Errorf("the whole: %s, %d bytes, %v", resp.Status, len(got), err)
	}
}

// Who keeps little has all the same, and gives what it does not keep any more by
// asking for it again.
func TestMemoryIsBounded(t *testing.T) {
	b := content(3 * leastMemory)
	s := lend(t, b)
	first, second := s.joins(t, "1", 1), s.joins(t, "2", 1)
	s.has(t, first, b)
	s.has(t, second, b)
	for _, r := range []*Relay{first, second} {
		r.mu.Lock()
		var sum int64
		for _, p := range r.pieces {
			sum += int64(len(p.bytes))
		}
		if r.used > leastMemory || sum != r.used || len(r.held) != len(r.pieces) {
			t.Errorf("%d bytes are kept, %d counted, %d of %d chunks listed", sum, r.used, len(r.held), len(r.pieces))
		}
		r.mu.Unlock()
	}
	if c := first.Counts(); c.Given < int64(len(b)) {
		t.Errorf("the first gave %d bytes of %d", c.Given, len(b))
	}
}

// A machine whose memory is gone, or that has ended, gives nothing.
func TestNothingIsGivenAfterTheEnd(t *testing.T) {
	b := content(2 * Chunk)
	s := lend(t, b)
	r := s.joins(t, "1", 0)
	s.has(t, r, b)
	at := fmt.Sprintf("http://127.0.0.1:%d/blob/%s", r.port, ore.DigestOf(b))
	resp, err := http.Get(at)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if other, err := http.Get(strings.Replace(at, string(ore.DigestOf(b)), string(ore.DigestOf([]byte("x"))), 1)); err != nil || other.StatusCode != http.StatusNotFound {
		t.Errorf("what it did not ask for: %v, %v", other, err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := http.Get(at); err == nil {
		t.Error("it still answers")
	}
	if _, err := s.read(t.Context(), r, ore.DigestOf(b), 0, 10); err != nil && !errors.Is(err, errClosed) {
		t.Errorf("after the end: %v", err)
	}
}

// held is who takes nothing until he is let go.
type held struct {
	*httptest.ResponseRecorder
	took, free chan struct{}
}

// Write implements io.Writer.
func (h held) Write(b []byte) (int, error) {
	close(h.took)
	<-h.free
	return len(b), nil
}

// When Close has returned, nothing is given any more.
func TestCloseWaitsForWhoIsGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := content(10) // one write
		s := newLender(b)
		net := &fabric{at: map[string]*port{}}
		s.URL = "http://10.0.0.1:80"
		server := &http.Server{Handler: s.mux}
		var all sync.WaitGroup
		l := net.listen(1)
		all.Go(func() { server.Serve(l) })
		base := net.transport(2)
		r := newRelay(t.Context(), Config{Chain: s.URL + "/chain/m/", Blobs: s.URL + "/blob/", Transport: base})
		s.has(t, r, b)
		h := held{httptest.NewRecorder(), make(chan struct{}), make(chan struct{})}
		q := httptest.NewRequest(http.MethodGet, "/blob/", nil)
		q.SetPathValue("digest", string(ore.DigestOf(b)))
		all.Go(func() { r.give(h, q) })
		<-h.took
		var closed atomic.Bool
		all.Go(func() {
			r.Close()
			closed.Store(true)
		})
		synctest.Wait()
		if closed.Load() {
			t.Error("it is closed while it gives")
		}
		close(h.free)
		base.CloseIdleConnections()
		server.Close()
		s.book.Close()
		all.Wait()
	})
}

// asks has a machine begin with a blob, and returns who is before it.
func (s *lender) asks(t *testing.T, token string, d ore.Digest, port int) (int, chain) {
	t.Helper()
	resp, err := http.Post(s.URL+"/chain/"+token+"/"+string(d), "", strings.NewReader(fmt.Sprintf(`{"port": %d}`, port)))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var c chain
	if resp.StatusCode == http.StatusOK {
		if err := json.NewDecoder(resp.Body).Decode(&c); err != nil {
			t.Fatal(err)
		}
	}
	return resp.StatusCode, c
}

// The book names those that began before, the last first, and of these only who still
// installs itself and gives; who begins again keeps its place.
func TestBookNamesThoseBefore(t *testing.T) {
	b := content(2*Chunk + 1)
	s := lend(t, b)
	d := ore.DigestOf(b)
	at := func(ports ...int) (all []string) {
		for _, p := range ports {
			all = append(all, fmt.Sprintf("http://127.0.0.1:%d/blob/", p))
		}
		return all
	}
	for _, c := range []struct {
		token string
		port  int
		gone  string
		want  []string
	}{
		{"a", 1, "", nil}, {"b", 2, "", at(1)}, {"mute", 0, "", at(2, 1)}, {"c", 3, "", at(2, 1)}, {"d", 4, "", at(3, 2, 1)},
		{"e", 5, "c", at(4, 2, 1)}, {"b", 22, "", at(1)}, {"f", 6, "a", at(5, 4, 22)}, {"g", 7, "f", at(5, 4, 22)}, {"b", 22, "", nil},
	} {
		s.mu.Lock()
		s.gone[c.gone] = c.gone != ""
		s.mu.Unlock()
		code, got := s.asks(t, c.token, d, c.port)
		if code != http.StatusOK || !slices.Equal(got.From, c.want) {
			t.Errorf("%+v: %d, %q", c, code, got.From)
		}
		last := sha256.Sum256(b[2*Chunk:])
		if got.Size != int64(len(b)) || len(got.Sums) != 3*sha256.Size || !bytes.Equal(got.Sums[2*sha256.Size:], last[:]) {
			t.Errorf("%d bytes, %d of sums", got.Size, len(got.Sums))
		}
	}
	if len(s.told) == 0 || !strings.HasPrefix(s.told[0], "machine b gets ") || !strings.Contains(s.told[0], "from machine a") {
		t.Errorf("told: %q", s.told)
	}
}

// Who is no machine, or asks for what there is not, or is not what it is called, is
// told so.
func TestBookRefuses(t *testing.T) {
	b := content(Chunk)
	s := lend(t, b)
	rotten := ore.DigestOf([]byte("rotten"))
	s.blobs[rotten] = b
	for _, c := range []struct {
		token string
		d     ore.Digest
		want  int
	}{{"stranger", ore.DigestOf(b), http.StatusForbidden}, {"a", ore.DigestOf([]byte("x")), http.StatusNotFound}, {"a", "sha256:x", http.StatusBadRequest}, {"a", rotten, http.StatusInternalServerError}} {
		if code, _ := s.asks(t, c.token, c.d, 1); code != c.want {
			t.Errorf("%+v: %d", c, code)
		}
	}
	if code, _ := s.asks(t, "a", ore.DigestOf(b), 1<<20); code != http.StatusBadRequest {
		t.Errorf("no port: %d", code)
	}
	if len(s.told) != 1 || !strings.Contains(s.told[0], "its bytes have the digest") {
		t.Errorf("told: %q", s.told)
	}
	if got, err := s.read(t.Context(), s.joins(t, "b", 0), rotten, 0, len(b)); err != nil || !bytes.Equal(got, b) {
		t.Errorf("what has no sums is read as it is: %d bytes, %v", len(got), err)
	}
}

func FuzzSpan(f *testing.F) {
	for _, s := range []string{"bytes=0-0", "bytes=5-4", "bytes=-5", "bytes=5-", "bytes=1-2,4-5", "items=0-1", "bytes=+1-2", "bytes=0-99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		from, to, ok := span(s)
		if ok && (from < 0 || to < from) {
			t.Errorf("%q is read as from %d to %d", s, from, to)
		}
		var a, b int64
		if n, _ := fmt.Sscanf(s, "bytes=%d-%d", &a, &b); ok && (n != 2 || a != from || b != to) {
			t.Errorf("%q is read as from %d to %d", s, from, to)
		}
	})
}
