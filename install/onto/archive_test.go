package onto

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"ore"
	"ore/deb/debtest"
	"ore/deb/fetch"
	"ore/deb/proxy"
)

func TestAddresses(t *testing.T) {
	d := ore.DigestOf([]byte("content"))
	ours := ore.Package{Name: "a", Path: "pool/main/a/a_1+b%7e_amd64.deb", Digest: d}
	further := ours
	further.Archive = "http://example.org/other"
	for _, c := range []struct {
		place string
		p     ore.Package
		want  string
	}{
		{"proxy:http://127.0.0.1:1/x/", ours, "http://127.0.0.1:1/x/sha256/" + d.Hex()},
		{"proxy:http://127.0.0.1:1", further, "http://127.0.0.1:1/sha256/" + d.Hex()},
		{"mirror:http://mirror.example.org/debian", ours, "http://mirror.example.org/debian/pool/main/a/a_1+b%257e_amd64.deb"},
		{"mirror:http://mirror.example.org/debian", further, ""},
		{"nothing", ours, ""},
	} {
		if got := addressOf(c.place, c.p); got != c.want {
			t.Errorf("%s of %q: %s, want %s", c.place, c.p.Archive, got, c.want)
		}
	}
}

// A package comes from the next archive if one has it not or is down, and is
// told where none has it.
func TestNextArchive(t *testing.T) {
	content := []byte("a package")
	p := ore.Package{Name: "a", Version: "1", Arch: "all", Path: "pool/a.deb", Digest: ore.DigestOf(content), Size: int64(len(content))}
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/debian/pool/a.deb" {
			http.NotFound(w, r)
			return
		}
		w.Write(content)
	}))
	defer mirror.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	var told int64
	a := &archive{
		dir: t.TempDir(), from: []string{"proxy:" + gone.URL, "proxy:" + mirror.URL, "mirror:" + mirror.URL + "/debian"},
		client: &fetch.Client{Tries: 4, Pause: time.Millisecond}, watch: func(e ore.Event) { told = e.Done },
	}
	for range 2 {
		name, err := a.Fetch(t.Context(), p)
		if b, err2 := os.ReadFile(name); err != nil || err2 != nil || string(b) != string(content) {
			t.Fatalf("it has %q, %v", b, err)
		}
	}
	if told == 0 {
		t.Error("nothing is told")
	}
	a.from = a.from[2:]
	p.Archive = "http://example.org/other"
	if _, err := a.Fetch(t.Context(), p); err == nil || !strings.Contains(err.Error(), "none of the archives") {
		t.Errorf("a package of another archive: %v", err)
	}
}

// A proxy that dies amidst a package costs what it was about to send: the mirror goes on
// from there, the next packages do not ask the proxy first, and it is said once.
func TestProxyDies(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	var asked, ranges atomic.Int32
	serve := func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Range"), "bytes=1") { // as far as the proxy came
			ranges.Add(1)
		}
		serve(w, r)
	}))
	defer mirror.Close()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) > 1 {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		w.Write(content[:150_000])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer proxy.Close()
	var said []string
	a := &archive{
		dir: t.TempDir(), from: []string{"proxy:" + proxy.URL, "mirror:" + mirror.URL},
		client: &fetch.Client{Pause: time.Millisecond},
		watch: func(e ore.Event) {
			if strings.Contains(e.Text, "elsewhere") {
				said = append(said, e.Text)
			}
		},
	}
	for i := range 3 {
		p := ore.Package{Name: fmt.Sprint("p", i), Path: "pool/a.deb", Digest: ore.DigestOf(content), Size: int64(len(content))}
		name, err := a.Fetch(t.Context(), p)
		if b, err2 := os.ReadFile(name); err != nil || err2 != nil || !bytes.Equal(b, content) {
			t.Fatalf("it has %d bytes, %v, %v", len(b), err, err2)
		}
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if asked.Load() != 1 || ranges.Load() != 1 || len(said) != 1 || !strings.Contains(said[0], proxy.URL) {
		t.Errorf("the proxy was asked %d times, the mirror for the rest %d times; said %q", asked.Load(), ranges.Load(), said)
	}
}

// A proxy's hiccup costs the package that it meets: the next ones ask the proxy again.
func TestHiccup(t *testing.T) {
	content := []byte("a package")
	var proxied, direct atomic.Int32
	mirror := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		direct.Add(1)
		w.Write(content)
	}))
	defer mirror.Close()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if proxied.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Write(content)
	}))
	defer proxy.Close()
	a := &archive{
		dir: t.TempDir(), from: []string{"proxy:" + proxy.URL, "mirror:" + mirror.URL},
		client: &fetch.Client{Pause: time.Millisecond},
	}
	p := ore.Package{Name: "a", Path: "pool/a.deb", Digest: ore.DigestOf(content), Size: int64(len(content))}
	for range 10 {
		name, err := a.Fetch(t.Context(), p)
		if err == nil {
			err = os.Remove(name)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if proxied.Load() != 10 || direct.Load() != 1 {
		t.Errorf("of 10 packages the proxy was asked for %d, the mirror for %d", proxied.Load(), direct.Load())
	}
}

// A place is tried last once it has failed some times in a row or is gone, for a while,
// which grows, and until a package comes from there.
func TestPutAside(t *testing.T) {
	trouble := &fetch.StatusError{Code: http.StatusBadGateway}
	refused := &fetch.TransferError{Err: unix.ECONNREFUSED}
	synctest.Test(t, func(t *testing.T) {
		told := 0
		a := &archive{from: []string{"p", "m"}, watch: func(ore.Event) { told++ }}
		aside := func(summary string, want bool) {
			t.Helper()
			if list, _ := a.places(); slices.Equal(list, []string{"m", "p"}) != want {
				t.Errorf("%s: the places are %v", summary, list)
			}
		}
		_, seen := a.places()
		for range row + 1 {
			a.ill("p", seen["p"], trouble)
		}
		aside("packages under way together meet one hiccup", false)
		for range row - 1 {
			_, seen = a.places()
			a.ill("p", seen["p"], trouble)
		}
		aside("failures in a row", true)
		time.Sleep(firstAside)
		aside("a while later", false)
		a.ill("p", 0, trouble)
		time.Sleep(firstAside)
		aside("and failed again, for longer", true)
		a.well("p")
		aside("a package came", false)
		a.ill("p", 0, trouble)
		aside("one failure after that", false)
		a.well("p")
		a.ill("p", 0, refused)
		aside("refused", true)
		if told != 2 {
			t.Errorf("it is told %d times, want it once each time that the place had been well", told)
		}
	})
}

// Twelve machines whose proxy has a slow uplink wait for each other's packages longer
// than a silent server would be waited for: none of them gets any elsewhere.
func TestSlowProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const machines, each, size = 12, 3, 160 << 10
		list := map[string][]byte{}
		var packages []ore.Package
		for i := range machines * each {
			b := bytes.Repeat([]byte{byte(i)}, size)
			p := ore.Package{Name: fmt.Sprint("p", i), Path: fmt.Sprintf("pool/%d.deb", i), Digest: ore.DigestOf(b), Size: size}
			list["/"+p.Path], packages = b, append(packages, p)
		}
		var crossed, direct atomic.Int32
		uplink := debtest.InMemory(t, map[string]http.Handler{"mirror": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			crossed.Add(1)
			w.Header().Set("Content-Length", fmt.Sprint(size))
			for part := range slices.Chunk(list[r.URL.Path], 16<<10) {
				time.Sleep(10 * time.Second)
				w.Write(part)
				_ = http.NewResponseController(w).Flush()
			}
		})})
		dir := t.TempDir()
		site, err := proxy.New(proxy.Config{Dir: filepath.Join(dir, "proxy"), Client: &fetch.Client{HTTP: uplink}})
		if err != nil {
			t.Fatal(err)
		}
		defer site.Close()
		for _, p := range packages {
			if err := site.Know(fetch.File{Path: filepath.Join(dir, p.Name), Size: p.Size, Digest: p.Digest, URLs: []string{"http://mirror/" + p.Path}}); err != nil {
				t.Fatal(err)
			}
		}
		client := &fetch.Client{HTTP: debtest.InMemory(t, map[string]http.Handler{
			"proxy": site,
			"mirror": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				direct.Add(1)
				w.Write(list[r.URL.Path])
			}),
		})}
		var g errgroup.Group
		for mine := range slices.Chunk(packages, each) {
			a := &archive{dir: t.TempDir(), from: []string{"proxy:http://proxy", "mirror:http://mirror"}, client: client}
			for _, p := range mine {
				g.Go(func() error {
					_, err := a.Fetch(t.Context(), p)
					return err
				})
			}
		}
		if err := g.Wait(); err != nil || direct.Load() != 0 || crossed.Load() != machines*each {
			t.Errorf("%d packages came past the proxy, which asked for %d of %d; %v", direct.Load(), crossed.Load(), machines*each, err)
		}
	})
}
