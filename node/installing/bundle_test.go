package installing

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"ore"
	"ore/image"
)

// A host gives its machines the blobs of their order and the files of its bundle,
// in ranges too, and nothing else that its store has.
func TestGive(t *testing.T) {
	store, err := image.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	put := func(s string) ore.Digest {
		t.Helper()
		d, err := store.PutBytes(t.Context(), []byte(s))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	one, two := ore.DigestOf([]byte("one")), ore.DigestOf([]byte("second"))
	o := &Order{Blobs: []ore.Digest{put("a layer")}, Program: put("program"), Bundle: &Bundle{
		Blob: put("onesecond"), Files: map[ore.Digest]Span{one: {0, 3}, two: {3, 6}},
	}}
	if all := o.Needs(); !slices.Contains(all, o.Program) || !slices.Contains(all, o.Bundle.Blob) || !slices.Contains(all, o.Blobs[0]) {
		t.Errorf("needs %v", all)
	}
	late := filepath.Join(t.TempDir(), "late")
	if err := os.WriteFile(late, []byte("still coming"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := ore.DigestOf([]byte("still coming"))
	coming := map[ore.Digest]string{d: late}
	o.Blobs = append(o.Blobs, d)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := Give(l, store, coming, o)
	for _, c := range []struct {
		path, span string
		code       int
		want       string
	}{
		{"/blobs/sha256/" + o.Blobs[0].Hex(), "", http.StatusOK, "a layer"},
		{"/blobs/sha256/" + d.Hex(), "bytes=6-", http.StatusPartialContent, "coming"},
		{"/packages/sha256/" + one.Hex(), "", http.StatusOK, "one"},
		{"/packages/sha256/" + two.Hex(), "bytes=3-", http.StatusPartialContent, "ond"},
		{"/blobs/sha256/" + put("another's").Hex(), "", http.StatusNotFound, "404 page not found\n"},
		{"/blobs/sha256/x", "", http.StatusNotFound, "404 page not found\n"},
	} {
		q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://%s%s", l.Addr(), c.path), nil)
		if err != nil {
			t.Fatal(err)
		}
		if c.span != "" {
			q.Header.Set("Range", c.span)
		}
		r, err := http.DefaultTransport.RoundTrip(q)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r.Body)
		r.Body.Close()
		if err != nil || r.StatusCode != c.code || string(b) != c.want {
			t.Errorf("%s %s: %d %q, %v", c.path, c.span, r.StatusCode, b, err)
		}
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("it serves after its end")
	}
}

// What machines are given as devices they may read while it comes: as many as there is
// room for beside what they boot from, and no packages.
func TestPoured(t *testing.T) {
	all := []ore.Digest{"a", "b", "c", "d", "e"}
	for _, c := range []struct{ layers, want int }{{1, 4}, {2, 3}, {5, 0}, {9, 0}, {0, 5}} {
		o := &Order{Blobs: all, Program: "p", Bundle: &Bundle{Blob: "q"}}
		o.Image.Layers = make([]image.Layer, c.layers)
		if got := o.Poured(); !slices.Equal(got, all[:c.want]) {
			t.Errorf("beside %d layers: %v, want %d", c.layers, got, c.want)
		}
	}
	o := &Order{Blobs: all}
	o.Image.Layers = []image.Layer{{Digest: "b"}}
	if got := o.Poured(); !slices.Equal(got, []ore.Digest{"a", "c", "d"}) {
		t.Errorf("of what is booted from, too: %v", got)
	}
}

// Each host is told of its own machines only.
func TestOrderOfSome(t *testing.T) {
	o := &Order{Machines: map[string]Machine{"m0": {}, "m1": {Recipe: []byte("1")}}}
	if few := o.Of([]string{"m1", "m7"}); len(few.Machines) != 1 || string(few.Machines["m1"].Recipe) != "1" || len(o.Machines) != 2 {
		t.Errorf("%v of %v", few.Machines, o.Machines)
	}
}
