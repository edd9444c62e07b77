package proxy_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"ore"
	"ore/deb/fetch"
	"ore/deb/proxy"
)

// silent is a net in which nobody answers.
type silent struct{}

// RoundTrip implements http.RoundTripper.
func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// Who says how long it waits is told to come again then, but not for ever where nothing
// comes: it is to see that the proxy is stuck. Who says nothing is not told.
func TestComeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		p, err := proxy.New(proxy.Config{Dir: dir, Client: &fetch.Client{HTTP: &http.Client{Transport: silent{}}, Stall: time.Hour}})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		d := ore.DigestOf([]byte("a package"))
		if err := p.Know(fetch.File{Path: filepath.Join(dir, "f"), Size: 9, Digest: d, URLs: []string{"http://mirror.example.org/f"}}); err != nil {
			t.Fatal(err)
		}
		ask := func(prefer string) (answered bool) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/sha256/"+d.Hex(), nil)
			r.Header.Set("Prefer", prefer)
			w := httptest.NewRecorder()
			p.ServeHTTP(w, r)
			if w.Body.Len() > 0 && (w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "") {
				t.Errorf("it answers %d, %v", w.Code, w.Header())
			}
			return w.Body.Len() > 0
		}
		if ask("") {
			t.Error("who says nothing is answered")
		}
		if !ask("wait=15") {
			t.Error("who waits for 15 s is not answered")
		}
		time.Sleep(5 * time.Minute)
		if ask("wait=15") {
			t.Error("it is told to come again where nothing comes")
		}
	})
}
