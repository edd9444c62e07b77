package main

import (
	"crypto/sha1"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A torrent describes all pieces, the last one shorter, in the order of keys that
// the format wants.
func TestTorrent(t *testing.T) {
	dir := t.TempDir()
	blob := make([]byte, pieceLength+5)
	blob[0], blob[pieceLength] = 1, 2
	b := &bench{file: filepath.Join(dir, "blob"), size: int64(len(blob))}
	if err := os.WriteFile(b.file, blob, 0o600); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "torrent")
	if err := b.writeTorrent(name); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	first, second := sha1.Sum(blob[:pieceLength]), sha1.Sum(blob[pieceLength:])
	want := fmt.Sprintf("d8:announce30:http://10.77.0.1:7404/announce4:infod6:lengthi262149e4:name4:blob12:piece lengthi262144e6:pieces40:%s%see", first[:], second[:])
	if string(got) != want {
		t.Errorf("the torrent is %q, not %q", got, want)
	}
}

// A tracker tells each member of all that asked before, and of each once.
func TestTracker(t *testing.T) {
	tr := &tracker{seen: map[string]bool{}}
	ask := func(from, port string) string {
		r := httptest.NewRequest(http.MethodGet, "/announce?port="+port, nil)
		r.RemoteAddr = from + ":50000"
		w := httptest.NewRecorder()
		tr.ServeHTTP(w, r)
		return w.Body.String()
	}
	ask("10.0.0.1", "258")
	ask("10.0.0.1", "258")
	if got, want := ask("10.0.0.2", "3"), "d8:intervali1e5:peers12:\x0a\x00\x00\x01\x01\x02\x0a\x00\x00\x02\x00\x03e"; got != want {
		t.Errorf("the second member is told %q, not %q", got, want)
	}
	if got := ask("10.0.0.3", "none"); got[0] == 'd' {
		t.Errorf("one without a port is answered %q", got)
	}
}

// An arm may take longer than a star, and not for ever.
func TestDeadline(t *testing.T) {
	b := &bench{size: 100e6, goods: 10e6}
	if got, star := b.deadline(16), 160*time.Second; got <= star || got > 3*star {
		t.Errorf("a star takes %v, an arm may take %v", star, got)
	}
}
