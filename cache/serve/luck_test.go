package serve_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ore"
	"ore/cache/serve"
	"ore/cache/serve/client"
	"ore/cache/serve/wire"
	"ore/testbed/cable"
)

// endless never ends.
type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func (w *site) announce(token string, d ore.Digest, size int64) wire.Session {
	w.t.Helper()
	var s wire.Session
	if err := w.do(token, http.MethodPost, "/v1/uploads", strings.NewReader(fmt.Sprintf(`{"Digest":%q,"Size":%d}`, d, size)), &s); err != nil {
		w.t.Fatal(err)
	}
	return s
}

func TestBadUploads(t *testing.T) {
	w := start(t, serve.Config{})
	token := w.token(serve.Identity{Name: "a", Namespace: "lab", Write: true})
	good := content(100_000, 1)
	d := ore.DigestOf(good)
	blobs := filepath.Join(w.dir, "namespaces", "lab", "blobs")

	s := w.announce(token, d, int64(len(good)))
	if err := w.do(token, http.MethodPut, "/v1/uploads/"+s.ID+"?offset=0", bytes.NewReader(make([]byte, len(good))), nil); err != nil {
		t.Fatal(err)
	}
	if err := w.do(token, http.MethodPost, "/v1/uploads/"+s.ID+"/commit", nil, nil); err == nil || !strings.HasPrefix(err.Error(), "409") {
		t.Errorf("bytes that are not the digest's were taken: %v", err)
	}
	s = w.announce(token, d, int64(len(good)))
	if err := w.do(token, http.MethodPut, "/v1/uploads/"+s.ID+"?offset=0", endless{}, nil); err == nil {
		t.Error("an endless upload ended well")
	}
	if err := w.do(token, http.MethodGet, "/v1/uploads/"+s.ID, nil, nil); err == nil || !strings.HasPrefix(err.Error(), "404") {
		t.Errorf("what is left of an endless upload: %v", err)
	}
	s = w.announce(token, d, int64(len(good)))
	if err := w.do(token, http.MethodPut, "/v1/uploads/"+s.ID+"?offset=0", bytes.NewReader(make([]byte, len(good)+1)), nil); err == nil || !strings.HasPrefix(err.Error(), "413") {
		t.Errorf("more than was announced: %v", err)
	}
	if err := w.do(token, http.MethodPut, "/v1/uploads/"+s.ID+"?offset=5", bytes.NewReader(good[5:]), nil); err == nil || !strings.HasPrefix(err.Error(), "409") {
		t.Errorf("a gap: %v", err)
	}
	if err := w.do(token, http.MethodPost, "/v1/uploads/"+s.ID+"/commit", nil, nil); err == nil || !strings.HasPrefix(err.Error(), "409") {
		t.Errorf("an unfinished upload became a blob: %v", err)
	}
	for _, size := range []int64{0, -1, 1 << 50} {
		if err := w.do(token, http.MethodPost, "/v1/uploads", strings.NewReader(fmt.Sprintf(`{"Digest":%q,"Size":%d}`, d, size)), nil); err == nil || !strings.HasPrefix(err.Error(), "400") {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
	if n := files(t, blobs); n != 0 {
		t.Errorf("%d blobs were made", n)
	}
	// Nobody else can send to one's upload.
	if err := w.json("lab", http.MethodGet, "/v1/uploads/"+s.ID, nil, nil); err == nil || !strings.HasPrefix(err.Error(), "404") {
		t.Errorf("another client's upload: %v", err)
	}
	for range 15 {
		w.announce(token, d, 10)
	}
	if err := w.do(token, http.MethodPost, "/v1/uploads", strings.NewReader(fmt.Sprintf(`{"Digest":%q,"Size":10}`, d)), nil); err == nil || !strings.HasPrefix(err.Error(), "429") {
		t.Errorf("one upload too many: %v", err)
	}
}

func TestBadRequests(t *testing.T) {
	w := start(t, serve.Config{})
	token := w.token(serve.Identity{Name: "a", Namespace: "lab", Write: true})
	key := environment(1).Key()
	for _, c := range []struct {
		method, path, body string
		status             string
	}{
		{"GET", "/v1/blobs/..%2f..%2f..%2fetc%2fpasswd", "", "400"},
		{"GET", "/v1/blobs/sha256:..%2f..%2ftokens.json", "", "400"},
		{"GET", "/v1/blobs/sha256:" + strings.Repeat("A", 64), "", "400"},
		{"GET", "/v1/images/..%2fx", "", "400"},
		{"GET", "/v1/images/" + string(key) + "?have=../../x", "", "404"},
		{"POST", "/v1/leases/..%2fx", "", "400"},
		{"POST", "/v1/leases/" + string(key) + "?wait=-1", "", "400"},
		{"GET", "/v1/uploads/..%2f..%2ftokens.json", "", "404"},
		{"PUT", "/v1/leases/" + string(key) + "/x", `{"Stage":"x"}`, "404"},
		{"POST", "/v1/images", `{"Manifest":"e30="}`, "400"},
		{"POST", "/v1/images", `[`, "400"},
		{"POST", "/v1/images", `"` + strings.Repeat("x", 100<<20), "413"},
		{"POST", "/v1/uploads", `{"Digest":"../../x","Size":5}`, "400"},
		{"POST", "/v1/uploads", strings.Repeat(" ", 2<<20), "413"},
		{"POST", "/v1/patches", `{"Target":"sha256:x"}`, "400"},
		{"POST", "/v1/candidates", strings.Repeat("[", 100_000), "400"},
		{"PATCH", "/v1/images", "", "405"},
	} {
		err := w.do(token, c.method, c.path, strings.NewReader(c.body), nil)
		if err == nil || !strings.HasPrefix(err.Error(), c.status) {
			t.Errorf("%s %s: %v, not %s", c.method, c.path, err, c.status)
		}
	}
}

// clock is one that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestWhatClientsLeaveIsRemoved(t *testing.T) {
	now := &clock{now: time.Now()}
	w := start(t, serve.Config{Now: now.Now})
	token := w.token(serve.Identity{Name: "a", Namespace: "lab", Write: true})
	b := content(1000, 1)
	s := w.announce(token, ore.DigestOf(b), int64(len(b)))
	if err := w.do(token, http.MethodPut, "/v1/uploads/"+s.ID+"?offset=0", bytes.NewReader(b[:500]), nil); err != nil {
		t.Fatal(err)
	}
	w.server.Sweep()
	if err := w.do(token, http.MethodGet, "/v1/uploads/"+s.ID, nil, &s); err != nil || s.Received != 500 {
		t.Fatalf("an upload was removed too early: %+v, %v", s, err)
	}
	now.move(time.Hour)
	w.server.Sweep()
	if err := w.do(token, http.MethodGet, "/v1/uploads/"+s.ID, nil, nil); err == nil {
		t.Error("an upload that stands still is kept")
	}
	if n := files(t, filepath.Join(w.dir, "serve", "uploads")); n != 0 {
		t.Errorf("%d files are left", n)
	}
}

func TestADeadBuilderHandsOver(t *testing.T) {
	now := &clock{now: time.Now()}
	w := start(t, serve.Config{Now: now.Now})
	s := store(t)
	m := made(t, s, 1000, 1)
	dead := w.token(serve.Identity{Name: "dead", Namespace: "lab", Write: true})
	var l wire.Lease
	if err := w.do(dead, http.MethodPost, "/v1/leases/"+string(m.Key), nil, &l); err != nil || l.State != wire.Build {
		t.Fatalf("%+v: %v", l, err)
	}
	if err := w.do(dead, http.MethodPut, "/v1/leases/"+string(m.Key)+"/"+l.ID, strings.NewReader(`{"Stage":"unpack","Done":3,"Total":9}`), nil); err != nil {
		t.Fatal(err)
	}
	c := w.client("next", "lab", true)
	waiting := make(chan ore.Event, 100)
	done := make(chan error, 1)
	go func() {
		built, err := c.Share(t.Context(), m.Key, func(e ore.Event) { waiting <- e }, func(ctx context.Context, _ ore.Watcher) error {
			return c.Push(ctx, s, client.Pushed{Manifest: m})
		})
		if err == nil && !built {
			err = errors.New("not built by the one who waited")
		}
		done <- err
	}()
	if e := <-waiting; e.Stage != "unpack" || e.Done != 3 {
		t.Errorf("progress of the builder: %+v", e)
	}
	now.move(wire.Expiry)
	w.server.Sweep()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := c.Find(t.Context(), m.Key, nil); err != nil {
		t.Fatal(err)
	}
}

// A builder that is killed closes its connection, and whoever waits builds at
// once, long before the lease would expire.
func TestAKilledBuilderHandsOverAtOnce(t *testing.T) {
	w := start(t, serve.Config{})
	s := store(t)
	m := made(t, s, 1000, 1)
	to, pin, _ := strings.Cut(strings.TrimPrefix(w.url, "https://"), "#")
	line := cable.Lay(t, to)
	address := "https://" + line.Addr + "#" + pin
	held := make(chan struct{}, 10)
	dead := w.with(client.Config{URL: address, Token: w.token(serve.Identity{Name: "dead", Namespace: "lab", Write: true}),
		Received: func(n int64) {
			if n == 1 { // the byte that says that the server watches the connection
				held <- struct{}{}
			}
		}})
	killed, kill := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := dead.Share(killed, m.Key, nil, func(ctx context.Context, _ ore.Watcher) error {
			<-ctx.Done()
			return ctx.Err()
		})
		gone <- err
	}()
	<-held
	c := w.client("next", "lab", true)
	waits, done := make(chan struct{}, 100), make(chan error, 1)
	go func() {
		_, err := c.Share(t.Context(), m.Key, func(ore.Event) { waits <- struct{}{} }, func(ctx context.Context, _ ore.Watcher) error {
			return c.Push(ctx, s, client.Pushed{Manifest: m})
		})
		done <- err
	}()
	<-waits
	begun := time.Now()
	line.Cut()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begun); took > wire.Expiry/2 {
		t.Errorf("the next one waited for %v", took)
	}
	kill()
	<-gone
}

func TestAFailedBuildHandsOver(t *testing.T) {
	w := start(t, serve.Config{})
	s := store(t)
	m := made(t, s, 1000, 1)
	a, b := w.client("a", "lab", true), w.client("b", "lab", true)
	broken := errors.New("no more disk")
	if built, err := a.Share(t.Context(), m.Key, nil, func(context.Context, ore.Watcher) error { return broken }); !built || !errors.Is(err, broken) {
		t.Fatalf("built %v: %v", built, err)
	}
	if built, err := b.Share(t.Context(), m.Key, nil, func(ctx context.Context, _ ore.Watcher) error {
		return b.Push(ctx, s, client.Pushed{Manifest: m})
	}); !built || err != nil {
		t.Fatalf("built %v: %v", built, err)
	}
}

// cutter passes connections on and cuts each after some bytes, in either
// direction; later ones live longer, so that all ends well.
func cutter(t *testing.T, to string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	lots := chance(t)
	group.Go(func() {
		limit := int64(700_000) // less than what HTTP/2 lets a client send ahead gets lost as a whole
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			n := limit/2 + lots.Int64N(limit)
			limit += limit / 2
			// What was passed on arrives: a reset would take it back out of the
			// receiver's hands, and no client could ever get further.
			group.Go(func() {
				_, _ = io.CopyN(out, in, n)
				_ = out.(*net.TCPConn).CloseWrite()
				in.Close()
			})
			group.Go(func() {
				_, _ = io.CopyN(in, out, n)
				in.Close()
				_, _ = io.Copy(io.Discard, out)
				out.Close()
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		group.Wait()
	})
	return l.Addr().String()
}

func TestTornConnections(t *testing.T) {
	w := start(t, serve.Config{})
	url, pin, _ := strings.Cut(w.url, "#")
	torn := "https://" + cutter(t, strings.TrimPrefix(url, "https://")) + "#" + pin
	c := w.with(client.Config{URL: torn, Token: w.token(serve.Identity{Name: "a", Namespace: "lab", Write: true})})
	s := store(t)
	m := made(t, s, 6_000_000, 1)
	push(t, c, s, m)
	torn = "https://" + cutter(t, strings.TrimPrefix(url, "https://")) + "#" + pin
	reader := w.with(client.Config{URL: torn, Token: w.token(serve.Identity{Name: "b", Namespace: "lab"})})
	f, err := reader.Find(t.Context(), m.Key, nil)
	if err != nil {
		t.Fatal(err)
	}
	theirs := store(t)
	if _, err := reader.Fetch(t.Context(), f.Manifest, theirs, nil); err != nil {
		t.Fatal(err)
	}
	whole(t, theirs, m)
}

func TestAServerThatHangsCostsTheDeadlineAlone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := client.New(client.Config{URL: "https://" + l.Addr().String(), Token: "x", Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if _, err := c.Find(ctx, environment(1).Key(), nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("not the deadline: %v", err)
	}
	if took := time.Since(begun); took > time.Minute { // the client itself would go on for longer
		t.Fatalf("it took %v", took)
	}
}
