package serve_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ore"
	"ore/cache"
	"ore/cache/serve"
	"ore/cache/serve/client"
	"ore/cache/serve/wire"
	"ore/image"
)

func TestBlobThatIsEvictedWhileItIsRead(t *testing.T) {
	w := start(t, serve.Config{})
	c := w.client("a", "lab", true)
	s := store(t)
	m := made(t, s, 4<<20, 1, 2, 3, 4)
	push(t, c, s, m)
	url, _, _ := strings.Cut(w.url, "#")
	r, err := http.NewRequest(http.MethodGet, url+"/v1/blobs/"+string(m.Layers[0].Digest), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+c.Token)
	got, err := w.raw(false).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Body.Close()
	first := make([]byte, 1000)
	if _, err := io.ReadFull(got.Body, first); err != nil {
		t.Fatal(err)
	}
	if err := c.Forget(t.Context(), m.Key); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(got.Body)
	if err != nil || ore.DigestOf(append(first, rest...)) != m.Layers[0].Digest {
		t.Fatalf("a torn read: %d bytes, %v", len(first)+len(rest), err)
	}
}

func TestManyClientsAskAtOnce(t *testing.T) { manyClients(t, 40, 8) }

// manyClients lets clients ask for environments, of which every other is known.
func manyClients(t *testing.T, clients, environments int) {
	w := start(t, serve.Config{})
	builder := store(t)
	seeder := w.client("seeder", "lab", true)
	var images []image.Manifest
	for i := range environments {
		images = append(images, made(t, builder, 50_000, uint64(i), 100, 101))
		if i%2 == 0 {
			push(t, seeder, builder, images[i])
		}
	}
	builds := make([]atomic.Int64, environments)
	var group sync.WaitGroup
	for i := range clients {
		c := w.client(fmt.Sprintf("c%d", i), "lab", true)
		mine := store(t)
		group.Go(func() {
			n := i % environments
			m := images[n]
			_, err := c.Share(t.Context(), m.Key, func(ore.Event) {}, func(ctx context.Context, tell ore.Watcher) error {
				builds[n].Add(1)
				tell(ore.Event{Stage: "build", Text: "half", Done: 1, Total: 2})
				return c.Push(ctx, builder, client.Pushed{Manifest: m})
			})
			if err != nil {
				t.Errorf("client %d: %v", i, err)
				return
			}
			f, err := c.Find(t.Context(), m.Key, nil)
			if err == nil {
				_, err = c.Fetch(t.Context(), f.Manifest, mine, nil)
			}
			if err == nil {
				err = mine.Verify(t.Context(), m.Layers[0].Digest)
			}
			if err != nil {
				t.Errorf("client %d: %v", i, err)
			}
		})
	}
	group.Wait()
	for n := range builds {
		if got, want := builds[n].Load(), int64(n%2); got != want {
			t.Errorf("environment %d was built %d times, not %d", n, got, want)
		}
	}
}

func TestQuotaEvictsWhatIsWorthLeast(t *testing.T) {
	s := store(t)
	a, b := made(t, s, 100_000, 1), made(t, s, 100_000, 2)
	big := made(t, s, 1_000_000, 3)
	size := a.Size() + b.Size()/2
	w := start(t, serve.Config{Quota: size})
	c := w.client("a", "lab", true)
	push(t, c, s, a)
	push(t, c, s, b) // evicts a
	if _, err := c.Find(t.Context(), a.Key, nil); !errors.Is(err, image.ErrMissing) {
		t.Errorf("the first image is still there: %v", err)
	}
	if _, err := c.Find(t.Context(), b.Key, nil); err != nil {
		t.Error(err)
	}
	if err := c.Push(t.Context(), s, client.Pushed{Manifest: big}); err == nil || !strings.Contains(err.Error(), "quota") {
		t.Errorf("what is larger than the quota: %v", err)
	}
	if _, err := c.Find(t.Context(), b.Key, nil); err != nil {
		t.Errorf("an image was evicted for one that cannot fit: %v", err)
	}
}

func TestServedFolderIsAnOrdinaryCache(t *testing.T) {
	w := start(t, serve.Config{})
	s := store(t)
	m := made(t, s, 1000, 1)
	push(t, w.client("root", wire.Shared, true), s, m)
	w.stop()
	c, err := cache.Open(t.Context(), w.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Find(t.Context(), m.Key); err != nil {
		t.Fatal(err)
	}
}

// Inputs of jobs lie in the folder of somebody's images, too.
func TestInputsAreNotServed(t *testing.T) {
	w := start(t, serve.Config{})
	c, err := cache.Open(t.Context(), w.dir)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	env := environment(1)
	env.Base = ore.Base{Distribution: "input", Suite: "folder"}
	m := manifest(env, put(t, c.Store, 1000, 1))
	if _, err := c.Register(t.Context(), m, time.Second); err != nil {
		t.Fatal(err)
	}
	reader := w.client("reader", wire.Shared, false)
	if _, err := reader.Find(t.Context(), m.Key, nil); !errors.Is(err, image.ErrMissing) {
		t.Errorf("found an input: %v", err)
	}
	if all, err := reader.Images(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("an input is listed: %v, %v", all, err)
	}
}

func TestOnlySignedImagesWhereTrustIsAsked(t *testing.T) {
	signer, err := image.GenerateSigner()
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := image.GenerateSigner()
	if err != nil {
		t.Fatal(err)
	}
	keys := image.Keys{signer.Key(): "builder"}
	w := start(t, serve.Config{Cache: cache.Config{Trusted: keys, Strict: true}, Check: keys.Verify})
	c := w.client("a", "lab", true)
	s := store(t)
	m := made(t, s, 1000, 1)
	for summary, sig := range map[string]image.Signature{"nobody's": {}, "a stranger's": stranger.Sign(m), "another image's": signer.Sign(made(t, s, 1000, 2))} {
		if err := c.Push(t.Context(), s, client.Pushed{Manifest: m, Signature: sig}); !errors.Is(err, client.ErrRefused) {
			t.Errorf("%s signature: %v", summary, err)
		}
	}
	if err := c.Push(t.Context(), s, client.Pushed{Manifest: m, Signature: signer.Sign(m)}); err != nil {
		t.Fatal(err)
	}
	token := w.token(serve.Identity{Name: "b", Namespace: "lab"})
	if _, err := w.with(client.Config{Token: token, Check: keys.Verify}).Find(t.Context(), m.Key, nil); err != nil {
		t.Error(err)
	}
	wary := image.Keys{stranger.Key(): "another"}
	if _, err := w.with(client.Config{Token: token, Check: wary.Verify}).Find(t.Context(), m.Key, nil); !errors.Is(err, image.ErrUntrusted) {
		t.Errorf("an image of nobody whom the client trusts: %v", err)
	}
}
