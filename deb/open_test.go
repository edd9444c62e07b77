package deb_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"ore"
	"ore/deb"
	"ore/deb/debtest"
	"ore/deb/fetch"
	"ore/deb/resolve"
)

var base = ore.Base{Distribution: "debian", Suite: debtest.Suite}

// packages is a small suite with a base set of two.
func packages() []debtest.Package {
	return []debtest.Package{
		{Name: "core", Arch: "amd64", Fields: map[string]string{"Essential": "yes", "Depends": "libcore"}},
		{Name: "libcore", Arch: "amd64"},
		{Name: "hello", Version: "1:2.0-1", Fields: map[string]string{"Depends": "greet"},
			Files: map[string]string{"usr/share/hello": strings.Repeat("hello ", 50_000)}},
		{Name: "greet"},
	}
}

// config opens a with a clock that now sets.
func config(t *testing.T, a *debtest.Archive) deb.Config {
	return deb.Config{Dir: t.TempDir(), Base: base, Mirror: a.URL, Keyring: a.KeyFile,
		Client: &fetch.Client{Tries: 2, Pause: time.Millisecond, Stall: 10 * time.Second}}
}

func mustOpen(t *testing.T, c deb.Config) *deb.Archive {
	t.Helper()
	archive, err := deb.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { archive.Close() })
	return archive
}

func wants(names ...string) ore.Wants {
	w := ore.Wants{Base: base}
	for _, n := range names {
		w.Packages = append(w.Packages, ore.Wish{Name: n})
	}
	return w
}

func TestResolveAndFetch(t *testing.T) {
	a := debtest.New(t, packages()...)
	archive := mustOpen(t, config(t, a))
	env, err := archive.Resolve(t.Context(), wants("hello"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range env.Packages {
		name := p.String()
		if p.Base {
			name += "*"
		}
		got = append(got, name)
	}
	want := "core=1.0:amd64* greet=1.0:all hello=1:2.0-1:all libcore=1.0:amd64*"
	if strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if len(env.Sources) != 1 || env.Sources[0].URI != "" || env.Sources[0].Suite != debtest.Suite || env.Sources[0].Components[0] != "main" {
		t.Errorf("sources: %+v", env.Sources)
	}
	if len(env.Manual) != 1 || env.Manual[0] != "hello" {
		t.Errorf("manual: %v", env.Manual)
	}
	var mu sync.Mutex
	var last ore.Event
	if got := archive.AtHand(env.Packages); len(got) != 0 {
		t.Errorf("at hand before anything was fetched: %v", got)
	}
	if err := archive.FetchAll(t.Context(), env.Packages, func(e ore.Event) { mu.Lock(); last = e; mu.Unlock() }); err != nil {
		t.Fatal(err)
	}
	if !last.Final || last.Stage != "fetch" || last.Done != last.Total || last.Total == 0 {
		t.Errorf("the last event: %+v", last)
	}
	a.Requests()
	there := archive.AtHand(env.Packages)
	for _, p := range env.Packages {
		path, err := archive.Fetch(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil || ore.DigestOf(data) != p.Digest || filepath.Base(path) != p.Digest.Hex()+".deb" || there[p.Digest] != path {
			t.Errorf("%s at %s: %v, digest %s", p, path, err, ore.DigestOf(data))
		}
	}
	if r := a.Requests(); len(r) > 0 {
		t.Errorf("kept packages were asked for: %v", r)
	}
	needs, err := archive.Needs(t.Context(), ore.Wish{Name: "core"})
	if err != nil || len(needs) != 2 {
		t.Errorf("core needs %v, %v", needs, err)
	}
}

// clock is a time that a test moves.
type clock struct{ now time.Time }

func (c *clock) read() time.Time { return c.now }

func TestRefresh(t *testing.T) {
	a := debtest.New(t, packages()...)
	c := config(t, a)
	time0 := &clock{now: time.Now()}
	c.Now = time0.read
	mustOpen(t, c)
	a.Requests()
	mustOpen(t, c)
	if r := a.Requests(); len(r) > 0 {
		t.Errorf("fresh indexes were asked for: %v", r)
	}
	time0.now = time0.now.Add(deb.DefaultMaxAge + time.Second)
	mustOpen(t, c)
	if r := a.Requests(); len(r) != 1 || !strings.HasSuffix(r[0], "InRelease") {
		t.Errorf("after the time limit: %v, want one request", r)
	}
	mustOpen(t, c)
	if r := a.Requests(); len(r) > 0 {
		t.Errorf("asked just before, and again: %v", r)
	}
	a.Publish(debtest.Release{Date: time0.now}, append(packages(), debtest.Package{Name: "fresh"})...)
	c.MaxAge = -1
	archive := mustOpen(t, c)
	if _, err := archive.Resolve(t.Context(), wants("fresh")); err != nil {
		t.Error(err)
	}
}

// TestMirrorTrouble gives an empty cache a bad mirror, and then one that had
// proved indexes before.
func TestMirrorTrouble(t *testing.T) {
	day := 24 * time.Hour
	now := time.Now()
	tests := []struct {
		summary string
		fault   debtest.Fault
		release *debtest.Release
		say     []string // on an empty cache
		serves  bool     // with proved indexes at hand it opens all the same
	}{
		{summary: "down", fault: debtest.Down, say: []string{"suite test", "503"}, serves: true},
		{summary: "no such suite", fault: debtest.Missing("InRelease"), say: []string{"has no such suite", "check its name"}},
		{summary: "no index", fault: debtest.Missing("binary-amd64"), say: []string{"main/binary-amd64/Packages", "404", "incomplete"}, serves: true},
		{summary: "changed release file", fault: debtest.Corrupted("InRelease"), say: []string{"signature", "do not trust"}},
		{summary: "half a release file", fault: debtest.Short("InRelease"), say: []string{"not signed", "do not trust"}},
		{summary: "somebody else's signature", release: &debtest.Release{Signer: debtest.New(t)}, say: []string{"no trusted key", "--keyring"}},
		{summary: "expired", release: &debtest.Release{Date: now.Add(-9 * day), ValidUntil: now.Add(-2 * day)}, say: []string{"expired", "use another"}},
		{summary: "from the future", release: &debtest.Release{Date: now.Add(3 * day)}, say: []string{"future", "clock"}},
		{summary: "another suite", release: &debtest.Release{Codename: "other"}, say: []string{"is that of other"}},
	}
	for _, test := range tests {
		t.Run(test.summary, func(t *testing.T) {
			a := debtest.New(t, packages()...)
			kept := config(t, a)
			mustOpen(t, kept)
			if test.release != nil {
				a.Publish(*test.release, packages()...)
			}
			a.Break(test.fault)
			_, err := deb.Open(t.Context(), config(t, a))
			if err == nil {
				t.Fatal("it opens")
			}
			for _, part := range test.say {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
			kept.MaxAge = -1
			archive, err := deb.Open(t.Context(), kept)
			if (err == nil) != test.serves {
				t.Errorf("with proved indexes at hand: %v", err)
			}
			if err == nil {
				archive.Close()
			}
		})
	}
}

func TestIndexTrouble(t *testing.T) {
	for _, test := range []struct {
		summary string
		fault   debtest.Fault
		say     string
	}{
		{"changed", debtest.Corrupted("binary-amd64"), "has hash"},
		{"half", debtest.Short("binary-amd64"), "it ended after"},
	} {
		a := debtest.New(t, packages()...)
		a.Break(test.fault)
		if _, err := deb.Open(t.Context(), config(t, a)); err == nil || !strings.Contains(err.Error(), test.say) {
			t.Errorf("%s: got %v, want an error with %q", test.summary, err, test.say)
		}
	}
	// One address of two is bad.
	a := debtest.New(t, packages()...)
	a.Break(debtest.Missing("by-hash"))
	mustOpen(t, config(t, a))
}

func TestOlderReleaseIsRefused(t *testing.T) {
	a := debtest.New(t, packages()...)
	c := config(t, a)
	c.MaxAge = -1
	mustOpen(t, c)
	a.Publish(debtest.Release{Date: time.Now().Add(-48 * time.Hour)}, packages()...)
	_, err := deb.Open(t.Context(), c)
	if err == nil || !strings.Contains(err.Error(), "older than") || !strings.Contains(err.Error(), "use another one") {
		t.Errorf("got %v", err)
	}
}

// TestOtherKeyring does not let what one keyring proved pass for another.
func TestOtherKeyring(t *testing.T) {
	a := debtest.New(t, packages()...)
	c := config(t, a)
	mustOpen(t, c)
	c.Keyring = debtest.New(t).KeyFile
	if _, err := deb.Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), "no trusted key") {
		t.Errorf("got %v", err)
	}
}

// TestForeignSources leaves out what the host's apt configuration has from
// somebody else under the same suite, and fails when nothing is left.
func TestForeignSources(t *testing.T) {
	a := debtest.New(t, packages()...)
	vendor := debtest.New(t, debtest.Package{Name: "hello", Version: "9:9"})
	vendor.Publish(debtest.Release{Origin: "Vendor"}, debtest.Package{Name: "hello", Version: "9:9"})
	c := config(t, a)
	c.Mirror, c.Keyring, c.Root = "", "", t.TempDir()
	etc := filepath.Join(c.Root, "etc/apt")
	if err := os.MkdirAll(etc, 0o755); err != nil {
		t.Fatal(err)
	}
	line := func(a *debtest.Archive) string {
		key := filepath.Join(c.Root, filepath.Base(filepath.Dir(a.KeyFile))+".asc")
		if err := os.WriteFile(key, a.Key, 0o644); err != nil {
			t.Fatal(err)
		}
		return "deb [signed-by=/" + filepath.Base(key) + "] " + a.URL + " test main\n"
	}
	list := filepath.Join(etc, "sources.list")
	if err := os.WriteFile(list, []byte(line(vendor)+line(a)), 0o644); err != nil {
		t.Fatal(err)
	}
	env, err := mustOpen(t, c).Resolve(t.Context(), wants("hello"))
	if err != nil || len(env.Sources) != 1 || !slices.ContainsFunc(env.Packages, func(p ore.Package) bool { return p.Version == "1:2.0-1" }) {
		t.Errorf("got %+v, %v", env.Packages, err)
	}
	if err := os.WriteFile(list, []byte(line(vendor)), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := deb.Open(t.Context(), c); !errors.Is(err, deb.ErrNoMirror) {
		t.Errorf("with the vendor's alone: %v", err)
	}
}

// TestStaleLimit uses proved indexes without a mirror for some days only.
func TestStaleLimit(t *testing.T) {
	a := debtest.New(t, packages()...)
	c := config(t, a)
	at := &clock{now: time.Now()}
	c.Now = at.read
	var told strings.Builder
	c.Watch = func(e ore.Event) { told.WriteString(e.Text + "\n") }
	mustOpen(t, c)
	a.Break(debtest.Down)
	at.now = at.now.Add(48 * time.Hour)
	mustOpen(t, c)
	if !strings.Contains(told.String(), "using the indexes proved on") {
		t.Errorf("nothing was said of it: %q", told.String())
	}
	a.Requests()
	mustOpen(t, c)
	if r := a.Requests(); len(r) > 0 {
		t.Errorf("a mirror that did not answer is asked again at once: %v", r)
	}
	at.now = at.now.Add(30 * 24 * time.Hour)
	if _, err := deb.Open(t.Context(), c); err == nil {
		t.Error("a month without a word from the mirror, and it opens")
	}
}

// TestDamagedCache repairs itself.
func TestDamagedCache(t *testing.T) {
	a := debtest.New(t, packages()...)
	c := config(t, a)
	mustOpen(t, c)
	for _, pattern := range []string{"indexes/packed/*", "indexes/*/state.json", "indexes/*/InRelease"} {
		files, err := filepath.Glob(filepath.Join(c.Dir, pattern))
		if err != nil || len(files) != 1 {
			t.Fatalf("%s: %v, %v", pattern, files, err)
		}
		if err := os.Remove(files[0]); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(files[0], []byte("damaged"), 0o644); err != nil {
			t.Fatal(err)
		}
		archive := mustOpen(t, c)
		if _, err := archive.Resolve(t.Context(), wants("hello")); err != nil {
			t.Errorf("%s damaged: %v", pattern, err)
		}
	}
}

func TestGonePackages(t *testing.T) {
	a := debtest.New(t, packages()...)
	c := config(t, a)
	c.MaxAge = -1
	archive := mustOpen(t, c)
	env, err := archive.Resolve(t.Context(), wants("hello"))
	if err != nil {
		t.Fatal(err)
	}
	changed := packages()
	changed[2].Version, changed[3].Version = "1:3.0-1", "1.1"
	a.Publish(debtest.Release{}, changed...)
	if _, err := archive.Fetch(t.Context(), env.Packages[1]); err != nil { // greet, still in the pool
		t.Fatal(err)
	}
	later := mustOpen(t, c)
	var gone *deb.GoneError
	if err := later.Check(env); !errors.As(err, &gone) || len(gone.Packages) != 1 || !strings.Contains(err.Error(), "hello=1:2.0-1:all") {
		t.Errorf("got %v, want that hello is gone and greet is kept", err)
	}
	var version *resolve.VersionError
	if _, err := later.Resolve(t.Context(), ore.Wants{Base: base, Packages: []ore.Wish{{Name: "hello", Version: "1:2.0-1"}}}); !errors.As(err, &version) {
		t.Errorf("the version that is gone: %v", err)
	}
	a.Break(debtest.Missing("hello"))
	if _, err := later.Fetch(t.Context(), env.Packages[2]); err == nil || !strings.Contains(err.Error(), "make a new lock") {
		t.Errorf("fetching what is gone: %v", err)
	}
}

func TestFurtherRepository(t *testing.T) {
	a := debtest.New(t, packages()...)
	other := debtest.New(t, debtest.Package{Name: "extra", Fields: map[string]string{"Depends": "greet"}})
	c := config(t, a)
	c.Repositories = []ore.Repository{{URI: other.URL + "/", Suite: debtest.Suite, Components: []string{"main"}, Key: other.Key}}
	archive := mustOpen(t, c)
	env, err := archive.Resolve(t.Context(), wants("extra"))
	if err != nil {
		t.Fatal(err)
	}
	var extra ore.Package
	for _, p := range env.Packages {
		if p.Name == "extra" {
			extra = p
		}
	}
	if extra.Archive != other.URL || len(env.Sources) != 2 || env.Sources[1].Key != ore.DigestOf(other.Key) {
		t.Errorf("extra: %+v, sources %+v", extra, env.Sources)
	}
	if err := archive.FetchAll(t.Context(), env.Packages, nil); err != nil {
		t.Error(err)
	}
	c.Dir = t.TempDir()
	c.Repositories[0].Key = a.Key
	if _, err := deb.Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), "no trusted key") {
		t.Errorf("with the wrong key: %v", err)
	}
	c.Repositories[0].Key = nil
	if _, err := deb.Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), "has no key") {
		t.Errorf("without a key: %v", err)
	}
}

// TestLockFromAnywhere does not let a lock reach outside of the cache.
func TestLockFromAnywhere(t *testing.T) {
	archive := mustOpen(t, config(t, debtest.New(t, packages()...)))
	good := ore.Package{Name: "x", Version: "1", Arch: "all", Path: "pool/x", Size: 1, Digest: ore.DigestOf([]byte("x"))}
	for _, change := range []func(p *ore.Package){
		func(p *ore.Package) { p.Path = "../x" }, func(p *ore.Package) { p.Path = "/x" },
		func(p *ore.Package) { p.Digest = "sha256:../../etc/passwd" }, func(p *ore.Package) { p.Size = 0 },
	} {
		p := good
		change(&p)
		if _, err := archive.Fetch(t.Context(), p); err == nil || !strings.Contains(err.Error(), "not valid") {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

// TestOpensAtOnce opens an empty cache from several sides.
func TestOpensAtOnce(t *testing.T) {
	a := debtest.New(t, packages()...)
	c := config(t, a)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			archive, err := deb.Open(context.Background(), c)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := archive.Resolve(context.Background(), wants("hello")); err != nil {
				t.Error(err)
			}
			if err := archive.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
