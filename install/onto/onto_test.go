package onto

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ore"
	"ore/deb"
	"ore/image"
	"ore/install"
	"ore/install/layer"
	"ore/install/pour"
	"ore/install/recipe"
	"ore/install/sandbox"
	"ore/install/tree"
	"ore/squashfs"
)

// workerWord makes this test's executable the worker of a build.
const workerWord = "install-worker"

func TestMain(m *testing.M) {
	sandbox.Main()
	if len(os.Args) > 1 && os.Args[1] == workerWord {
		if err := install.Worker(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// host is where images are built, and packages are had from.
type host struct {
	archive *deb.Archive
	builder *install.Builder
	base    image.Manifest
}

func newHost(t *testing.T) *host {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("files get owners, and overlays are mounted on a disk: run it as root")
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = os.TempDir()
	}
	h := &host{}
	h.archive, err = deb.Open(t.Context(), deb.Config{
		Dir: filepath.Join(dir, "ore-test"), Base: ore.Base{Distribution: "debian", Suite: "bookworm"}, MaxAge: 24 * time.Hour,
		Mirror: os.Getenv("ORE_MIRROR"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.archive.Close() })
	work := t.TempDir()
	store, err := image.OpenStore(filepath.Join(work, "store"))
	if err != nil {
		t.Fatal(err)
	}
	h.builder = &install.Builder{Dir: work, Store: store, Debs: h.archive, Tier: sandbox.Root, Args: []string{workerWord}}
	return h
}

// lock resolves packages.
func (h *host) lock(t *testing.T, packages ...string) ore.Environment {
	t.Helper()
	w := ore.Wants{Base: ore.Base{Distribution: "debian", Suite: "bookworm"}}
	for _, p := range packages {
		w.Packages = append(w.Packages, ore.Wish{Name: p})
	}
	env, err := h.archive.Resolve(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	return env
}

// build builds an image on the host.
func (h *host) build(t *testing.T, r install.Request) image.Manifest {
	t.Helper()
	r.Based = func(m image.Manifest) { h.base = m }
	m, err := h.builder.Build(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// proxy serves packages by digest, and counts them; blobs of the store, too.
func (h *host) proxy(t *testing.T, env ore.Environment) (address string, served *[]string) {
	t.Helper()
	served = new([]string)
	of := map[string]ore.Package{}
	for _, p := range env.Packages {
		of["/sha256/"+p.Digest.Hex()] = p
	}
	var one = make(chan struct{}, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		one <- struct{}{}
		defer func() { <-one }()
		if name, err := h.builder.Store.Path(ore.Digest("sha256:" + filepath.Base(r.URL.Path))); err == nil {
			http.ServeFile(w, r, name)
			return
		}
		p, ok := of[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		*served = append(*served, p.Name)
		name, err := h.archive.Fetch(r.Context(), p)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		http.ServeFile(w, r, name)
	}))
	t.Cleanup(server.Close)
	return server.URL, served
}

// digest returns the tree digest of a folder, but for what file systems have
// themselves.
func digest(t *testing.T, dir string) (ore.Digest, string) {
	t.Helper()
	found, err := tree.Scan(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	l := image.NewListing(&text)
	for _, f := range found {
		n := tree.Node{Entry: squashfs.Entry{
			Path: f.Path, Mode: tree.GoMode(f.Stat.Mode & 0o7777), UID: f.Stat.Uid, GID: f.Stat.Gid,
		}}
		switch f.Stat.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			n.Mode |= fs.ModeDir
		case unix.S_IFLNK:
			n.Mode |= fs.ModeSymlink
			n.Link, err = os.Readlink(f.Host)
		case unix.S_IFCHR:
			n.Mode |= fs.ModeDevice | fs.ModeCharDevice
			n.Major, n.Minor = unix.Major(f.Stat.Rdev), unix.Minor(f.Stat.Rdev)
		case unix.S_IFIFO:
			n.Mode |= fs.ModeNamedPipe
		case unix.S_IFREG:
			n.Sum, err = layer.Hash(f.Host)
			buf := make([]byte, 64)
			if k, err := unix.Lgetxattr(f.Host, "security.capability", buf); err == nil {
				n.Capability = buf[:k]
			}
			list := make([]byte, 256)
			if k, err := unix.Llistxattr(f.Host, list); err != nil || strings.Contains(string(list[:k]), "overlay") {
				t.Errorf("%s has the attributes %q, %v", f.Path, list[:k], err)
			}
		default:
			t.Errorf("%s has the mode %o", f.Path, f.Stat.Mode)
		}
		it, err2 := n.Item()
		if err := errors.Join(err, err2, l.Add(it)); err != nil {
			t.Fatal(err)
		}
	}
	d, err := l.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d, text.String()
}

// start is what an install starts from.
type start struct {
	summary string
	image   func(h *host, some image.Manifest) *image.Manifest
	save    bool
	lacks   func(p ore.Package, some image.Manifest) bool // whether a package must be fetched
}

// What is installed on the machine is what is built on the host.
func TestSameTree(t *testing.T) {
	sameTree(t, start{
		summary: "from nothing", lacks: func(ore.Package, image.Manifest) bool { return true },
		image: func(*host, image.Manifest) *image.Manifest { return nil },
	})
}

// wanted is what is installed, and what came of it on the host.
type wanted struct {
	host     *host
	recipe   recipe.Recipe
	manifest image.Manifest
	listing  string
	some     image.Manifest // an image that has a part of it
	served   *[]string
}

func sameTree(t *testing.T, starts ...start) {
	h := newHost(t)
	env := h.lock(t, "netcat-openbsd", "iputils-ping", "libcap2-bin")
	content := filepath.Join(t.TempDir(), "content")
	if err := os.WriteFile(content, []byte("hello\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	sum := ore.NewDigest(sha256.Sum256([]byte("hello\n")))
	env.Files = []ore.LockedFile{{Path: "/etc/hello", Mode: unix.S_IFREG | 0o640, Digest: sum, Size: 6}}
	env.Steps = []ore.Step{{Name: "change", Run: "rm -r /usr/share/doc/netcat-openbsd; ln /etc/hello /opt/hello; echo x >> /etc/motd; mkdir /srv/x; chown 7:8 /srv/x"}}
	w := wanted{host: h, manifest: h.build(t, install.Request{Environment: env, Files: map[ore.Digest]string{sum: content}})}
	w.some = h.build(t, install.Request{Environment: h.lock(t, "netcat-openbsd")})
	var address string
	address, w.served = h.proxy(t, env)
	w.recipe = recipe.Recipe{Environment: env, Archive: []string{"proxy:" + address}, Blobs: map[ore.Digest]recipe.Source{
		sum: {Size: 6, From: []string{content}},
	}}
	from := map[ore.Digest][]string{}
	for _, m := range []image.Manifest{w.manifest, w.some} {
		for _, l := range m.Layers {
			from[l.Digest] = []string{address + "/" + l.Digest.Hex()}
			w.recipe.Blobs[l.Digest] = recipe.Source{Size: l.Size, From: from[l.Digest]}
		}
	}
	poured := t.TempDir()
	if err := pour.Pour(t.Context(), pour.Options{Target: poured, Manifest: w.manifest, From: from}); err != nil {
		t.Fatal(err)
	}
	var d ore.Digest
	if d, w.listing = digest(t, poured); d != w.manifest.Tree {
		t.Errorf("poured, the image is the tree %s, not %s", d.Short(), w.manifest.Tree.Short())
	}
	for _, s := range starts {
		t.Run(s.summary, func(t *testing.T) { w.install(t, s) })
	}
}

// install installs it and compares.
func (w *wanted) install(t *testing.T, s start) {
	o := Options{Target: t.TempDir(), Recipe: w.recipe, Args: []string{workerWord}}
	o.Recipe.Image = s.image(w.host, w.some)
	if testing.Verbose() {
		o.Watch = func(e ore.Event) { t.Logf("%s %s: %s", time.Now().Format("05.000"), e.Stage, e.Text) }
	}
	var saved image.Manifest
	if s.save {
		o.Save = func(_ context.Context, m image.Manifest, store *image.Store) error {
			saved = m
			for _, l := range m.Layers {
				if err := store.Verify(t.Context(), l.Digest); err != nil {
					return err
				}
			}
			return nil
		}
	}
	*w.served = nil
	got, err := Install(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if got.Tree != w.manifest.Tree {
		t.Errorf("the tree is %s, on the host %s", got.Tree.Short(), w.manifest.Tree.Short())
	}
	if d, text := digest(t, o.Target); d != got.Tree {
		t.Errorf("the files make the tree %s, not %s: they have, or lack, %q", d.Short(), got.Tree.Short(), differ(w.listing, text))
	}
	if s.save && saved.Digest() != w.manifest.Digest() {
		t.Errorf("the image is %v, on the host %v", saved.Layers, w.manifest.Layers)
	}
	if !s.save && len(got.Layers) > 0 {
		t.Errorf("layers %v, although none were made", got.Layers)
	}
	n := 0
	for _, p := range w.recipe.Environment.Packages {
		if s.lacks(p, w.some) {
			n++
		}
	}
	if len(*w.served) != n {
		t.Errorf("%d packages were fetched, %d lacked: %v", len(*w.served), n, *w.served)
	}
}

// differ returns the lines that only one of two texts has.
func differ(a, b string) (list []string) {
	count := map[string]int{}
	for line := range strings.Lines(a) {
		count[line]++
	}
	for line := range strings.Lines(b) {
		count[line]--
	}
	for line, n := range count {
		if n != 0 {
			list = append(list, line)
		}
	}
	slices.Sort(list)
	return list
}
