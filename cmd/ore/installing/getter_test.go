package installing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ore"
	"ore/install/machine"
	"ore/install/pour/blob"
	"ore/install/recipe"
	"ore/netboot"
	"ore/netboot/relay"
)

type inMemory struct{ *bytes.Reader }

func (inMemory) Close() error { return nil }

// Two machines get a blob from a server that machines boot from, by what their identities
// say: the second has it from the first, and both tell where it came from. A machine that
// cannot pass it on has it from the server, and says why.
func TestGetterPassesOn(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789abcdef"), 40_000)
	d := ore.DigestOf(content)
	var asked atomic.Int64
	open := func(context.Context, ore.Digest) (io.ReadSeekCloser, error) {
		return inMemory{bytes.NewReader(content)}, nil
	}
	mux := http.NewServeMux()
	mux.Handle(relay.Pattern, &relay.Book{Open: open, Installs: func(token string) (string, bool) { return token, true }, Tell: func(string, string) {}})
	mux.HandleFunc("GET /blob/{digest}", func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	for _, c := range []struct {
		name  string
		blobs string // where the server gives blobs, as the identity has it
		asks  bool   // the server for the blob
		told  string
	}{
		{"m1", server.URL + "/blob/", true, "640.0 kB came from the server, and 0 B from other machines, which got 0 B"},
		{"m2", server.URL + "/blob/", false, "0 B came from the server, and 640.0 kB from other machines, which got 0 B"},
		{"m3", "http://[bad", true, "pass on to other machines: "},
	} {
		text, err := json.Marshal(netboot.Identity{Home: "http://home", Blobs: c.blobs, Chain: server.URL + "/chain/" + c.name + "/"})
		if err != nil {
			t.Fatal(err)
		}
		at := filepath.Join(t.TempDir(), "identity")
		if err := os.WriteFile(at, text, 0o600); err != nil {
			t.Fatal(err)
		}
		_, who, _ := installer{identity: at}.recipe() // it has none
		g := &getter{client: blob.Client{Pause: basePause}}
		g.begin(t.Context(), relay.Config{Chain: who.Chain, Blobs: who.Blobs})
		defer g.close()
		asked.Store(0)
		s := g.client.Open(t.Context(), blob.Blob{Digest: d, Size: int64(len(content)), From: []string{server.URL + "/blob/" + string(d)}}, 0, int64(len(content)))
		got, err := io.ReadAll(s)
		if err != nil || !bytes.Equal(got, content) || asked.Load() > 0 != c.asks {
			t.Errorf("%s: %d bytes of %d, %v; the server was asked %d times", c.name, len(got), len(content), err, asked.Load())
		}
		var told []ore.Event
		g.tell(func(e ore.Event) { told = append(told, e) })
		if len(told) != 1 || !strings.Contains(told[0].Text, c.told) || told[0].Stage != recipe.Root {
			t.Errorf("%s: told %+v", c.name, told)
		}
	}
	if _, who, err := (installer{identity: "/none"}).recipe(); err == nil || who.Chain != "" {
		t.Errorf("no identity: %+v, %v", who, err)
	}
	silent := &getter{}
	silent.tell(func(e ore.Event) { t.Errorf("a machine that did not boot from the network tells %+v", e) })
	silent.close()
}

// Where an image from which a machine is made comes from, and why nothing is passed on, is
// told also where something is still to be installed over it.
func TestGetterTellsOfWhatIsNotFinished(t *testing.T) {
	g := &getter{alone: errors.New("no relay")}
	var told []string
	w := ore.Watcher(func(e ore.Event) { told = append(told, e.Text) })
	if err := g.base(t.Context(), machine.Tree{Target: t.TempDir(), Recipe: recipe.Recipe{}, Watch: w}); err != nil || !slices.Contains(told, "no relay") {
		t.Errorf("told %q, %v", told, err)
	}
}
