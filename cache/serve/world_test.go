package serve_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ore"
	"ore/cache/serve"
	"ore/cache/serve/client"
	"ore/image"
	"ore/squashfs"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("ORE_TEST_SERVE"); dir != "" {
		os.Exit(serveForParent(dir))
	}
	goleak.VerifyTestMain(m)
}

// site is a running server.
type site struct {
	t           testing.TB
	server      *serve.Server
	url         string
	certificate tls.Certificate
	dir         string
	stop        func()
}

// start serves a new folder, or dir if it is given.
func start(t testing.TB, c serve.Config) *site {
	t.Helper()
	if c.Dir == "" {
		c.Dir = t.TempDir()
	}
	s, err := serve.New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := serve.ServerCertificate(c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l, cert, nil) }()
	w := &site{t: t, server: s, dir: c.Dir, certificate: cert, url: "https://" + l.Addr().String() + "#sha256:" + serve.Fingerprint(cert.Certificate[0])}
	once := false
	w.stop = func() {
		if once {
			return
		}
		once = true
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	}
	t.Cleanup(w.stop)
	return w
}

// token makes a token.
func (w *site) token(i serve.Identity) string {
	w.t.Helper()
	tokens, err := serve.OpenTokens(w.dir, "")
	if err != nil {
		w.t.Fatal(err)
	}
	token, err := tokens.Add(i)
	if err != nil {
		w.t.Fatal(err)
	}
	return token
}

// client returns a client with a token of its own.
func (w *site) client(name, namespace string, write bool) *client.Client {
	w.t.Helper()
	return w.with(client.Config{Token: w.token(serve.Identity{Name: name, Namespace: namespace, Write: write})})
}

func (w *site) with(c client.Config) *client.Client {
	w.t.Helper()
	if c.URL == "" {
		c.URL = w.url
	}
	c.Dir = w.t.TempDir()
	x, err := client.New(c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(x.Close)
	return x
}

func store(t testing.TB) *image.Store {
	t.Helper()
	s, err := image.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// content makes bytes that compress to about a half, and differ by seed.
func content(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, n)
	for i := range b {
		b[i] = "0123456789abcdef"[r.Uint32()%16]
	}
	return b
}

// put makes a layer of packages in s, each of size bytes and named by its seed.
func put(t testing.TB, s *image.Store, size int, seeds ...uint64) image.Layer {
	t.Helper()
	var files [][]byte
	for _, seed := range seeds {
		files = append(files, content(size, seed))
	}
	return putFile(t, s, files...)
}

// putFile makes a layer of files in s.
func putFile(t testing.TB, s *image.Store, files ...[]byte) image.Layer {
	t.Helper()
	d, n, err := s.Put(t.Context(), func(f *os.File) error {
		w, err := squashfs.NewWriter(f, squashfs.Options{BlockSize: 64 << 10, Jobs: 1})
		if err != nil {
			return err
		}
		defer w.Abort()
		if err := w.Add(squashfs.Entry{Path: ".", Mode: fs.ModeDir | 0o755}, nil); err != nil {
			return err
		}
		for i, b := range files {
			if err := w.Add(squashfs.Entry{Path: fmt.Sprint(i), Mode: 0o644, Size: int64(len(b))}, bytes.NewReader(b)); err != nil {
				return err
			}
		}
		return w.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	return image.Layer{Digest: d, Size: n, Compression: "zstd"}
}

// environment is one of packages named by their seeds.
func environment(seeds ...uint64) ore.Environment {
	e := ore.Environment{Version: ore.EnvironmentVersion, Base: ore.Base{Distribution: "debian", Suite: "bookworm"}, Arch: "amd64"}
	for _, seed := range seeds {
		name := fmt.Sprintf("p%d", seed)
		e.Packages = append(e.Packages, ore.Package{Name: name, Version: "1", Arch: "amd64", Size: 1000, Digest: ore.DigestOf([]byte(name)), Base: true})
	}
	e.Sort()
	return e
}

// manifest is an image of layers.
func manifest(env ore.Environment, layers ...image.Layer) image.Manifest {
	m := image.Manifest{Version: image.ManifestVersion, Key: env.Key(), Environment: env, Tree: ore.DigestOf([]byte(env.Key()))}
	for _, l := range layers {
		l.Key = env.Key()
		m.Layers = append(m.Layers, l)
	}
	return m
}

// make makes an image of one layer in s.
func made(t testing.TB, s *image.Store, size int, seeds ...uint64) image.Manifest {
	t.Helper()
	return manifest(environment(seeds...), put(t, s, size, seeds...))
}

func push(t testing.TB, c *client.Client, s *image.Store, m image.Manifest) {
	t.Helper()
	if err := c.Push(t.Context(), s, client.Pushed{Manifest: m, BuildTime: time.Second}); err != nil {
		t.Fatal(err)
	}
}

// whole checks that a store has all layers of an image, and that they match.
func whole(t testing.TB, s *image.Store, m image.Manifest) {
	t.Helper()
	for _, l := range m.Layers {
		if err := s.Verify(t.Context(), l.Digest); err != nil {
			t.Fatal(err)
		}
	}
}

// raw is an HTTP client without any of the client's care.
func (w *site) raw(http2 bool) *http.Client {
	t := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: http2}
	w.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t}
}

func files(t testing.TB, dir string) int {
	t.Helper()
	n := 0
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// chance returns what a test draws lots by, which ORE_TEST_SEED repeats.
func chance(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("ORE_TEST_SEED"); s != "" {
		if _, err := fmt.Sscan(s, &seed); err != nil {
			t.Fatalf("ORE_TEST_SEED %q: %v: give it the number that a test has said", s, err)
		}
	}
	t.Logf("ORE_TEST_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}
