package proxy_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ore"
	"ore/deb"
	"ore/deb/debtest"
	"ore/deb/fetch"
	"ore/deb/proxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// noise is text that does not compress, always the same.
func noise(n int, seed uint64) string {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte('0' + r.IntN(64))
	}
	return string(b)
}

// packages are eight, of some kB to half a MB.
func packages() []debtest.Package {
	var all []debtest.Package
	for i := range 8 {
		all = append(all, debtest.Package{Name: fmt.Sprintf("pack%d", i), Files: map[string]string{"usr/share/it": noise(5_000<<i, uint64(i))}})
	}
	return append(all, debtest.Package{Name: "core", Arch: "amd64", Fields: map[string]string{"Essential": "yes"}})
}

// site is a mirror, a proxy of it, and the lock of all that the mirror has.
type site struct {
	mirror *debtest.Archive
	proxy  *proxy.Proxy
	url    string
	client *http.Client // of the proxy's
	debs   string
	lock   ore.Environment
}

// quick loses no time over its tries, and keeps no connections.
func quick(t *testing.T) *fetch.Client {
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &fetch.Client{HTTP: &http.Client{Transport: transport}, Tries: 3, Pause: time.Millisecond, Stall: 20 * time.Second}
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{mirror: debtest.New(t, packages()...)}
	dir := t.TempDir()
	s.debs = filepath.Join(dir, "debs")
	a, err := deb.Open(t.Context(), deb.Config{Dir: dir, Base: ore.Base{Suite: debtest.Suite}, Mirror: s.mirror.URL, Keyring: s.mirror.KeyFile, Client: quick(t)})
	if err != nil {
		t.Fatal(err)
	}
	var wishes []ore.Wish
	for _, p := range packages() {
		wishes = append(wishes, ore.Wish{Name: p.Name})
	}
	if s.lock, err = a.Resolve(t.Context(), ore.Wants{Base: ore.Base{Suite: debtest.Suite}, Packages: wishes}); err != nil {
		t.Fatal(err)
	}
	s.mirror.Requests()
	if s.proxy, err = proxy.New(proxy.Config{Dir: filepath.Join(dir, "proxy"), Client: quick(t)}); err != nil {
		t.Fatal(err)
	}
	if err := s.proxy.Offer(a); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(s.proxy)
	s.url, s.client = server.URL, server.Client()
	t.Cleanup(func() {
		if err := s.proxy.Close(); err != nil {
			t.Error(err)
		}
		server.Close()
	})
	return s
}

// largest is the package that takes longest to come.
func (s *site) largest() ore.Package {
	var most ore.Package
	for _, p := range s.lock.Packages {
		if p.Size > most.Size {
			most = p
		}
	}
	return most
}

func (s *site) by(p ore.Package) string { return s.url + "/sha256/" + p.Digest.Hex() }

// get returns a whole answer.
func (s *site) get(t *testing.T, url string, header ...string) (int, []byte, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, b, err
}

// TestSixteenMachines lets sixteen clients get all packages at the same time,
// half of them by digest and half by path: each crosses the uplink once.
func TestSixteenMachines(t *testing.T) {
	s := newSite(t)
	var all sync.WaitGroup
	for n := range 16 {
		var files []fetch.File
		dir := t.TempDir()
		for _, p := range s.lock.Packages {
			url := s.by(p)
			if n%2 == 1 {
				url = s.url + "/" + p.Path
			}
			files = append(files, fetch.File{URLs: []string{url}, Path: filepath.Join(dir, p.Name), Size: p.Size, Digest: p.Digest})
		}
		client := quick(t)
		all.Go(func() {
			if err := client.All(t.Context(), files, nil); err != nil {
				t.Errorf("client %d: %v", n, err)
			}
		})
	}
	all.Wait()
	var bytes int64
	asked := map[string]int{}
	for _, path := range s.mirror.Requests() {
		asked[path]++
	}
	for _, p := range s.lock.Packages {
		bytes += p.Size
		if asked[p.Path] != 1 {
			t.Errorf("the mirror was asked %d times for %s", asked[p.Path], p.Path)
		}
	}
	packages := int64(len(s.lock.Packages))
	if got, want := s.proxy.Counts(), (proxy.Counts{Answers: 16 * packages, Fetched: packages, Uplink: bytes}); got != want {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	t.Logf("%d packages, %d bytes, crossed the uplink once for 16 clients", packages, bytes)
}

// gate lets a half of what the mirror sends pass, and the rest when it is opened.
type gate struct {
	open chan struct{}
	once sync.Once
}

func newGate(t *testing.T) *gate {
	g := &gate{open: make(chan struct{})}
	t.Cleanup(g.pass)
	return g
}

func (g *gate) pass() { g.once.Do(func() { close(g.open) }) }

func (g *gate) fault(w http.ResponseWriter, r *http.Request, content []byte) bool {
	w.Header().Set("Content-Length", fmt.Sprint(len(content)))
	w.Write(content[:len(content)/2])
	w.(http.Flusher).Flush()
	<-g.open
	w.Write(content[len(content)/2:])
	return true
}

// TestReadersFollow reads a package's first half while the mirror holds the
// second back, in two readers, one of whom comes when that half is there already.
func TestReadersFollow(t *testing.T) {
	s := newSite(t)
	g := newGate(t)
	s.mirror.Break(g.fault)
	p := s.largest()
	half := p.Size / 2
	var sums []*bytes.Buffer
	var bodies []io.ReadCloser
	for range 2 {
		resp, err := s.client.Get(s.by(p))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b := &bytes.Buffer{}
		if _, err := io.CopyN(b, resp.Body, half); err != nil { // all that has come
			t.Fatal(err)
		}
		sums, bodies = append(sums, b), append(bodies, resp.Body)
	}
	g.pass()
	for i, body := range bodies {
		if _, err := io.Copy(sums[i], body); err != nil || ore.DigestOf(sums[i].Bytes()) != p.Digest {
			t.Errorf("reader %d: %d of %d bytes, %v", i, sums[i].Len(), p.Size, err)
		}
	}
	if n := len(s.mirror.Requests()); n != 1 {
		t.Errorf("%d requests", n)
	}
}

// TestWrongBytesAreNoAnswer sees that bytes whose digest is wrong are never the
// whole of an answer, and that the right ones are had when the mirror is well.
func TestWrongBytesAreNoAnswer(t *testing.T) {
	s := newSite(t)
	p := s.largest()
	s.mirror.Break(debtest.Corrupted("pool"))
	for range 3 {
		code, b, err := s.get(t, s.by(p))
		if code == http.StatusOK && (err == nil || int64(len(b)) >= p.Size) {
			t.Errorf("%d of %d wrong bytes are an answer: %v", len(b), p.Size, err)
		}
		if code != http.StatusOK && code != http.StatusBadGateway && err == nil { // or cut off before its head
			t.Errorf("status %d", code)
		}
	}
	if _, err := os.Stat(filepath.Join(s.debs, p.Digest.Hex()+".deb")); err == nil {
		t.Error("wrong bytes are kept")
	}
	s.mirror.Break(nil)
	// One who asks while the last flight comes down shares its error, which is
	// one that clients try again after.
	f := fetch.File{URLs: []string{s.by(p)}, Path: filepath.Join(t.TempDir(), "f"), Size: p.Size, Digest: p.Digest}
	if err := quick(t).File(t.Context(), f, nil); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestAnotherMirror has a first mirror that lies.
func TestAnotherMirror(t *testing.T) {
	s := newSite(t)
	liar := debtest.New(t, packages()...)
	liar.Break(debtest.Corrupted("pool"))
	p := s.largest()
	place := filepath.Join(t.TempDir(), "elsewhere")
	err := s.proxy.Know(fetch.File{Digest: p.Digest, Size: p.Size, Path: place, URLs: []string{liar.URL + "/" + p.Path, s.mirror.URL + "/" + p.Path}})
	if err != nil {
		t.Fatal(err)
	}
	f := fetch.File{URLs: []string{s.by(p)}, Path: filepath.Join(t.TempDir(), "f"), Size: p.Size, Digest: p.Digest}
	if err := quick(t).File(t.Context(), f, nil); err != nil {
		t.Error(err) // it may have been cut off, and have gone on
	}
	if n := len(liar.Requests()); n != 1 {
		t.Errorf("the liar was asked %d times", n)
	}
}

// TestTroubleIsTold sees the status that clients decide by, and that a client of this
// project names the mirror and the file, which the proxy asked for, and what to do.
func TestTroubleIsTold(t *testing.T) {
	for _, test := range []struct {
		fault debtest.Fault
		code  int
		say   string
	}{
		{debtest.Down, http.StatusBadGateway, "503"},
		{debtest.Missing("pool"), http.StatusNotFound, "404"},
	} {
		s := newSite(t)
		s.mirror.Break(test.fault)
		code, b, err := s.get(t, s.by(s.largest()))
		if err != nil || code != test.code || !strings.Contains(string(b), test.say) {
			t.Errorf("status %d, %v: %s", code, err, b)
		}
		if c := s.proxy.Counts(); c.Failures != 1 || c.Answers != 0 {
			t.Errorf("counted %+v", c)
		}
		p := s.largest()
		f := fetch.File{URLs: []string{s.by(p)}, Path: filepath.Join(t.TempDir(), "f"), Size: p.Size, Digest: p.Digest}
		err = quick(t).File(t.Context(), f, nil)
		for _, want := range []string{s.mirror.URL + "/" + p.Path + ": the server answers " + test.say, "another mirror", "(says " + s.by(p) + ")"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("a machine is told %v, without %q", err, want)
			}
		}
	}
}

// TestNobodyElsesProxy asks for what it was not told of; no mirror hears of that.
func TestNobodyElsesProxy(t *testing.T) {
	s := newSite(t)
	other := debtest.New(t, debtest.Package{Name: "other"})
	for _, path := range []string{
		"/", "/sha256/", "/sha256/" + strings.Repeat("a", 64), "/sha256/../pool", "/etc/passwd", "/pool/main/o/other/other_1.0_all.deb",
		"/dists/elsewhere/InRelease", "/dists/test/Release.gpg", "/dists/test/main/binary-amd64/by-hash/SHA256/" + strings.Repeat("b", 64),
		"/dists/test/../../pool", "/dists/test/main/source/Sources", "/" + other.URL + "/dists/test/InRelease",
	} {
		if code, b, err := s.get(t, s.url+path); err != nil || code != http.StatusNotFound && code != http.StatusBadRequest {
			t.Errorf("%s: status %d, %v, %q", path, code, err, b)
		}
	}
	// As a client does that takes it for a proxy of everything.
	conn := &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return url.Parse(s.url) }}
	defer conn.CloseIdleConnections()
	resp, err := (&http.Client{Transport: conn}).Get(other.URL + "/dists/test/main/binary-amd64/Packages.xz")
	if err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("%v: %v", resp, err)
	}
	if err == nil {
		resp.Body.Close()
	}
	resp, err = s.client.Post(s.by(s.largest()), "text/plain", strings.NewReader("x"))
	if err != nil || resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %v, %v", resp, err)
	} else {
		resp.Body.Close()
	}
	if n := s.mirror.Requests(); len(n) != 0 {
		t.Errorf("the mirror was asked %q", n)
	}
	if n := other.Requests(); len(n) != 0 {
		t.Errorf("somebody was asked %q", n)
	}
}

// TestKeptPackages serves what the host has without asking anybody, but not when
// it is not that any more.
func TestKeptPackages(t *testing.T) {
	s := newSite(t)
	p := s.largest()
	if code, _, err := s.get(t, s.by(p)); err != nil || code != http.StatusOK {
		t.Fatal(code, err)
	}
	s.mirror.Requests()
	place := filepath.Join(s.debs, p.Digest.Hex()+".deb")
	again := func(want int) {
		t.Helper()
		q, err := proxy.New(proxy.Config{Dir: t.TempDir(), Client: quick(t)}) // which has proved nothing yet
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		if err := q.Know(fetch.File{Digest: p.Digest, Size: p.Size, Path: place, URLs: []string{s.mirror.URL + "/" + p.Path}}); err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		q.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/sha256/"+p.Digest.Hex(), nil))
		if w.Code != http.StatusOK || ore.DigestOf(w.Body.Bytes()) != p.Digest {
			t.Errorf("status %d, %d bytes", w.Code, w.Body.Len())
		}
		if got := s.mirror.Requests(); len(got) != want {
			t.Errorf("the mirror was asked %q", got)
		}
		if c := q.Counts(); c.Kept != int64(1-want) || c.Fetched != int64(want) {
			t.Errorf("counted %+v", c)
		}
	}
	again(0)
	rotten, err := os.ReadFile(place)
	if err != nil {
		t.Fatal(err)
	}
	rotten[len(rotten)/3] ^= 1
	if err := os.WriteFile(place, rotten, 0o644); err != nil {
		t.Fatal(err)
	}
	again(1)
}

// TestRanges asks for parts, of a file that is coming and of one that is here.
func TestRanges(t *testing.T) {
	s := newSite(t)
	p := s.largest()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, s.by(p), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := s.client.Do(req)
	if err != nil || resp.ContentLength != p.Size || resp.Header.Get("ETag") != `"`+p.Digest.Hex()+`"` {
		t.Errorf("HEAD: %v, %v", resp, err)
	}
	resp.Body.Close()
	if n := len(s.mirror.Requests()); n != 0 {
		t.Errorf("HEAD asks the mirror %d times", n)
	}
	_, want, err := s.get(t, s.mirror.URL+"/"+p.Path)
	if err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"coming", "here"} {
		for _, r := range [][2]int64{{p.Size - 1, p.Size}, {0, 1}, {p.Size / 3, p.Size}, {7, 5000}} {
			code, b, err := s.get(t, s.by(p), "Range", fmt.Sprintf("bytes=%d-%d", r[0], r[1]-1))
			if err != nil || code != http.StatusPartialContent || !bytes.Equal(b, want[r[0]:r[1]]) {
				t.Errorf("%s, range %v: status %d, %d bytes, %v", when, r, code, len(b), err)
			}
		}
		if code, _, _ := s.get(t, s.by(p), "Range", fmt.Sprintf("bytes=%d-", p.Size)); code != http.StatusRequestedRangeNotSatisfiable {
			t.Errorf("%s, a range behind the end: status %d", when, code)
		}
		if code, b, _ := s.get(t, s.by(p), "If-None-Match", `"`+p.Digest.Hex()+`"`); code != http.StatusNotModified || len(b) != 0 {
			t.Errorf("%s, known: status %d", when, code)
		}
	}
}

// TestCloseCutsOff ends a proxy while a reader waits for the rest.
func TestCloseCutsOff(t *testing.T) {
	s := newSite(t)
	s.mirror.Break(debtest.Stalled("pool"))
	resp, err := s.client.Get(s.by(s.largest()))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadFull(resp.Body, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	if err := s.proxy.Close(); err != nil {
		t.Error(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the reader got %v", err)
	}
	if code, _, err := s.get(t, s.by(s.largest())); err != nil || code != http.StatusServiceUnavailable {
		t.Errorf("afterwards: status %d, %v", code, err)
	}
}
