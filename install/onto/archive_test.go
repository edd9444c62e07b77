package onto

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ore"
	"ore/deb/fetch"
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
