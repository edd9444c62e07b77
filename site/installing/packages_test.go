package installing

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"ore"
	"ore/cluster"
	"ore/deb/fetch"
	"ore/deb/proxy"
	"ore/install/recipe"
	"ore/site"
)

// Machines get packages at the depot, and at the mirror itself where that fails and
// they may reach it; or at the mirror alone, if that is what is asked for.
func TestArchives(t *testing.T) {
	const mirror = "http://mirror.example.org/debian"
	depot := "proxy:" + gateway + "/packages"
	further := func(m *Maker) { m.Job.Wants.Repositories = []ore.Repository{{}} }
	for _, c := range []struct {
		summary, mirror string
		network         ore.Network
		change          func(*Maker)
		want            []string // nil for an error
	}{
		{"both", mirror, ore.NAT, nil, []string{depot, "mirror:" + mirror}},
		{"isolated", mirror, ore.Isolated, nil, []string{depot}},
		{"without certificates", "https://mirror.example.org/debian", ore.NAT, nil, []string{depot}},
		{"on this host", "http://127.0.0.1:8000/debian", ore.NAT, nil, []string{depot}},
		{"on this host, by its name", "http://localhost/debian", ore.NAT, nil, []string{depot}},
		{"with a password", "http://user:secret@mirror.example.org/debian", ore.NAT, nil, []string{depot}},
		{"each for itself, with a password", "http://user:secret@mirror.example.org/debian", ore.NAT, func(m *Maker) { m.direct = true }, nil},
		{"further repositories", mirror, ore.NAT, further, []string{depot, "mirror:" + mirror}},
		{"each for itself, further repositories", mirror, ore.NAT, func(m *Maker) { m.direct = true; further(m) }, nil},
		{"another's depot", mirror, ore.NAT, func(m *Maker) { m.Depot = "http://10.0.0.1:80" }, []string{"proxy:http://10.0.0.1:80/packages"}},
		{"each for itself", mirror, ore.NAT, func(m *Maker) { m.direct = true }, []string{"mirror:" + mirror}},
		{"each for itself, isolated", mirror, ore.Isolated, func(m *Maker) { m.direct = true }, nil},
		{"each for itself, on this host", "http://[::1]/debian", ore.NAT, func(m *Maker) { m.direct = true }, nil},
	} {
		m := Maker{Site: &site.Site{Config: site.Config{Mirror: c.mirror}}, Job: ore.Job{Network: c.network}}
		m.Job.Wants.Base.Suite = "bookworm"
		if c.change != nil {
			c.change(&m)
		}
		got, err := m.archives()
		if !slices.Equal(got, c.want) || (err != nil) != (c.want == nil) {
			t.Errorf("%s: %q, %v", c.summary, got, err)
		}
		d := &decider{Images: known{}, maker: m}
		if _, locked := d.Lock(t.Context(), ore.Wants{}, nil); (locked != nil) != (err != nil) {
			t.Errorf("%s: it is resolved: %v", c.summary, locked)
		}
	}
}

// Machines on other hosts whose image cannot be had have packages from the mirror, if that
// has all and they reach it; none are sent there in case.
func TestBesideElsewhere(t *testing.T) {
	const mirror = "http://mirror.example.org/debian"
	for _, c := range []struct {
		summary string
		change  func(*Maker, *recipe.Recipe)
		instead bool
	}{
		{"a mirror", nil, true},
		{"isolated", func(m *Maker, _ *recipe.Recipe) { m.Job.Network = ore.Isolated }, false},
		{"on this host", func(m *Maker, _ *recipe.Recipe) { m.Site.Mirror = "http://127.0.0.1/debian" }, false},
		{"further repositories", func(m *Maker, _ *recipe.Recipe) { m.Job.Wants.Repositories = []ore.Repository{{}} }, false},
		{"another's depot", func(m *Maker, _ *recipe.Recipe) { m.Depot = "http://10.0.0.1:80" }, false},
		{"large files", func(_ *Maker, r *recipe.Recipe) { r.Environment.Files = []ore.LockedFile{{Size: maxBeside + 1}} }, false},
	} {
		m := Maker{Site: opened(t, mirror), Elsewhere: true, Job: ore.Job{Network: ore.NAT}}
		m.Job.Wants.Base.Suite = "bookworm"
		r := recipe.Recipe{Blobs: map[ore.Digest]recipe.Source{}}
		if c.change != nil {
			c.change(&m, &r)
		}
		s := &stock{files: map[ore.Digest]string{}}
		if err := m.beside(t.Context(), s, &r); err != nil || s.proxy != nil || s.late != nil {
			t.Errorf("%s: %+v, %v", c.summary, s, err)
		}
		if got := slices.Equal(r.Archive, []string{"mirror:" + mirror}); got != c.instead || !got && len(r.Archive) > 0 {
			t.Errorf("%s: packages are at %q", c.summary, r.Archive)
		}
	}
}

// From the mirror is from packages, to the plan and to machines that go on; and teaches
// it nothing of other ways.
func TestFromMirror(t *testing.T) {
	c := cluster.Config{Images: known{}}
	Maker{From: FromMirror, Job: ore.Job{Machines: ore.Machines{Root: ore.OnDisk}}}.Use(&c)
	if !slices.Equal(c.Ask.Disk, []string{string(recipe.Packages)}) || c.Learn != nil {
		t.Errorf("%+v", c.Ask)
	}
	if k, err := remember("x", c.Memory()); err != nil || k.From != recipe.Packages || !k.Direct {
		t.Errorf("%+v, %v", k, err)
	}
}

// What is for machines whose image vanishes is stocked when one asks for it, and not
// for somebody who asks for anything.
func TestLateStock(t *testing.T) {
	dir := t.TempDir()
	content := []byte("a package")
	served := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(content) }))
	defer served.Close()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, p := ore.DigestOf([]byte("content")), ore.DigestOf(content)
	made := 0
	l := &late{has: map[ore.Digest]bool{d: true}, end: func() {}, make: func() (*stock, error) {
		if made++; made == 1 {
			return nil, errors.New("no mirror answers")
		}
		x, err := proxy.New(proxy.Config{Dir: dir})
		if err != nil {
			return nil, err
		}
		return &stock{files: map[ore.Digest]string{d: file}, proxy: x}, x.Know(fetch.File{URLs: []string{served.URL + "/p"}, Path: filepath.Join(dir, "p"), Size: int64(len(content)), Digest: p})
	}}
	depot := &depot{late: l}
	get := func(do http.HandlerFunc, path string, d ore.Digest) (int, string) {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, path+d.Hex(), nil)
		r.SetPathValue("hex", d.Hex())
		do(w, r)
		return w.Code, w.Body.String()
	}
	if code, _ := get(depot.blob, "/blobs/sha256/", ore.DigestOf(nil)); code != http.StatusNotFound || made != 0 {
		t.Errorf("anything: %d, stocked %d times", code, made)
	}
	if code, text := get(depot.packages, "/sha256/", p); code != http.StatusServiceUnavailable || !strings.Contains(text, "no mirror answers") {
		t.Errorf("it cannot be stocked: %d %s", code, text)
	}
	if code, text := get(depot.packages, "/sha256/", p); code != http.StatusOK || text != string(content) {
		t.Errorf("a package: %d %s", code, text)
	}
	if code, text := get(depot.blob, "/blobs/sha256/", d); code != http.StatusOK || text != "content" || made != 2 {
		t.Errorf("a file: %d %s, stocked %d times", code, text, made)
	}
	if err := l.close(); err != nil {
		t.Error(err)
	}
	if _, err := l.get(); !errors.Is(err, errClosed) {
		t.Errorf("after its end: %v", err)
	}
}

// What is stocked late is told once, however often it fails, and ends with its depot.
func TestLateStockEnds(t *testing.T) {
	asked := make(chan bool, 100)
	hang := atomic.Bool{}
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hang.Load() {
			asked <- true
			<-r.Context().Done()
		}
		http.NotFound(w, r)
	}))
	defer mirror.Close()
	told := 0
	m := Maker{Site: opened(t, mirror.URL), Watch: func(e ore.Event) {
		if e.Stage == "note" {
			told++
		}
	}}
	m.Job.Wants.Base.Suite = "bookworm"
	s := &stock{files: map[ore.Digest]string{}}
	if err := m.beside(t.Context(), s, &recipe.Recipe{Blobs: map[ore.Digest]recipe.Source{}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.late.get(); err == nil {
			t.Fatal("a mirror without anything was enough")
		}
	}
	if told != 1 {
		t.Errorf("told %d times", told)
	}
	hang.Store(true)
	got := make(chan error, 1)
	go func() {
		_, err := s.late.get()
		got <- err
	}()
	select {
	case <-asked:
	case err := <-got:
		t.Fatalf("it did not wait for the mirror: %v", err)
	}
	if err := s.late.close(); err != nil {
		t.Error(err)
	}
	if err := <-got; !errors.Is(err, context.Canceled) {
		t.Errorf("what was being stocked: %v", err)
	}
	if err := s.release(); err != nil {
		t.Error(err)
	}
}

// opened is a site with folders of its own, whose mirror this is.
func opened(t *testing.T, mirror string) *site.Site {
	t.Helper()
	dir := t.TempDir()
	s, err := site.Open(t.Context(), site.Config{Mirror: mirror, Dirs: site.Dirs{
		Cache: filepath.Join(dir, "cache"), Images: filepath.Join(dir, "images"), State: filepath.Join(dir, "state"), Run: filepath.Join(dir, "run"),
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}
