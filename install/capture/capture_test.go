package capture

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"ore"
	"ore/image"
	"ore/install/exact"
	"ore/install/layer"
	"ore/install/tree"
	"ore/squashfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world has a machine with an image, and the receiver of a host.
type world struct {
	machine, host *image.Store
	image         image.Manifest
	config        Config
	kept          []image.Manifest
	failure       error // of keeping
}

// file is one name of a layer.
type file struct {
	path, content string
	mode          fs.FileMode
}

const database = `Package: sample
Status: install ok installed
Architecture: amd64
Version: 1.0-1
Description: a sample

Package: other
Status: install ok installed
Architecture: all
Version: 2
`

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{machine: store(t), host: store(t)}
	env := ore.Environment{Version: ore.EnvironmentVersion, Packages: []ore.Package{
		{Name: "other", Version: "2", Arch: "all"}, {Name: "sample", Version: "1.0-1", Arch: "amd64"},
	}}
	w.image = w.make(t, env,
		[]file{{".", "", fs.ModeDir | 0o755}, {"bin", "", fs.ModeDir | 0o755}, {"bin/old", "old", 0o755}, {"bin/tool", "first", 0o755}},
		[]file{
			{".", "", fs.ModeDir | 0o755}, {"bin", "", fs.ModeDir | 0o755}, {"bin/old", "", fs.ModeDevice | fs.ModeCharDevice}, {"bin/tool", strings.Repeat("second", 9999), 0o4755},
			{"var", "", fs.ModeDir | 0o755}, {"var/lib", "", fs.ModeDir | 0o755}, {"var/lib/dpkg", "", fs.ModeDir | 0o755}, {"var/lib/dpkg/status", database, 0o644},
		})
	w.config = Config{Environment: env, Store: w.host, Most: 1 << 20, Keep: func(_ context.Context, m image.Manifest) error {
		w.kept = append(w.kept, m)
		return w.failure
	}}
	return w
}

func store(t *testing.T) *image.Store {
	t.Helper()
	s, err := image.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// make makes an image of layers in the machine's store.
func (w *world) make(t *testing.T, env ore.Environment, layers ...[]file) image.Manifest {
	t.Helper()
	merged := layer.New()
	var sealed []image.Layer
	for _, files := range layers {
		var nodes []tree.Node
		d, size, err := w.machine.Put(t.Context(), func(f *os.File) error {
			q, err := squashfs.NewWriter(f, squashfs.Options{Jobs: 1})
			if err != nil {
				return err
			}
			for _, e := range files {
				n := tree.Node{Entry: squashfs.Entry{Path: e.path, Mode: e.mode, Size: int64(len(e.content))}, Sum: sha256.Sum256([]byte(e.content))}
				if !n.Regular() {
					n.Sum = [sha256.Size]byte{}
				}
				nodes = append(nodes, n)
				if err := q.Add(n.Entry, strings.NewReader(e.content)); err != nil {
					return err
				}
			}
			return q.Close()
		})
		if err != nil {
			t.Fatal(err)
		}
		merged.Lay(nodes)
		sealed = append(sealed, image.Layer{Digest: d, Size: size, Key: env.Key()})
	}
	merged.Get("bin/tool").Capability = []byte{1, 2, 3}
	out, err := merged.Outcome()
	if err != nil {
		t.Fatal(err)
	}
	m := out.Manifest(env)
	m.Layers = sealed
	if len(sealed) > 1 {
		m.Layers[0].Key = env.BaseOnly().Key()
	}
	if m, err = w.machine.Rooted(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	return m
}

// send sends the image and returns what the machine and what the host say of it.
func (w *world) send(t *testing.T, m image.Manifest) (sent, kept error) {
	t.Helper()
	v := New(t.Context(), w.config)
	server := httptest.NewServer(http.StripPrefix("/here", v))
	defer server.Close()
	client := server.Client()
	defer client.CloseIdleConnections()
	sent = Sender{To: server.URL + "/here", HTTP: client}.Send(t.Context(), m, w.machine)
	return sent, v.Close()
}

// An image arrives with exactly those layers that the host lacks, and is kept.
func TestSend(t *testing.T) {
	w := newWorld(t)
	base, err := w.machine.Path(w.image.Layers[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(base)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.host.PutBytes(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	var room, released int64
	w.config.Room = func(_ context.Context, n int64) (func(), error) {
		room = n
		return func() { released++ }, nil
	}
	if sent, kept := w.send(t, w.image); sent != nil || kept != nil {
		t.Fatalf("%v, %v", sent, kept)
	}
	if len(w.kept) != 1 || w.kept[0].Digest() != w.image.Digest() {
		t.Fatalf("%+v", w.kept)
	}
	for _, l := range w.image.Layers {
		if err := w.host.Verify(t.Context(), l.Digest); err != nil {
			t.Error(err)
		}
	}
	if room != w.image.Size() || released != 1 {
		t.Errorf("room for %d bytes, of %d; released %d times", room, w.image.Size(), released)
	}
}

// The roots of layers are computed: what a machine says of them, or does not, is nothing.
func TestRoots(t *testing.T) {
	for _, root := range []ore.Digest{"", ore.DigestOf([]byte("a lie"))} {
		w := newWorld(t)
		said := w.image
		said.Layers = append([]image.Layer(nil), said.Layers...)
		for i := range said.Layers {
			said.Layers[i].Root = root
		}
		if sent, kept := w.send(t, said); sent != nil || kept != nil {
			t.Fatalf("%v, %v", sent, kept)
		}
		if len(w.kept) != 1 || w.kept[0].Digest() != w.image.Digest() {
			t.Errorf("root %q: kept %+v", root, w.kept)
		}
	}
}

// Which layers make what an image was before its steps is not believed either: a step
// that goes on beside these would see what the machine likes.
func TestKeys(t *testing.T) {
	w := newWorld(t)
	before := w.image.Environment
	w.image.Environment.Steps = []ore.Step{{Name: "a", Run: "true"}}
	w.image.Key, w.config.Environment = w.image.Environment.Key(), w.image.Environment
	w.image.Layers = append([]image.Layer(nil), w.image.Layers...)
	for i := range w.image.Layers {
		w.image.Layers[i].Key = before.Key()
	}
	if n := exact.Bare(w.image); n != len(w.image.Layers) {
		t.Fatalf("the lie is that all of its layers are from before its steps, not %d", n)
	}
	if sent, kept := w.send(t, w.image); sent != nil || kept != nil || len(w.kept) != 1 {
		t.Fatalf("%v, %v", sent, kept)
	}
	if got := w.kept[0]; exact.Bare(got) != 0 || got.Layers[0].Key != before.BaseOnly().Key() || got.Layers[1].Key != got.Key {
		t.Errorf("%d layers are from before its steps: %+v", exact.Bare(got), got.Layers)
	}
	m := w.image
	m.Layers = append(m.Layers, m.Layers[1])
	if got := named(m)[1].Key; got != "" {
		t.Errorf("a layer in between has the key %s", got.Short())
	}
}

// What a machine says is not believed.
func TestLies(t *testing.T) {
	changed := func(change func(m *image.Manifest)) func(*testing.T, *world) {
		return func(_ *testing.T, w *world) {
			w.image.Layers = append([]image.Layer(nil), w.image.Layers...)
			change(&w.image)
		}
	}
	without := func(name, status string) func(*testing.T, *world) {
		return func(t *testing.T, w *world) {
			w.image = w.make(t, w.image.Environment, []file{
				{".", "", fs.ModeDir | 0o755}, {"bin", "", fs.ModeDir | 0o755}, {"bin/tool", "x", 0o755},
				{"var", "", fs.ModeDir | 0o755}, {"var/lib", "", fs.ModeDir | 0o755}, {"var/lib/dpkg", "", fs.ModeDir | 0o755}, {"var/lib/dpkg/" + name, status, 0o644},
			})
		}
	}
	for _, c := range []struct {
		summary string
		lie     func(*testing.T, *world)
		want    string
	}{
		{"another environment", changed(func(m *image.Manifest) {
			m.Environment.Packages = m.Environment.Packages[:1]
			m.Key = m.Environment.Key()
		}), "was to be installed"},
		{"another tree", changed(func(m *image.Manifest) { m.Tree = ore.DigestOf(nil) }), "its layers make the tree"},
		{"another order", changed(func(m *image.Manifest) { m.Layers[0], m.Layers[1] = m.Layers[1], m.Layers[0] }), "its layers make the tree"},
		{"a layer too few", changed(func(m *image.Manifest) { m.Layers = m.Layers[:1] }), "its layers make the tree"},
		{"another capability", changed(func(m *image.Manifest) { m.Capabilities = nil }), "its layers make the tree"},
		{"too large", func(_ *testing.T, w *world) { w.config.Most = 100 }, "more than 100 bytes"},
		{"too large when expanded", func(_ *testing.T, w *world) { w.config.Most = w.image.Size() }, "its files have more than"},
		{"no room", func(_ *testing.T, w *world) {
			w.config.Room = func(context.Context, int64) (func(), error) { return nil, errors.New("no room") }
		}, "no room"},
		{"not kept", func(_ *testing.T, w *world) { w.failure = errors.New("broken disk") }, "broken disk"},
		{"no database", without("nothing", ""), "no database of dpkg"},
		{"a package too few", without("status", database[:strings.Index(database, "\nPackage: other")+1]), "dpkg lacks 1 packages of the environment, such as other=2:all"},
		{"a package too many", without("status", database+"\nPackage: more\nStatus: install ok installed\nArchitecture: all\nVersion: 3\n"), "dpkg has more=3:all"},
		{"half a package", without("status", strings.Replace(database, "ok installed", "ok half-configured", 1)), "half-configured"},
		{"no squashfs", func(t *testing.T, w *world) {
			d, err := w.machine.PutBytes(t.Context(), bytes.Repeat([]byte("no"), 200))
			if err != nil {
				t.Fatal(err)
			}
			w.image.Layers = []image.Layer{{Digest: d, Size: 400}}
		}, "layer 1"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			w := newWorld(t)
			c.lie(t, w)
			sent, kept := w.send(t, w.image)
			if kept == nil || !strings.Contains(kept.Error(), c.want) {
				t.Errorf("%v; the machine was told %v", kept, sent)
			}
			if len(w.kept) > 0 && w.failure == nil {
				t.Errorf("kept %+v", w.kept)
			}
		})
	}
}

// Bytes that do not have a layer's digest are refused, as are those of a layer
// that was not asked for, and a second manifest.
func TestWrongRequests(t *testing.T) {
	w := newWorld(t)
	v := New(t.Context(), w.config)
	put := func(path string, body []byte) (int, string) {
		t.Helper()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/", bytes.NewReader(body))
		r.URL.Path = path
		a := httptest.NewRecorder()
		v.ServeHTTP(a, r)
		return a.Code, a.Body.String()
	}
	hex := w.image.Layers[0].Digest.Hex()
	if code, text := put("/sha256/"+hex, nil); code != http.StatusUnprocessableEntity || !strings.Contains(text, "not asked for") {
		t.Errorf("before the manifest: %d %s", code, text)
	}
	want := fmt.Sprintf("[%q,%q]\n", w.image.Layers[0].Digest, w.image.Layers[1].Digest)
	if code, text := put("", w.image.Encode()); code != http.StatusOK || text != want {
		t.Errorf("%d %s", code, text)
	}
	if code, _ := put("/sha256/"+hex, []byte("other bytes")); code != http.StatusUnprocessableEntity {
		t.Errorf("other bytes: %d", code)
	}
	if code, _ := put("/sha256/"+hex, make([]byte, w.image.Layers[0].Size+1)); code != http.StatusUnprocessableEntity {
		t.Errorf("too many bytes: %d", code)
	}
	if code, text := put("/sha256/"+ore.DigestOf(nil).Hex(), nil); code != http.StatusUnprocessableEntity || !strings.Contains(text, "not asked for") {
		t.Errorf("another layer: %d %s", code, text)
	}
	second := w.image
	second.Tree = ore.DigestOf(nil)
	if code, text := put("", second.Encode()); code != http.StatusUnprocessableEntity || !strings.Contains(text, "another manifest") {
		t.Errorf("a second manifest: %d %s", code, text)
	}
	if err := v.Close(); err == nil || !strings.Contains(err.Error(), "did not send all layers") {
		t.Errorf("%v", err)
	}
	if code, _ := put("", w.image.Encode()); code != http.StatusUnprocessableEntity {
		t.Errorf("after the end: %d", code)
	}
	if all, err := w.host.Blobs(); err != nil || len(all) > 0 {
		t.Errorf("the store has %v, %v", all, err)
	}
}

// A machine that sends nothing leaves nothing.
func TestNothing(t *testing.T) {
	if err := New(t.Context(), newWorld(t).config).Close(); !errors.Is(err, ErrNothing) {
		t.Errorf("%v", err)
	}
}
