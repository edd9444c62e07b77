package fetch

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What a server says that had the file from another one is said in its place, in one
// line; anybody else's text is not.
func TestProblem(t *testing.T) {
	for _, c := range []struct {
		summary string
		answer  http.HandlerFunc
		want    string // "ADDRESS" is the server's
	}{
		{"a proxy", func(w http.ResponseWriter, _ *http.Request) {
			Refuse(w, http.StatusBadGateway, errors.New("fetch http://mirror.example.org/a.deb: it is gone\n\x1b[31m"))
		}, "fetch http://mirror.example.org/a.deb: it is gone  [31m (says ADDRESS)"},
		{"a page", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "anything", http.StatusForbidden) },
			"fetch ADDRESS: the server answers 403 Forbidden: use a mirror or a proxy that serves you"},
		{"no JSON", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", Problem)
			w.WriteHeader(http.StatusForbidden)
			w.Write([]byte("<html>"))
		}, "fetch ADDRESS: the server answers 403 Forbidden: use a mirror or a proxy that serves you"},
		{"a long one", func(w http.ResponseWriter, _ *http.Request) {
			Refuse(w, http.StatusForbidden, errors.New(strings.Repeat("x", 2*maxDetail)))
		}, strings.Repeat("x", maxDetail) + " (says ADDRESS)"},
	} {
		w := httptest.NewRecorder()
		c.answer(w, httptest.NewRequest(http.MethodGet, "/", nil))
		const address = "http://127.0.0.1:1/a"
		if got, want := status(address, w.Result()).Error(), strings.ReplaceAll(c.want, "ADDRESS", address); got != want {
			t.Errorf("%s: %q, want %q", c.summary, got, want)
		}
	}
}
