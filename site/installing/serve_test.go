package installing

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"ore"
)

// A layer crosses a link once for all who ask, or once for each; all get all of it.
func TestLink(t *testing.T) {
	content := strings.Repeat("0123456789", 10_000)
	file := filepath.Join(t.TempDir(), "layer")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	layer := ore.DigestOf([]byte(content))
	d := &depot{files: map[ore.Digest]string{layer: file}}
	for _, c := range []struct {
		link *Link
		want int64
	}{
		{&Link{}, 4 * int64(len(content))},
		{&Link{Once: true}, int64(len(content))},
		{&Link{Once: true, Rate: 100e6}, int64(len(content))},
	} {
		server := httptest.NewServer(d.behind(c.link))
		var asking sync.WaitGroup
		for range 4 {
			asking.Go(func() {
				r, err := http.Get(server.URL + "/blobs/sha256/" + layer.Hex())
				if err != nil {
					t.Error(err)
					return
				}
				defer r.Body.Close()
				if b, err := io.ReadAll(r.Body); err != nil || string(b) != content {
					t.Errorf("%d bytes, %v", len(b), err)
				}
			})
		}
		asking.Wait()
		server.Close()
		if got := c.link.Crossed(); got != c.want {
			t.Errorf("%+v: %d bytes crossed, not %d", c.link, got, c.want)
		}
	}
}

// What crosses takes its time, in turn; who goes away does not wait for it.
func TestLinkIsKeptToItsRate(t *testing.T) {
	l := &Link{Rate: 8e3} // a thousand bytes a second
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if err := l.cross(ctx, 1_000_000); !errors.Is(err, gone) {
			t.Errorf("it crossed: %v", err)
		}
	})
	cancel(gone)
	waiting.Wait()
	if l.Crossed() != 1_000_000 || l.free.IsZero() {
		t.Error("it was not counted")
	}
	free := l.free
	if err := l.cross(ctx, 500); err == nil {
		t.Error("the second did not wait for the first")
	}
	if took := l.free.Sub(free).Milliseconds(); took != 500 {
		t.Errorf("500 bytes take %d ms", took)
	}
}
