package serve_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ore"
	"ore/cache/serve"
	"ore/cache/serve/client"
	"ore/cache/serve/wire"
	"ore/image"
)

func TestPushedImageIsFetched(t *testing.T) {
	w := start(t, serve.Config{})
	a, b := w.client("a", "lab", true), w.client("b", "lab", false)
	mine := store(t)
	m := made(t, mine, 300_000, 1, 2, 3)
	if _, err := b.Find(t.Context(), m.Key, nil); !errors.Is(err, image.ErrMissing) {
		t.Fatalf("an image that nobody pushed: %v", err)
	}
	signer, err := image.GenerateSigner()
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Push(t.Context(), mine, client.Pushed{Manifest: m, Signature: signer.Sign(m)}); err != nil {
		t.Fatal(err)
	}
	f, err := b.Find(t.Context(), m.Key, nil)
	if err != nil {
		t.Fatal(err)
	}
	if f.Manifest.Digest() != m.Digest() || f.Namespace != "lab" {
		t.Fatal("another manifest came back")
	}
	if err := f.Signature.Check(f.Manifest.Encode()); err != nil || f.Signature.Key != signer.Key() {
		t.Fatalf("the signature did not come back: %v", err)
	}
	theirs := store(t)
	if _, err := b.Fetch(t.Context(), f.Manifest, theirs, nil); err != nil {
		t.Fatal(err)
	}
	whole(t, theirs, m)
	if again, err := b.Fetch(t.Context(), f.Manifest, theirs, nil); err != nil || again.Received != 0 {
		t.Fatalf("%d bytes came for what was there: %v", again.Received, err)
	}
}

func TestARelativeMakesTheFetchShort(t *testing.T) {
	w := start(t, serve.Config{})
	c := w.client("a", "lab", true)
	builder, host := store(t), store(t)
	old, next := made(t, builder, 400_000, 1, 2, 3, 4, 5), made(t, builder, 400_000, 1, 2, 33, 4, 5)
	push(t, c, builder, old)
	push(t, c, builder, next)
	if _, err := c.Fetch(t.Context(), old, host, nil); err != nil {
		t.Fatal(err)
	}
	f, err := c.Find(t.Context(), next.Key, &old)
	if err != nil {
		t.Fatal(err)
	}
	if f.Traffic > 500 {
		t.Errorf("the manifest took %d bytes, of which nearly all was known", f.Traffic)
	}
	got, err := c.Fetch(t.Context(), f.Manifest, host, []image.Manifest{old})
	if err != nil {
		t.Fatal(err)
	}
	whole(t, host, next)
	if got.Patched != 1 || got.Received > next.Layers[0].Size/4 {
		t.Errorf("%d of %d bytes came, in %d patches", got.Received, next.Layers[0].Size, got.Patched)
	}
	// A relative that the cache does not know helps by its chunks.
	other := store(t)
	unknown := made(t, other, 400_000, 1, 2, 77, 4, 5)
	got, err = c.Fetch(t.Context(), f.Manifest, other, []image.Manifest{unknown})
	if err != nil {
		t.Fatal(err)
	}
	whole(t, other, next)
	if got.Chunked != 1 || got.Received > next.Layers[0].Size/3 {
		t.Errorf("%d of %d bytes came, in %d lists of chunks", got.Received, next.Layers[0].Size, got.Chunked)
	}
}

func TestALayerOfOnePackageIsPatchedToo(t *testing.T) {
	w := start(t, serve.Config{})
	c := w.client("a", "lab", true)
	builder, host := store(t), store(t)
	// One file, one block, and it changed: no chunk is the same.
	a := content(60_000, 1)
	b := append(append(append([]byte{}, a[:30_000]...), "something new"...), a[30_000:]...)
	old := manifest(environment(1), putFile(t, builder, a))
	next := manifest(environment(2), putFile(t, builder, b))
	push(t, c, builder, old)
	push(t, c, builder, next)
	if _, err := c.Fetch(t.Context(), old, host, nil); err != nil {
		t.Fatal(err)
	}
	got, err := c.Fetch(t.Context(), next, host, []image.Manifest{old})
	if err != nil {
		t.Fatal(err)
	}
	whole(t, host, next)
	if got.Patched != 1 || got.Received > 2000 {
		t.Errorf("%d bytes came in %d patches", got.Received, got.Patched)
	}
}

func TestPatchesAreMadeAheadOfNeed(t *testing.T) {
	w := start(t, serve.Config{})
	c := w.client("a", "lab", true)
	s := store(t)
	old, next := made(t, s, 50_000, 1, 2, 3), made(t, s, 50_000, 1, 2, 4)
	push(t, c, s, old)
	push(t, c, s, next)
	name := old.Layers[0].Digest.Hex() + "-" + next.Layers[0].Digest.Hex() + ".patch"
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(2 * time.Minute); ; {
		if _, err := os.Stat(filepath.Join(w.dir, "serve", "derived", name)); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			t.Fatal("no patch was made, and nobody has asked")
		}
	}
}

func TestCandidatesAndListing(t *testing.T) {
	w := start(t, serve.Config{})
	c := w.client("a", "lab", true)
	s := store(t)
	push(t, c, s, made(t, s, 1000, 1, 2, 3))
	push(t, c, s, made(t, s, 1000, 7, 8, 9))
	all, err := c.Candidates(t.Context(), environment(1, 2, 4), 5)
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || all[0].Key != environment(1, 2, 3).Key() || len(all[0].Missing) != 1 || len(all[0].Extra) != 1 {
		t.Fatalf("candidates: %+v", all)
	}
	list, err := c.Images(t.Context())
	if err != nil || len(list) != 2 {
		t.Fatalf("%d images: %v", len(list), err)
	}
	if err := c.Forget(t.Context(), list[0].Key); err != nil {
		t.Fatal(err)
	}
	if st, err := c.Stats(t.Context()); err != nil || st.Images != 1 || st.Namespace != "lab" {
		t.Fatalf("%+v: %v", st, err)
	}
}

func TestNamespacesDoNotSeeEachOther(t *testing.T) {
	w := start(t, serve.Config{})
	base, a, b := w.client("root", wire.Shared, true), w.client("a", "one", true), w.client("b", "two", true)
	s := store(t)
	shared := made(t, s, 50_000, 1)
	push(t, base, s, shared)
	top := put(t, s, 50_000, 2)
	m := manifest(environment(1, 2), shared.Layers[0], top)
	push(t, a, s, m)
	// The shared layer is one file, not two.
	one, err := os.Stat(filepath.Join(w.dir, "blobs", "sha256", shared.Layers[0].Digest.Hex()))
	if err != nil {
		t.Fatal(err)
	}
	two, err := os.Stat(filepath.Join(w.dir, "namespaces", "one", "blobs", "sha256", shared.Layers[0].Digest.Hex()))
	if err != nil || !os.SameFile(one, two) {
		t.Errorf("the shared layer takes room twice: %v", err)
	}
	if _, err := b.Find(t.Context(), shared.Key, nil); err != nil {
		t.Errorf("the shared image is not seen: %v", err)
	}
	if _, err := b.Find(t.Context(), m.Key, nil); !errors.Is(err, image.ErrMissing) {
		t.Errorf("another namespace's image is seen: %v", err)
	}
	if _, err := b.Fetch(t.Context(), m, store(t), nil); !errors.Is(err, image.ErrMissing) {
		t.Errorf("another namespace's layer is read: %v", err)
	}
	if list, err := b.Images(t.Context()); err != nil || len(list) != 1 {
		t.Errorf("%d images are listed: %v", len(list), err)
	}
	// No manifest makes a foreign layer one's own, and no upload tells that it
	// exists elsewhere.
	foreign := manifest(environment(9), top)
	empty := store(t)
	if _, err := empty.PutBytes(t.Context(), []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := w.register(t, "two", foreign); err == nil || !strings.Contains(err.Error(), "409") {
		t.Errorf("a manifest with a foreign layer: %v", err)
	}
	var u wire.Session
	if err := w.json("two", http.MethodPost, "/v1/uploads", wire.Upload{Digest: top.Digest, Size: top.Size}, &u); err != nil || u.Exists {
		t.Errorf("the upload of a blob that another namespace has: %+v, %v", u, err)
	}
	// A patch from a blob that the client may not read is refused as unknown.
	if err := w.json("two", http.MethodPost, "/v1/patches", wire.Near{Target: top.Digest, Have: []ore.Digest{shared.Layers[0].Digest}}, nil); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("a patch to a foreign blob: %v", err)
	}
}

// json sends a request with a new token of namespace, without the client.
func (w *site) json(namespace, method, path string, body, answer any) error {
	w.t.Helper()
	token := w.token(serve.Identity{Name: fmt.Sprintf("t%d", counter.Add(1)), Namespace: namespace, Write: true})
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return w.do(token, method, path, bytes.NewReader(b), answer)
}

var counter atomic.Int64

func (w *site) do(token, method, path string, body io.Reader, answer any) error {
	w.t.Helper()
	url, _, _ := strings.Cut(w.url, "#")
	r, err := http.NewRequestWithContext(w.t.Context(), method, url+path, body)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	got, err := w.raw(true).Do(r)
	if err != nil {
		return err
	}
	defer got.Body.Close()
	b, err := io.ReadAll(got.Body)
	if err != nil {
		return err
	}
	if got.StatusCode/100 != 2 {
		return fmt.Errorf("%d: %s", got.StatusCode, b)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(b, answer)
}

func (w *site) register(t *testing.T, namespace string, m image.Manifest) error {
	t.Helper()
	return w.json(namespace, http.MethodPost, "/v1/images", wire.Registration{Manifest: m.Encode()}, nil)
}

func TestWhoMayWhat(t *testing.T) {
	w := start(t, serve.Config{})
	s := store(t)
	m := made(t, s, 1000, 1)
	reader := w.client("reader", "lab", false)
	if err := reader.Push(t.Context(), s, client.Pushed{Manifest: m}); !errors.Is(err, client.ErrRefused) {
		t.Errorf("a reader pushed: %v", err)
	}
	if _, err := reader.Share(t.Context(), m.Key, nil, nil); !errors.Is(err, client.ErrRefused) {
		t.Errorf("a reader may build: %v", err)
	}
	stranger := w.with(client.Config{Token: "ore_guess"})
	if _, err := stranger.Images(t.Context()); !errors.Is(err, client.ErrRefused) {
		t.Errorf("a stranger was let in: %v", err)
	}
	if err := stranger.Healthy(t.Context()); err != nil {
		t.Errorf("health is for everybody: %v", err)
	}
	tokens, err := serve.OpenTokens(w.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	if err := tokens.Remove("reader"); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Images(t.Context()); !errors.Is(err, client.ErrRefused) {
		t.Errorf("a token that was removed still works: %v", err)
	}
	if b, err := os.ReadFile(filepath.Join(w.dir, "serve", "tokens.json")); err != nil || strings.Contains(string(b), "ore_") {
		t.Errorf("a token is kept: %v", err)
	}
	for _, name := range []string{"", "../x", "A", "a/b", ".hidden", strings.Repeat("a", 65)} {
		if _, err := tokens.Add(serve.Identity{Name: "x", Namespace: name}); !errors.Is(err, serve.ErrIdentity) {
			t.Errorf("namespace %q: %v", name, err)
		}
	}
}

func TestClientCertificates(t *testing.T) {
	dir := t.TempDir()
	cert := func(i serve.Identity) *tls.Certificate {
		t.Helper()
		c, k := filepath.Join(t.TempDir(), "c.pem"), filepath.Join(t.TempDir(), "k.pem")
		if err := serve.IssueClient(dir, i, c, k); err != nil {
			t.Fatal(err)
		}
		pair, err := tls.LoadX509KeyPair(c, k)
		if err != nil {
			t.Fatal(err)
		}
		return &pair
	}
	writer, reader := cert(serve.Identity{Name: "a", Namespace: "lab", Write: true}), cert(serve.Identity{Name: "b", Namespace: "lab"})
	w := start(t, serve.Config{Dir: dir})
	s := store(t)
	m := made(t, s, 1000, 1)
	push(t, w.with(client.Config{Certificate: writer}), s, m)
	if _, err := w.with(client.Config{Certificate: reader}).Find(t.Context(), m.Key, nil); err != nil {
		t.Error(err)
	}
	if err := w.with(client.Config{Certificate: reader}).Forget(t.Context(), m.Key); !errors.Is(err, client.ErrRefused) {
		t.Errorf("a reader's certificate: %v", err)
	}
	// One that was revoked is worth nothing from the next request on; one that was
	// made since then is.
	if err := serve.Revoke(dir, "b", time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := serve.Revoke(dir, "a", time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.with(client.Config{Certificate: reader}).Find(t.Context(), m.Key, nil); !errors.Is(err, client.ErrRefused) {
		t.Errorf("a revoked certificate: %v", err)
	}
	if _, err := w.with(client.Config{Certificate: writer}).Find(t.Context(), m.Key, nil); err != nil {
		t.Errorf("a certificate that is newer than its name's revocation: %v", err)
	}
	if err := serve.Revoke(dir, "../x", time.Now()); !errors.Is(err, serve.ErrIdentity) {
		t.Errorf("a name that cannot be is revoked: %v", err)
	}
	// A certificate of another authority is worth nothing.
	other := t.TempDir()
	c, k := filepath.Join(other, "c.pem"), filepath.Join(other, "k.pem")
	if err := serve.IssueClient(other, serve.Identity{Name: "a", Namespace: "lab", Write: true}, c, k); err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(c, k)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := w.with(client.Config{Certificate: &pair}).Healthy(ctx); err == nil {
		if _, err := w.with(client.Config{Certificate: &pair}).Find(ctx, m.Key, nil); err == nil {
			t.Error("a stranger's certificate was taken")
		}
	}
}

func TestAnotherServersCertificateIsRefused(t *testing.T) {
	w := start(t, serve.Config{})
	url, _, _ := strings.Cut(w.url, "#")
	wrong := w.with(client.Config{URL: url + "#sha256:" + strings.Repeat("0", 64), Token: "x"})
	if err := wrong.Healthy(t.Context()); err == nil || !strings.Contains(err.Error(), "another server") {
		t.Errorf("a certificate that is not the pinned one: %v", err)
	}
	if err := w.with(client.Config{URL: url, Token: "x"}).Healthy(t.Context()); err == nil {
		t.Error("a certificate of nobody was trusted")
	}
}

func TestTheSecondServerIsRefused(t *testing.T) {
	w := start(t, serve.Config{})
	if _, err := serve.New(t.Context(), serve.Config{Dir: w.dir}); !errors.Is(err, serve.ErrServed) {
		t.Fatalf("two servers on one folder: %v", err)
	}
	w.stop()
	again, err := serve.New(t.Context(), serve.Config{Dir: w.dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestHTTP1Works(t *testing.T) {
	w := start(t, serve.Config{})
	s := store(t)
	m := made(t, s, 100_000, 1)
	push(t, w.client("a", "lab", true), s, m)
	token := w.token(serve.Identity{Name: "b", Namespace: "lab"})
	url, _, _ := strings.Cut(w.url, "#")
	r, err := http.NewRequest(http.MethodGet, url+"/v1/blobs/"+string(m.Layers[0].Digest), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	got, err := w.raw(false).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	b, err := io.ReadAll(got.Body)
	if err != nil || got.ProtoMajor != 1 || ore.DigestOf(b) != m.Layers[0].Digest {
		t.Fatalf("HTTP/%d, %d bytes: %v", got.ProtoMajor, len(b), err)
	}
}
