package rpm

import (
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ore"
	"ore/image"
	"ore/rpm/rpmtest"
	"ore/squashfs"
)

func wants(repositories ...ore.Repository) ore.Wants {
	return ore.Wants{
		Base: ore.Base{Distribution: Distribution, Suite: "tiny"}, Packages: []ore.Wish{{Name: "Hello_Grid", Version: "2:1.5-3"}},
		Repositories: repositories,
	}
}

// A wish becomes a lock, the lock a tree, twice the same, with owners, modes,
// capabilities and what scriptlets did; unsigned packages and false keys are
// refused.
func TestBuild(t *testing.T) {
	key, other := rpmtest.NewKey(t), rpmtest.NewKey(t)
	repository := "file://" + rpmtest.Repository(t, key, rpmtest.Basis, rpmtest.Hello)
	w := wants(ore.Repository{URI: repository, Key: key.Certificate})
	m := maker(t, t.TempDir())
	env, err := m.Resolve(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range env.Packages {
		names = append(names, p.String())
	}
	if !slices.Equal(names, []string{"Hello_Grid=2:1.5-3:x86_64", "basis=1.0-1:x86_64"}) || !slices.Equal(env.Manual, []string{"Hello_Grid"}) {
		t.Fatalf("the lock has %v, asked for %v", names, env.Manual)
	}
	var said []string
	m.Watch = func(e ore.Event) { said = append(said, e.Stage+" "+e.Text) }
	img, err := m.Build(t.Context(), env, w.Repositories)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(said, "rpm said by a scriptlet") {
		t.Errorf("the scriptlet was not heard: %q", slices.Compact(said))
	}
	if base := env.BaseOnly().Key(); img.Key != base || len(img.Layers) != 1 || img.Layers[0].Key != base {
		t.Errorf("the image is %s with %d layers, not %s with one", img.Key, len(img.Layers), base)
	}
	checkTree(t, m.Store, img)

	again := maker(t, t.TempDir())
	second, err := again.Build(t.Context(), env, w.Repositories)
	if err != nil {
		t.Fatal(err)
	}
	if second.Tree != img.Tree || second.Layers[0].Digest != img.Layers[0].Digest {
		t.Errorf("built again, the tree is %s and the layer %s, not %s and %s", second.Tree, second.Layers[0].Digest, img.Tree, img.Layers[0].Digest)
	}

	wrong := wants(ore.Repository{URI: repository, Key: other.Certificate})
	env, err = m.Resolve(t.Context(), wrong)
	if err != nil {
		t.Fatal(err)
	}
	if env.BaseOnly().Key() == img.Key {
		t.Error("the key does not depend on who must have signed")
	}
	if _, err := m.Build(t.Context(), env, wrong.Repositories); err == nil || !strings.Contains(err.Error(), "not signed with the key of its repository") {
		t.Errorf("signed by another: %v", err)
	}
	if _, err := m.Build(t.Context(), env, nil); err == nil || !strings.Contains(err.Error(), "not those of its lock") {
		t.Errorf("without the key: %v", err)
	}
}

// checkTree looks at what a layer has.
func checkTree(t *testing.T, store *image.Store, img image.Manifest) {
	t.Helper()
	r := open(t, store, img.Layers[0])
	have := map[string]squashfs.Entry{}
	for e, err := range r.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		have[e.Path] = e
		if e.ModTime > 1700000000 {
			t.Errorf("/%s is of %d, which is after the packages were built", e.Path, e.ModTime)
		}
	}
	for name, want := range map[string]string{
		".": "drwxr-xr-x 0 0", "tmp": "dtrwxrwxrwx 0 0", "bin": "Lrwxrwxrwx 0 0", "usr/bin/busybox": "-rwxr-xr-x 0 0",
		"var/lib/hello": "drwxr-x--- 0 77", "var/lib/hello/state": "-rw-r--r-- 0 0", "dev/null": "Dcrw-rw-rw- 0 0",
		"var/lib/rpm/rpmdb.sqlite": "-rw-r--r-- 0 0", "proc": "dr-xr-xr-x 0 0",
	} {
		e, ok := have[name]
		if got := strings.Join([]string{e.Mode.String(), number(e.UID), number(e.GID)}, " "); !ok || got != want {
			t.Errorf("/%s is %q, want %q", name, got, want)
		}
	}
	for name := range have {
		for _, not := range []string{"etc/dnf", "root/.rpmdb", "var/lib/rpm/rpmdb.sqlite-wal", "var/lib/rpm/.rpm.lock", "dev/fd/0", "proc/self"} {
			if name == not {
				t.Errorf("/%s is in the tree", name)
			}
		}
	}
	if got := read(t, r, "etc/group"); got != "root:x:0:\nhello:x:77:\n" {
		t.Errorf("/etc/group is %q", got)
	}
	if len(img.Capabilities) != 1 || img.Capabilities[0].Path != "usr/bin/capable" {
		t.Errorf("capabilities are %v", img.Capabilities)
	}
}

// open opens a layer for as long as t runs.
func open(t *testing.T, store *image.Store, l image.Layer) *squashfs.Reader {
	t.Helper()
	path, err := store.Path(l.Digest)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	r, err := squashfs.NewReader(f, l.Size)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// read returns the content of a file.
func read(t *testing.T, r *squashfs.Reader, name string) string {
	t.Helper()
	in, err := r.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	b, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func number(n uint32) string {
	if n == 77 {
		return "77"
	}
	if n == 0 {
		return "0"
	}
	return "another"
}

// Packages that nobody signed are taken only if the repository says so.
func TestUnsigned(t *testing.T) {
	repository := "file://" + rpmtest.Repository(t, nil, rpmtest.Basis)
	w := wants(ore.Repository{URI: repository})
	w.Packages = []ore.Wish{{Name: "basis"}}
	m := maker(t, t.TempDir())
	env, err := m.Resolve(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Build(t.Context(), env, w.Repositories); err != nil {
		t.Error(err)
	}
	w.Repositories[0].Key = rpmtest.NewKey(t).Certificate
	if env, err = m.Resolve(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Build(t.Context(), env, w.Repositories); err == nil || !strings.Contains(err.Error(), "not signed") {
		t.Errorf("unsigned packages of a repository with a key: %v", err)
	}
	// A package whose bytes are not those of the index is not even given to rpm.
	name, err := filepath.Glob(strings.TrimPrefix(repository, "file://") + "/*/basis-*.rpm")
	if err != nil || len(name) != 1 {
		t.Fatal(name, err)
	}
	b, err := os.ReadFile(name[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(name[0], b, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := maker(t, t.TempDir()).Build(t.Context(), env, w.Repositories); err == nil || !strings.Contains(err.Error(), "its content has hash") {
		t.Errorf("a changed package: %v", err)
	}
}

func TestResolveRefuses(t *testing.T) {
	broken := strings.ReplaceAll(rpmtest.Hello, "basis >= 1.0", "basis >= 2.0")
	repository := "file://" + rpmtest.Repository(t, nil, rpmtest.Basis, broken)
	m := maker(t, t.TempDir())
	for _, c := range []struct {
		summary, wish, why string
	}{
		{"a package that does not exist", "nothere", "no repository has it"},
		{"a version that does not exist", "basis=7", "no repository has it"},
		{"a dependency that nothing meets", "Hello_Grid", "nothing provides basis >= 2.0"},
	} {
		w := wants(ore.Repository{URI: repository})
		name, version, _ := strings.Cut(c.wish, "=")
		w.Packages = []ore.Wish{{Name: name, Version: version}}
		if _, err := m.Resolve(t.Context(), w); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %q in it", c.summary, err, c.why)
		}
	}
	if _, err := m.Resolve(t.Context(), wants(ore.Repository{URI: "file://" + t.TempDir()})); err == nil {
		t.Error("a folder without an index is a repository")
	}
}

func TestCheck(t *testing.T) {
	good := ore.Repository{URI: "http://example.org/os/$basearch/"}
	for _, c := range []struct {
		summary string
		change  func(*ore.Wants)
		why     string
	}{
		{"all is well", func(*ore.Wants) {}, ""},
		{"no repository", func(w *ore.Wants) { w.Repositories = nil }, "no repository"},
		{"no packages", func(w *ore.Wants) { w.Packages = nil }, "no packages"},
		{"a group", func(w *ore.Wants) { w.Packages[0].Name = "@core" }, "groups are not resolved"},
		{"a pattern", func(w *ore.Wants) { w.Packages[0].Name = "py*" }, "not the name of a package"},
		{"a file", func(w *ore.Wants) { w.Packages[0].Name = "/bin/sh" }, "not the name of a package"},
		{"a variable", func(w *ore.Wants) { w.Repositories[0].URI = "http://example.org/$releasever" }, "only $basearch and $arch"},
		{"a scheme", func(w *ore.Wants) { w.Repositories[0].URI = "ftp://example.org/" }, "use http, https or file"},
		{"a query", func(w *ore.Wants) { w.Repositories[0].URI = "http://example.org/?a=b" }, "not the address of a folder"},
		{"one twice", func(w *ore.Wants) {
			w.Repositories = append(w.Repositories, ore.Repository{URI: "http://example.org/os/x86_64"})
		}, "given twice"},
	} {
		w := wants(good)
		c.change(&w)
		err := Check(w)
		if c.why == "" && err != nil || c.why != "" && (err == nil || !strings.Contains(err.Error(), c.why)) {
			t.Errorf("%s: %v, want %q in it", c.summary, err, c.why)
		}
	}
}
