package installing

import (
	"context"
	"crypto/sha256"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ore"
	"ore/cache"
	"ore/image"
	"ore/install/capture"
	"ore/install/dpkg"
	"ore/install/layer"
	"ore/install/recipe"
	"ore/install/tree"
	"ore/squashfs"
)

// taking is a host that takes images, and a machine's store with one.
type taking struct {
	network *Network
	taker   *Taker
	at      string // of the images
	client  *http.Client
	recipe  recipe.Recipe
	store   *image.Store
	image   image.Manifest
}

// machine is the header in which machines of these tests say who they are.
const machine = "Machine"

func newTaking(t *testing.T) *taking {
	t.Helper()
	w := &taking{network: network(t)}
	n := w.network
	c, err := cache.Open(t.Context(), n.Site.Dirs.Images)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	n.Site.Cache, n.Site.Dirs.State, n.Captured = c, t.TempDir(), "http://10.9.0.1/captured"
	w.recipe = recipe.Recipe{Strategy: recipe.Packages, Environment: ore.Environment{Version: ore.EnvironmentVersion,
		Packages: []ore.Package{{Name: "sample", Version: "1", Arch: "all", Digest: ore.DigestOf(nil)}}}}
	w.taker = n.Take(func(r *http.Request) string { return r.Header.Get(machine) }, nil)
	t.Cleanup(func() { w.taker.Close() })
	server := httptest.NewServer(w.taker)
	t.Cleanup(server.Close)
	w.at, w.client = server.URL, server.Client()
	if w.store, err = image.OpenStore(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	w.image = sample(t, w.store, w.recipe.Environment)
	return w
}

// sample is an image with one package, as dpkg says.
func sample(t *testing.T, store *image.Store, env ore.Environment) image.Manifest {
	t.Helper()
	const status = "Package: sample\nStatus: install ok installed\nArchitecture: all\nVersion: 1\nDescription: a sample\n"
	merged := layer.New()
	d, size, err := store.Put(t.Context(), func(f *os.File) error {
		q, err := squashfs.NewWriter(f, squashfs.Options{Jobs: 1})
		if err != nil {
			return err
		}
		var nodes []tree.Node
		for _, name := range []string{".", "var", "var/lib", dpkg.Dir} {
			nodes = append(nodes, tree.Node{Entry: squashfs.Entry{Path: name, Mode: fs.ModeDir | 0o755}})
		}
		nodes = append(nodes, tree.Node{Entry: squashfs.Entry{Path: dpkg.Dir + "/status", Mode: 0o644, Size: int64(len(status))}, Sum: sha256.Sum256([]byte(status))})
		for _, n := range nodes {
			if err := q.Add(n.Entry, strings.NewReader(status[:n.Size])); err != nil {
				return err
			}
		}
		merged.Lay(nodes)
		return q.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	out, err := merged.Outcome()
	if err != nil {
		t.Fatal(err)
	}
	m := out.Manifest(env)
	m.Layers = []image.Layer{{Digest: d, Size: size, Key: env.Key()}}
	if m, err = store.Rooted(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	return m
}

// tell has one more machine told what to install, and returns whether it is to send
// the image of it.
func (w *taking) tell(t *testing.T, h Host) bool {
	t.Helper()
	r := w.recipe
	if err := errors.Join(w.network.begin(), w.network.capture(t.Context(), &r, h, 1<<20)); err != nil {
		t.Fatal(err)
	}
	return r.Capture == w.network.Captured+"/"+strings.TrimPrefix(string(r.Environment.Key()), "sha256:")
}

// RoundTrip says who asks.
func (who caller) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set(machine, who.name)
	return who.client.Do(r)
}

// caller is a machine's way to the host.
type caller struct {
	name   string
	client *http.Client
}

// machine sends as the machine of this name.
func (w *taking) machine(name string) capture.Sender {
	return capture.Sender{To: w.at + "/" + strings.TrimPrefix(string(w.recipe.Environment.Key()), "sha256:"),
		HTTP: &http.Client{Transport: caller{name, w.client}}}
}

// listed waits until nothing that came is looked at any more, and returns the image.
func (w *taking) listed(t *testing.T) (image.Manifest, error) {
	t.Helper()
	w.taker.ending.Wait()
	return w.network.Site.Cache.Find(t.Context(), w.recipe.Environment.Key())
}

// Of several machines one sends the image that all install; it is kept, and no other
// is asked for it after that.
func TestOneSends(t *testing.T) {
	w := newTaking(t)
	one, two := w.machine("one"), w.machine("two")
	if err := one.Wanted(t.Context()); !errors.Is(err, capture.ErrUnwanted) {
		t.Errorf("what nobody is told of: %v", err)
	}
	if !w.tell(t, Host{Name: "one"}) || !w.tell(t, Host{Name: "two"}) || w.tell(t, Host{Name: "three", Discard: true}) {
		t.Error("who is told of it is not who should be")
	}
	if err := w.machine("").Wanted(t.Context()); !errors.Is(err, capture.ErrUnwanted) {
		t.Errorf("nobody's: %v", err)
	}
	if err := one.Wanted(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := two.Wanted(t.Context()); !errors.Is(err, capture.ErrUnwanted) || !strings.Contains(err.Error(), "one sends the image") {
		t.Errorf("the second: %v", err)
	}
	if err := two.Send(t.Context(), w.image, w.store); err == nil {
		t.Error("the second sends it")
	}
	if err := one.Send(t.Context(), w.image, w.store); err != nil {
		t.Fatal(err)
	}
	got, err := w.listed(t)
	if err != nil || got.Digest() != w.image.Digest() {
		t.Errorf("listed: %+v, %v", got, err)
	}
	if err := two.Wanted(t.Context()); !errors.Is(err, capture.ErrUnwanted) || !strings.Contains(err.Error(), "there is an image") {
		t.Errorf("once it is kept: %v", err)
	}
	if w.tell(t, Host{Name: "four"}) {
		t.Error("one more is told to send what is there")
	}
}

// Who is told to send and does not makes room for another, at last; so does one whose
// image is not what it says.
func TestNextSends(t *testing.T) {
	w := newTaking(t)
	w.tell(t, Host{Name: "one"})
	now := time.Now()
	w.taker.now = func() time.Time { return now }
	one, two := w.machine("one"), w.machine("two")
	if err := one.Wanted(t.Context()); err != nil {
		t.Fatal(err)
	}
	now = now.Add(sendTime)
	if err := two.Wanted(t.Context()); err != nil {
		t.Fatalf("one is silent: %v", err)
	}
	lie := w.image
	lie.Tree = ore.DigestOf(nil)
	if err := two.Send(t.Context(), lie, w.store); err != nil {
		t.Fatal(err) // it is looked at afterwards
	}
	if _, err := w.listed(t); !errors.Is(err, image.ErrMissing) {
		t.Errorf("a lie is listed: %v", err)
	}
	if err := errors.Join(one.Wanted(t.Context()), one.Send(t.Context(), w.image, w.store)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.listed(t); err != nil {
		t.Error(err)
	}
}

// A host that ends takes nothing more, and leaves nothing of what came in part.
func TestTakerCloses(t *testing.T) {
	w := newTaking(t)
	w.tell(t, Host{Name: "one"})
	one := w.machine("one")
	if err := one.Wanted(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := w.taker.Close(); err != nil {
		t.Fatal(err)
	}
	if err := one.Wanted(t.Context()); err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Errorf("it is closed: %v", err)
	}
	if err := one.Send(t.Context(), w.image, w.store); err == nil {
		t.Error("it takes an image")
	}
	if all, err := w.network.Site.Cache.Blobs(); err != nil || len(all) > 0 {
		t.Errorf("the store has %v, %v", all, err)
	}
}

// What some machine is told that it may send stays until none is told of it.
func TestSweepOfCaptured(t *testing.T) {
	w := newTaking(t)
	w.tell(t, Host{Name: "one"})
	file := filepath.Join(w.network.kept(), capturedOf(w.recipe.Environment))
	r := w.recipe
	r.Capture = "http://10.9.0.1/captured/x"
	if err := w.network.Sweep(nil, [][]byte{r.Encode()}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	if err := w.network.Sweep(nil, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is left: %v", err)
	}
}
