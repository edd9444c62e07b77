package serve_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"ore/cache/serve"
	"ore/cache/serve/client"
	"ore/image"
	"ore/image/chunk"
)

// lying wraps the server's handler: some answers are changed on the way.
func lying(t *testing.T, w *site, change func(path string, b []byte) []byte) *client.Client {
	t.Helper()
	h := w.server.Handler()
	s := httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		for k, v := range rec.Header() {
			if k != "Content-Length" {
				rw.Header()[k] = v
			}
		}
		rw.WriteHeader(rec.Code)
		_, _ = rw.Write(change(r.URL.Path, rec.Body.Bytes()))
	}))
	t.Cleanup(s.Close)
	return w.with(client.Config{URL: s.URL + "#sha256:" + serve.Fingerprint(s.Certificate().Raw),
		Token: w.token(serve.Identity{Name: fmt.Sprintf("l%d", counter.Add(1)), Namespace: "lab"})})
}

func TestALyingServer(t *testing.T) {
	w := start(t, serve.Config{})
	c := w.client("a", "lab", true)
	builder := store(t)
	old, next := made(t, builder, 200_000, 1, 2, 3), made(t, builder, 200_000, 1, 2, 4)
	push(t, c, builder, old)
	push(t, c, builder, next)
	flip := func(b []byte) []byte {
		if len(b) > 0 {
			b[len(b)/2] ^= 1
		}
		return b
	}
	for _, about := range []string{"/v1/patches", "/chunks", "/v1/blobs/", "/v1/images/"} {
		t.Run(about, func(t *testing.T) {
			liar := lying(t, w, func(path string, b []byte) []byte {
				hit := strings.Contains(path, about) && (about != "/v1/blobs/" || !strings.HasSuffix(path, "/chunks"))
				if hit {
					return flip(b)
				}
				return b
			})
			host := store(t)
			if _, err := c.Fetch(t.Context(), old, host, nil); err != nil {
				t.Fatal(err)
			}
			near := []image.Manifest{old}
			if about == "/v1/blobs/" || about == "/chunks" {
				near = nil // else a patch would do
			}
			_, ferr := liar.Find(t.Context(), next.Key, nil)
			_, err := liar.Fetch(t.Context(), next, host, near)
			verr := host.Verify(t.Context(), next.Layers[0].Digest)
			switch about {
			case "/v1/patches": // the chunks do instead
				if err != nil || verr != nil {
					t.Errorf("%v, %v", err, verr)
				}
			case "/v1/images/":
				if ferr == nil {
					t.Error("a changed manifest was taken")
				}
			default:
				if err == nil || !errors.Is(verr, image.ErrMissing) {
					t.Errorf("changed bytes were taken: %v, %v", err, verr)
				}
			}
		})
	}
}

// A list of chunks that is well-formed, but not of the blob, is refused before a
// byte of the blob is asked for, by the root in the manifest, which is signed with
// it. Without a root the bytes have to come first.
func TestALyingListOfChunks(t *testing.T) {
	w := start(t, serve.Config{})
	c := w.client("a", "lab", true)
	builder := store(t)
	without := made(t, builder, 200_000, 1, 2, 3)
	rooted, err := builder.Rooted(t.Context(), without)
	if err != nil {
		t.Fatal(err)
	}
	if rooted.Layers[0].Root == "" || without.Layers[0].Root != "" {
		t.Fatalf("roots are %q and %q", rooted.Layers[0].Root, without.Layers[0].Root)
	}
	push(t, c, builder, rooted)
	var asked atomic.Int64
	lie := true
	liar := lying(t, w, func(path string, b []byte) []byte {
		if !strings.HasSuffix(path, "/chunks") {
			asked.Add(1)
			return b
		}
		l, err := chunk.Decode(b)
		if err != nil {
			t.Error(err)
		}
		if lie {
			l.Chunks[0].Digest, l.Chunks[1].Digest = l.Chunks[1].Digest, l.Chunks[0].Digest
		}
		return l.Encode()
	})
	for _, k := range []struct {
		summary string
		m       image.Manifest
		lie     bool
		asked   bool
	}{
		{"a lie, and a root", rooted, true, false},
		{"a lie, and no root", without, true, true},
		{"the truth, and a root", rooted, false, true},
	} {
		asked.Store(0)
		lie = k.lie
		host := store(t)
		_, err := liar.Fetch(t.Context(), k.m, host, nil)
		if (err == nil) == k.lie || asked.Load() > 0 != k.asked {
			t.Errorf("%s: %d requests for bytes, %v", k.summary, asked.Load(), err)
		}
		if k.lie && !k.asked && !errors.Is(err, chunk.ErrList) {
			t.Errorf("%s: %v", k.summary, err)
		}
		if err := host.Verify(t.Context(), k.m.Layers[0].Digest); errors.Is(err, image.ErrMissing) != k.lie {
			t.Errorf("%s: the layer: %v", k.summary, err)
		}
	}
}

// A manifest whose root is not that of its layer's chunks is refused when it is
// pushed, whoever signed it: else each who fetches it would refuse the true list.
func TestALyingRoot(t *testing.T) {
	signer, err := image.GenerateSigner()
	if err != nil {
		t.Fatal(err)
	}
	w := start(t, serve.Config{})
	c := w.client("a", "lab", true)
	builder := store(t)
	m, err := builder.Rooted(t.Context(), made(t, builder, 200_000, 1, 2, 3))
	if err != nil {
		t.Fatal(err)
	}
	lie := m
	lie.Layers = []image.Layer{m.Layers[0]}
	lie.Layers[0].Root = m.Layers[0].Digest
	err = c.Push(t.Context(), builder, client.Pushed{Manifest: lie, Signature: signer.Sign(lie)})
	if err == nil || !strings.Contains(err.Error(), "the root that the manifest names") {
		t.Errorf("pushing a root that is not: %v", err)
	}
	if _, err := c.Find(t.Context(), m.Key, nil); !errors.Is(err, image.ErrMissing) {
		t.Errorf("it is listed: %v", err)
	}
	push(t, c, builder, m)
	if _, err := c.Fetch(t.Context(), m, store(t), nil); err != nil {
		t.Error(err)
	}
}
