package caching_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jedib0t/go-pretty/v6/table"

	"ore"
	"ore/cache"
	"ore/cache/registry"
	"ore/cache/registry/registrytest"
	"ore/cmd/ore/caching"
	"ore/image"
	"ore/site"
	"ore/squashfs"
)

// host is one host: its folders, and whom it trusts.
type host struct {
	dirs    site.Dirs
	trusted image.Keys
	quota   int64
}

func newHost(t *testing.T, trusted image.Keys) host {
	home := t.TempDir()
	dirs, err := site.FindDirs(func(name string) string {
		if name == site.HomeVariable {
			return home
		}
		return ""
	})
	if err != nil {
		t.Fatal(err)
	}
	return host{dirs: dirs, trusted: trusted}
}

func (h host) open(ctx context.Context) (*site.Site, error) {
	return site.Open(ctx, site.Config{Dirs: h.dirs, Trusted: h.trusted, Quota: h.quota})
}

func (h host) must(t *testing.T) *site.Site {
	t.Helper()
	s, err := h.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// ore gives one command line to the command cache of the host.
func (h host) ore(t *testing.T, args ...string) error {
	t.Helper()
	json := false
	c := caching.Command(&caching.Shell{Out: io.Discard, JSON: &json, Open: h.open, Usage: func(err error) error { return err },
		Rows: func(...any) table.Writer { return table.NewWriter() }})
	c.SetArgs(args)
	c.SetErr(io.Discard)
	return c.ExecuteContext(t.Context())
}

// made lists an image of one file on a host, which was asked for by a name.
func made(t *testing.T, s *site.Site, name string) image.Manifest {
	t.Helper()
	env := ore.Environment{Version: 1, Base: ore.Base{Distribution: "debian", Suite: "bookworm"}, Manual: []string{name}}
	m := image.Manifest{Version: image.ManifestVersion, Key: env.Key(), Environment: env, Tree: ore.DigestOf([]byte(name))}
	d, n, err := s.Cache.Put(t.Context(), func(f *os.File) error {
		w, err := squashfs.NewWriter(f, squashfs.Options{})
		if err != nil {
			return err
		}
		if err := w.Add(squashfs.Entry{Path: ".", Mode: os.ModeDir | 0o755, ModTime: int64(len(name))}, nil); err != nil {
			return err
		}
		return w.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Layers = []image.Layer{{Digest: d, Size: n, Compression: "zstd"}}
	if _, err := s.Cache.Register(t.Context(), m, 0); err != nil {
		t.Fatal(err)
	}
	return m
}

// servedFolder is the variable that served leaves its folder in.
const servedFolder = "ORE_TEST_DIR"

// served serves a folder and returns its address; the token is set.
func served(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv(servedFolder, dir)
	t.Setenv("ORE_HOME", t.TempDir())
	t.Setenv("ORE_CACHE_TOKEN", must(t, "token", "add", "a", "--write", "--dir", dir))
	ctx, stop := context.WithCancel(context.Background())
	said, ended := make(line, 1), make(chan error, 1)
	go func() { ended <- run(t, ctx, said, "serve", "--dir", dir, "--listen", "127.0.0.1:0") }()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	select {
	case s := <-said:
		_, url, _ := strings.Cut(strings.TrimSpace(s), " on ")
		return url
	case err := <-ended:
		ended <- err
		t.Fatalf("the server ended: %v", err)
	}
	return ""
}

// ociRegistry starts a registry and returns a repository there.
func ociRegistry(t *testing.T) string {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	return registry.SchemePlain + registrytest.Start(t) + "/group/images"
}

// Where keys are trusted, an image that another key signed is not taken, from
// whatever kind of cache; one's own and those of trusted keys are.
func TestPullAsksWhoSigned(t *testing.T) {
	for name, start := range map[string]func(*testing.T) string{"served": served, "registry": ociRegistry} {
		t.Run(name, func(t *testing.T) {
			url := start(t)
			builder := newHost(t, image.Keys{"ed25519:somebody": "else"}) // does not name its own key
			b := builder.must(t)
			m := made(t, b, "a")
			if err := builder.ore(t, "push", string(m.Key), "--cache", url); err != nil {
				t.Fatal(err)
			}
			pull := []string{"pull", string(m.Key), "--cache", url}
			stranger := newHost(t, image.Keys{"ed25519:somebody": "else"})
			if err := stranger.ore(t, pull...); err == nil || !strings.Contains(err.Error(), b.Signer.Key()) || !strings.Contains(err.Error(), "trusted keys") {
				t.Errorf("by a key that is not trusted: %v", err)
			}
			if all, err := stranger.must(t).Cache.List(t.Context()); err != nil || len(all) != 0 {
				t.Errorf("it is listed: %v, %v", all, err)
			}
			for _, trusted := range []image.Keys{nil, {b.Signer.Key(): "builder"}} {
				h := newHost(t, trusted)
				if err := h.ore(t, pull...); err != nil {
					t.Errorf("with %v: %v", trusted, err)
				}
				if err := h.must(t).Verify(t.Context(), m.Key); err != nil {
					t.Errorf("with %v: verify: %v", trusted, err)
				}
				h.trusted = stranger.trusted // from now on
				if err := h.must(t).Verify(t.Context(), m.Key); err == nil || !strings.Contains(err.Error(), "trusted keys") {
					t.Errorf("what is not trusted any more: verify: %v", err)
				}
			}
			if _, err := b.Cache.Forget(t.Context(), m.Key); err != nil {
				t.Fatal(err)
			}
			if err := builder.ore(t, pull...); err != nil {
				t.Errorf("what it made itself: %v", err)
			}
		})
	}
}

// A folder that is served is verified beside its server, which gives nothing more
// of what has rotted and lists none of its images.
func TestServedFolderIsVerified(t *testing.T) {
	url, dir := served(t), os.Getenv(servedFolder)
	h := newHost(t, nil)
	s := h.must(t)
	m := made(t, s, "a")
	if err := h.ore(t, "push", string(m.Key), "--cache", url); err != nil {
		t.Fatal(err)
	}
	if out := must(t, "verify", "--dir", dir); !strings.Contains(out, "a "+m.Key.Short()+" ok") {
		t.Errorf("a good one:\n%s", out)
	}
	c, err := (cache.Config{}).Open(t.Context(), filepath.Join(dir, "namespaces", "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p, err := c.Path(m.Layers[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := errors.Join(os.Chmod(p, 0o600), os.WriteFile(p, b, 0o600)); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run(t, t.Context(), &out, "verify", "--dir", dir); err == nil || !strings.Contains(err.Error(), "1 images") || !strings.Contains(out.String(), "quarantine") {
		t.Errorf("a rotten one: %v\n%s", err, &out)
	}
	if out := must(t, "ls", "--cache", url); strings.Contains(out, m.Key.Short()) {
		t.Errorf("the server lists it:\n%s", out)
	}
	if err := run(t, t.Context(), io.Discard, "verify", "--dir", t.TempDir()); err == nil || !strings.Contains(err.Error(), "--dir") {
		t.Errorf("a folder without images: %v", err)
	}
}
