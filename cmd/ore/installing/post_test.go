package installing

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"ore/install/recipe"
)

// home hears reports, as a server of package netboot does: some are heard twice.
type home struct {
	mu     sync.Mutex // guards all
	heard  []recipe.Report
	refuse int // requests that are answered with an error first
}

func (h *home) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	in := json.NewDecoder(r.Body)
	for {
		var p recipe.Report
		if in.Decode(&p) != nil {
			break
		}
		if n := len(h.heard); n == 0 || p.Number > h.heard[n-1].Number {
			h.heard = append(h.heard, p)
		}
	}
	if h.refuse > 0 {
		h.refuse--
		http.Error(w, "busy", http.StatusServiceUnavailable)
	}
}

// Reports reach home in their order, also when it does not hear at first.
func TestReportsReachHome(t *testing.T) {
	h := &home{refuse: 2}
	s := httptest.NewServer(h)
	defer s.Close()
	p := newPoster(s.URL + "/report/x")
	p.client.Transport = s.Client().Transport
	for n := int64(1); n <= 100; n++ {
		p.add(recipe.Report{Number: n, Stage: recipe.Root, Event: recipe.Advance})
	}
	if err := p.end(); err != nil {
		t.Fatal(err)
	}
	if len(h.heard) != 100 || h.heard[99].Number != 100 {
		t.Errorf("%d heard", len(h.heard))
	}
}

// A recipe that cannot be read is a failure that is reported like any other.
func TestInstallerReportsABadRecipe(t *testing.T) {
	var out bytes.Buffer
	c := Installer(strings.NewReader(`{"Version": 99}`), &out)
	c.SetArgs([]string{"--inside", "--target", t.TempDir()})
	c.SilenceErrors, c.SilenceUsage = true, true
	err := c.ExecuteContext(t.Context())
	var r recipe.Report
	if e := json.Unmarshal(out.Bytes(), &r); e != nil || !r.Valid() || r.Event != recipe.Fail || err == nil || r.Text != err.Error() || !strings.Contains(r.Text, "version 99") {
		t.Errorf("%v %v %s", e, err, &out)
	}
}

// What a network boot left says where home is.
func TestInstallerReadsAnIdentity(t *testing.T) {
	h := &home{}
	s := httptest.NewServer(h)
	defer s.Close()
	b, err := json.Marshal(map[string]any{"home": s.URL, "recipe": []byte(`{"Version": 99}`)})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "netboot.json")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	c := Installer(nil, &bytes.Buffer{})
	c.SetArgs([]string{"--inside", "--identity", file})
	c.SilenceErrors, c.SilenceUsage = true, true
	if err := c.ExecuteContext(t.Context()); err == nil || len(h.heard) != 1 || !strings.Contains(h.heard[0].Text, "version 99") {
		t.Errorf("%v %+v", err, h.heard)
	}
	http.DefaultClient.CloseIdleConnections()
}
