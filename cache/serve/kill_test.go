package serve_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ore"
	"ore/cache/serve"
	"ore/cache/serve/client"
	"ore/image"
	"ore/testbed/cable"
)

// serveForParent is the server as a process of its own.
func serveForParent(dir string) int {
	ctx := context.Background()
	s, err := serve.New(ctx, serve.Config{Dir: dir})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cert, err := serve.ServerCertificate(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Printf("https://%s#sha256:%s\n", l.Addr(), serve.Fingerprint(cert.Certificate[0]))
	fmt.Fprintln(os.Stderr, s.Serve(ctx, l, cert, nil))
	return 1
}

// process starts the server as a process and returns its URL and what kills it.
func process(t *testing.T, dir string) (url string, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "ORE_TEST_SERVE="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill() // SIGKILL
		_ = cmd.Wait()         // says that it was killed
	})
	t.Cleanup(kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the server did not start: %v", err)
	}
	return strings.TrimSpace(line), kill
}

func TestKilledServerLeavesNothingHalf(t *testing.T) { killServer(t, 6) }

// killServer kills a server at random moments while clients push and remove.
func killServer(t *testing.T, kills int) {
	dir := t.TempDir()
	tokens, err := serve.OpenTokens(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	token, err := tokens.Add(serve.Identity{Name: "a", Namespace: "lab", Write: true})
	if err != nil {
		t.Fatal(err)
	}
	builder := store(t)
	var images []image.Manifest
	for i := range 8 {
		images = append(images, made(t, builder, 300_000, uint64(i), 50, uint64(60+i%3)))
	}
	pushed, lots := 0, chance(t)
	for range kills {
		url, kill := process(t, dir)
		c, err := client.New(client.Config{URL: url, Token: token, Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		checkAll(t, c)
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		done := make(chan struct{}, len(images)*2)
		for worker := range 2 {
			group.Go(func() {
				for i := worker; ctx.Err() == nil; i = (i + 2) % len(images) {
					m := images[i]
					_ = c.Forget(ctx, m.Key)
					if c.Push(ctx, builder, client.Pushed{Manifest: m}) == nil {
						select {
						case done <- struct{}{}:
						default:
						}
					}
				}
			})
		}
		// The kill comes at any moment after a random number of images.
		for range lots.IntN(6) {
			<-done
			pushed++
		}
		wait, stop := context.WithTimeout(ctx, time.Duration(lots.IntN(30))*time.Millisecond)
		<-wait.Done()
		stop()
		kill()
		cancel()
		group.Wait()
		c.Close()
	}
	url, _ := process(t, dir)
	c, err := client.New(client.Config{URL: url, Token: token, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	n := checkAll(t, c)
	if left := files(t, filepath.Join(dir, "serve", "uploads")); left != 0 {
		t.Errorf("%d unfinished uploads are left", left)
	}
	t.Logf("%d images pushed in %d lives, %d are listed", pushed, kills, n)
}

// checkAll fetches every image that is listed.
func checkAll(t *testing.T, c *client.Client) int {
	t.Helper()
	all, err := c.Images(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		f, err := c.Find(t.Context(), e.Key, nil)
		if err != nil {
			t.Fatalf("a listed image: %v", err)
		}
		s := store(t)
		if _, err := c.Fetch(t.Context(), f.Manifest, s, nil); err != nil {
			t.Fatalf("a listed image: %v", err)
		}
		whole(t, s, f.Manifest)
	}
	return len(all)
}

func TestABlobWithoutAnImageIsRemoved(t *testing.T) {
	now := &clock{now: time.Now()}
	w := start(t, serve.Config{Now: now.Now})
	token := w.token(serve.Identity{Name: "a", Namespace: "lab", Write: true})
	b := content(1000, 1)
	d := ore.DigestOf(b)
	s := w.announce(token, d, int64(len(b)))
	if err := w.do(token, http.MethodPut, "/v1/uploads/"+s.ID+"?offset=0", bytes.NewReader(b), nil); err != nil {
		t.Fatal(err)
	}
	if err := w.do(token, http.MethodPost, "/v1/uploads/"+s.ID+"/commit", nil, nil); err != nil {
		t.Fatal(err)
	}
	if s := w.announce(token, d, int64(len(b))); !s.Exists {
		t.Fatal("the blob is not there")
	}
	now.move(time.Hour)
	w.server.Sweep()
	if s := w.announce(token, d, int64(len(b))); s.Exists {
		t.Error("a blob that no image has is kept")
	}
}

func TestFetchGoesOnWhereItWasInterrupted(t *testing.T) {
	w := start(t, serve.Config{})
	c := w.client("a", "lab", true)
	builder, host := store(t), store(t)
	m := made(t, builder, 3_000_000, 1, 2, 3, 4, 5, 6, 7, 8)
	push(t, c, builder, m)
	stopped, stop := context.WithCancel(t.Context())
	defer stop()
	url, pin, _ := strings.Cut(w.url, "#")
	// The line holds for two thirds of the layer, and then no more.
	line := cable.Lay(t, strings.TrimPrefix(url, "https://"))
	line.CutAfter(m.Size()*2/3, stop)
	dead := w.with(client.Config{Token: c.Token, URL: "https://" + line.Addr + "#" + pin})
	if _, err := dead.Fetch(stopped, m, host, nil); err == nil {
		t.Fatal("the line held")
	}
	if _, err := host.Path(m.Layers[0].Digest); !errors.Is(err, image.ErrMissing) {
		t.Fatalf("half a layer is seen: %v", err)
	}
	again, err := client.New(client.Config{URL: w.url, Token: c.Token, Dir: dead.Dir})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	got, err := again.Fetch(t.Context(), m, host, nil)
	if err != nil {
		t.Fatal(err)
	}
	whole(t, host, m)
	if got.Received > m.Size()*3/4 {
		t.Errorf("%d of %d bytes came again", got.Received, m.Size())
	}
	if n := files(t, filepath.Join(dead.Dir, "partial")); n != 0 {
		t.Errorf("%d unfinished layers are left", n)
	}
}
