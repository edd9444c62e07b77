package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"ore"
	"ore/cache/registry/registrytest"
	"ore/image"
	"ore/squashfs"
)

// address starts a registry and returns the repository's address there.
func address(t *testing.T) string {
	t.Helper()
	return SchemePlain + registrytest.Start(t) + "/group/images"
}

func open(t *testing.T, address string) *Remote {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	r, err := Open(address)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func store(t *testing.T) *image.Store {
	t.Helper()
	s, err := image.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// layer adds a layer with one file to s.
func layer(t *testing.T, s *image.Store, name, content string) image.Layer {
	t.Helper()
	d, n, err := s.Put(t.Context(), func(f *os.File) error {
		w, err := squashfs.NewWriter(f, squashfs.Options{})
		if err != nil {
			return err
		}
		if err := w.Add(squashfs.Entry{Path: ".", Mode: os.ModeDir | 0o755}, nil); err != nil {
			return err
		}
		if err := w.Add(squashfs.Entry{Path: name, Mode: 0o644, Size: int64(len(content))}, strings.NewReader(content)); err != nil {
			return err
		}
		return w.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	return image.Layer{Digest: d, Size: n, Compression: "zstd"}
}

func picture(layers ...image.Layer) image.Manifest {
	env := ore.Environment{
		Version: ore.EnvironmentVersion, Arch: "amd64", Base: ore.Base{Distribution: "debian", Suite: "bookworm"},
		Packages: []ore.Package{{Name: "a", Version: "1-1", Arch: "all", Digest: ore.DigestOf([]byte("a"))}},
		Manual:   []string{fmt.Sprint("a", len(layers))},
	}
	return image.Manifest{
		Version: image.ManifestVersion, Key: env.Key(), Environment: env, Layers: layers,
		Tree: ore.DigestOf([]byte("tree")), Files: 2,
	}
}

func TestPushAndPull(t *testing.T) {
	at := address(t)
	r, s := open(t, at), store(t)
	base := layer(t, s, "base", "base")
	m := picture(base, layer(t, s, "more", strings.Repeat("more", 1<<20)))
	if _, err := r.Find(t.Context(), m.Key); !errors.Is(err, image.ErrMissing) {
		t.Fatalf("an empty registry has %v", err)
	}
	for range 2 { // the second time finds all of it there
		if err := r.Push(t.Context(), s, m, []byte("signed")); err != nil {
			t.Fatal(err)
		}
	}
	found, err := r.Find(t.Context(), m.Key)
	if err != nil {
		t.Fatal(err)
	}
	if found.Manifest.Digest() != m.Digest() || string(found.Signatures) != "signed" {
		t.Errorf("found %s signed %q", found.Manifest.Digest(), found.Signatures)
	}
	other := store(t)
	var pulled atomic.Int64
	if err := r.Pull(t.Context(), found.Manifest, other, func(n int64) { pulled.Add(n) }); err != nil {
		t.Fatal(err)
	}
	for _, l := range m.Layers {
		if err := other.Verify(t.Context(), l.Digest); err != nil {
			t.Error(err)
		}
	}
	if pulled.Load() != m.Size() {
		t.Errorf("pulled %d bytes, want %d", pulled.Load(), m.Size())
	}
	pulled.Store(0)
	if err := r.Pull(t.Context(), found.Manifest, other, func(n int64) { pulled.Add(n) }); err != nil || pulled.Load() != 0 {
		t.Errorf("pulled %d bytes again (%v)", pulled.Load(), err)
	}
}

// TestOtherToolsReadIt has skopeo copy what was pushed.
func TestOtherToolsReadIt(t *testing.T) {
	at := address(t)
	skopeo, err := exec.LookPath("skopeo")
	if err != nil {
		t.Skip("skopeo is not installed: test/needs installs it")
	}
	r, s := open(t, at), store(t)
	m := picture(layer(t, s, "file", "what it holds"))
	if err := r.Push(t.Context(), s, m, nil); err != nil {
		t.Fatal(err)
	}
	name := "docker://" + strings.TrimPrefix(at, SchemePlain) + ":" + string(m.Key)
	to := filepath.Join(t.TempDir(), "copy")
	out, err := exec.Command(skopeo, "--insecure-policy", "copy", "--src-tls-verify=false", "--dest-decompress", name, "dir:"+to).CombinedOutput()
	if err != nil {
		t.Fatalf("skopeo: %v\n%s", err, out)
	}
	files, err := filepath.Glob(filepath.Join(to, "*"))
	if err != nil {
		t.Fatal(err)
	}
	whole := false
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		whole = whole || bytes.Contains(b, []byte("what it holds"))
	}
	if !whole {
		t.Errorf("the file is in none of %v", files)
	}
	d, err := r.artifact(t.Context(), m.Key)
	if err != nil {
		t.Fatal(err)
	}
	if d.Annotations[annotationPackages] != "a=1-1:all" {
		t.Errorf("packages %q", d.Annotations[annotationPackages])
	}
	var lock ore.Environment
	if err := json.Unmarshal([]byte(d.Annotations[annotationLock]), &lock); err != nil || lock.Key() != m.Key {
		t.Errorf("lock has key %s (%v), want %s", lock.Key(), err, m.Key)
	}
}

// between is a proxy before the registry, which may change what it answers.
func between(t *testing.T, at string, change func(*http.Response) error) string {
	t.Helper()
	to, err := url.Parse("http://" + strings.Split(strings.TrimPrefix(at, SchemePlain), "/")[0])
	if err != nil {
		t.Fatal(err)
	}
	p := httputil.NewSingleHostReverseProxy(to)
	p.ModifyResponse = change
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	return SchemePlain + strings.TrimPrefix(server.URL, "http://") + "/group/images"
}

func TestLyingRegistry(t *testing.T) {
	at := address(t)
	r, s := open(t, at), store(t)
	m := picture(layer(t, s, "file", strings.Repeat("x", 1<<16)))
	if err := r.Push(t.Context(), s, m, nil); err != nil {
		t.Fatal(err)
	}
	blob := "/blobs/" + string(m.Layers[0].Digest)
	for name, body := range map[string]func(b []byte) io.Reader{
		"other bytes": func(b []byte) io.Reader { b[len(b)/2] ^= 1; return bytes.NewReader(b) },
		"too few":     func(b []byte) io.Reader { return bytes.NewReader(b[:len(b)/2]) },
		"endless":     func(b []byte) io.Reader { return io.MultiReader(bytes.NewReader(b), zeros{}) },
	} {
		t.Run(name, func(t *testing.T) {
			liar := open(t, between(t, at, func(a *http.Response) error {
				if !strings.HasSuffix(a.Request.URL.Path, blob) || a.StatusCode != http.StatusOK {
					return nil
				}
				b, err := io.ReadAll(a.Body)
				a.Body = io.NopCloser(body(b))
				if name != "other bytes" {
					a.ContentLength = -1
					a.Header.Del("Content-Length")
				}
				return err
			}))
			other := store(t)
			err := liar.Pull(t.Context(), m, other, nil)
			if err == nil {
				t.Error("pulled it")
			}
			if blobs, _ := other.Blobs(); len(blobs) != 0 {
				t.Errorf("the store has %v", blobs)
			}
		})
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// TestInterruptedPush ends a push at each of its writes and looks whether the
// image is found.
func TestInterruptedPush(t *testing.T) {
	at := address(t)
	s := store(t)
	m := picture(layer(t, s, "file", "content"))
	for ends := int32(1); ; ends++ {
		var n atomic.Int32
		ctx, cancel := context.WithCancel(t.Context())
		r := open(t, between(t, at, func(a *http.Response) error {
			if a.Request.Method == http.MethodPut && n.Add(1) == ends {
				cancel()
			}
			return nil
		}))
		err := r.Push(ctx, s, m, nil)
		cancel()
		if err == nil {
			if ends < 4 {
				t.Errorf("only %d writes", ends)
			}
			return
		}
		// The answer to the last write was cut, not the write.
		f, ferr := open(t, at).Find(t.Context(), m.Key)
		if ferr == nil {
			if perr := open(t, at).Pull(t.Context(), f.Manifest, store(t), nil); perr != nil {
				t.Fatalf("after %d writes it is listed and cannot be pulled: %v", ends, perr)
			}
			return
		}
		if !errors.Is(ferr, image.ErrMissing) {
			t.Fatal(ferr)
		}
	}
}

func TestForeignTag(t *testing.T) {
	r, s := open(t, address(t)), store(t)
	m := picture(layer(t, s, "file", "content"))
	if err := r.Push(t.Context(), s, m, nil); err != nil {
		t.Fatal(err)
	}
	wrong := ore.Key(strings.Repeat("0", 64))
	d, err := r.repo.Resolve(t.Context(), string(m.Key)+suffix)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.repo.Tag(t.Context(), d, string(wrong)+suffix); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Find(t.Context(), wrong); err == nil || errors.Is(err, image.ErrMissing) {
		t.Errorf("an image under another's key: %v", err)
	}
	a := ocispec.Manifest{Versioned: versioned(), MediaType: ocispec.MediaTypeImageManifest, Config: ocispec.DescriptorEmptyJSON}
	if err := r.pushManifest(t.Context(), a, string(m.Key)+suffix); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Find(t.Context(), m.Key); err == nil || errors.Is(err, image.ErrMissing) {
		t.Errorf("a manifest of something else: %v", err)
	}
}

func TestOpen(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	for _, wrong := range []string{"", "registry.example.org/a", "oci://", "oci://registry.example.org", "oci://registry.example.org/a:tag", "oci://registry.example.org/A", "https://registry.example.org/a"} {
		if _, err := Open(wrong); err == nil || !strings.Contains(err.Error(), "oci://HOST/REPOSITORY") {
			t.Errorf("Open(%q): %v", wrong, err)
		}
	}
}

// Of a registry without TLS it is said how it is named.
func TestNoTLS(t *testing.T) {
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	r := open(t, Scheme+strings.TrimPrefix(server.URL, "http://")+"/group/images")
	_, err := r.Find(t.Context(), ore.Key(strings.Repeat("a", 64)))
	if err == nil || !strings.Contains(err.Error(), "write oci+http:// instead of oci://") {
		t.Errorf("%v", err)
	}
}
