package inside

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadyIsTold tells a home that hears, and forgets the secret then.
func TestReadyIsTold(t *testing.T) {
	var heard string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		heard = r.Method + " " + r.URL.Path + " " + string(b)
	}))
	defer s.Close()
	file := filepath.Join(t.TempDir(), "ready.json")
	if err := os.WriteFile(file, fmt.Appendf(nil, `{"home":%q}`, s.URL+"/report/SECRET"), 0o400); err != nil {
		t.Fatal(err)
	}
	if err := tellReady(file); err != nil {
		t.Fatal(err)
	}
	if want := `POST /report/SECRET {"n":1099511627776,"stage":"ready","event":"end"}` + "\n"; heard != want {
		t.Errorf("heard %q, want %q", heard, want)
	}
	if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the secret is still there")
	}
	if err := tellReady(file); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("once more: %v", err)
	}
}

// TestReadyIsUnwanted gives up where trying again is of no use, and only there.
func TestReadyIsUnwanted(t *testing.T) {
	code := http.StatusForbidden
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(code) }))
	defer s.Close()
	if err := postReady(s.URL + "/report/x"); !errors.Is(err, errUnwanted) {
		t.Errorf("forbidden: %v", err)
	}
	code = http.StatusServiceUnavailable
	if err := postReady(s.URL + "/report/x"); err == nil || errors.Is(err, errUnwanted) {
		t.Errorf("unavailable: %v", err)
	}
	for _, home := range []string{"", "http://", "https://127.0.0.1:1/x", "http://name.example.org:80/x", "http://127.0.0.1:80", "http://127.0.0.1:80/x y", "http://127.0.0.1:80/x\r\nHost: y"} {
		if err := postReady(home); !errors.Is(err, errUnwanted) || !strings.Contains(err.Error(), "no address") {
			t.Errorf("%q: %v", home, err)
		}
	}
}
