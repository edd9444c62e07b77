package remote

import (
	"bytes"
	"context"
	"encoding/binary"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	"ore"
	"ore/cache/serve"
	"ore/cache/serve/client"
	"ore/image"
	"ore/squashfs"
)

// largeImage puts an image of one file of random bytes into store.
func largeImage(t *testing.T, store *image.Store, size int) image.Manifest {
	t.Helper()
	content := make([]byte, size)
	random := rand.New(rand.NewPCG(1, 2))
	for i := 0; i+8 <= size; i += 8 {
		binary.LittleEndian.PutUint64(content[i:], random.Uint64())
	}
	d, n, err := store.Put(t.Context(), func(f *os.File) error {
		w, err := squashfs.NewWriter(f, squashfs.Options{})
		if err != nil {
			return err
		}
		defer w.Abort()
		if err := w.Add(squashfs.Entry{Path: ".", Mode: fs.ModeDir | 0o755}, nil); err != nil {
			return err
		}
		if err := w.Add(squashfs.Entry{Path: "a", Mode: 0o644, Size: int64(size)}, bytes.NewReader(content)); err != nil {
			return err
		}
		return w.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	env := ore.Environment{Version: ore.EnvironmentVersion, Base: ore.Base{Distribution: "debian", Suite: "bookworm"}, Arch: "amd64", Manual: []string{"a"}}
	return image.Manifest{Version: image.ManifestVersion, Key: env.Key(), Environment: env, Tree: ore.DigestOf([]byte("a")),
		Layers: []image.Layer{{Digest: d, Size: n, Compression: "zstd"}}}
}

// server serves a cache and returns its address and a token.
func server(t *testing.T) (url, token string) {
	t.Helper()
	dir := t.TempDir()
	s, err := serve.New(t.Context(), serve.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := serve.ServerCertificate(dir)
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
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	tokens, err := serve.OpenTokens(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	token, err = tokens.Add(serve.Identity{Name: "a", Namespace: "a", Write: true})
	if err != nil {
		t.Fatal(err)
	}
	return "https://" + l.Addr().String() + "#sha256:" + serve.Fingerprint(cert.Certificate[0]), token
}

func TestCalibrate(t *testing.T) {
	url, token := server(t)
	local, err := image.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(Address{URL: url, Token: token}, Local{Store: local, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	scratch := t.TempDir()
	if try, ok, err := c.Calibrate(t.Context(), scratch); ok || err != nil {
		t.Fatalf("a cache without images: %+v, %v, %v", try, ok, err)
	}
	m := largeImage(t, local, 8<<20)
	if err := c.client.Push(t.Context(), local, client.Pushed{Manifest: m}); err != nil {
		t.Fatal(err)
	}
	before, begun := c.Received(), time.Now()
	try, ok, err := c.Calibrate(t.Context(), scratch)
	took := time.Since(begun)
	if err != nil || !ok || try.Request <= 0 || try.Request > took.Seconds() {
		t.Fatalf("%+v, %v, %v", try, ok, err)
	}
	// What came took no longer than the whole; the answers before it are short.
	if least := float64(c.Received()-before) / 2 / took.Seconds(); try.Rate < least {
		t.Errorf("%.0f bytes a second, at least %.0f came", try.Rate, least)
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, ok, err := c.Calibrate(ended, scratch); ok || err == nil {
		t.Errorf("cancelled: %v, %v", ok, err)
	}
}
