// Package mirror serves a Debian archive to benchmarks from a folder, so that the
// network decides nothing that is timed.
package mirror

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Suite is the release that everything is made of.
const Suite = "bookworm"

// Mirror serves a Debian archive from a folder. What the folder does not have yet it fetches once, with apt's own downloader and
// so by the host's configuration; signatures and hashes are for those who read
// from it to check.
type Mirror struct {
	URL string // where it is

	from   string // the archive that is mirrored, ending in a slash
	pool   string
	server *http.Server
	ended  chan error

	misses atomic.Int64
	mu     sync.Mutex // guards absent, and lets one file be fetched at a time
	absent map[string]bool
}

// Start serves the folder pool to whom l accepts; Close ends that. Indexes that an
// earlier run left are fetched anew: they may have become older than the packages.
func Start(ctx context.Context, pool string, l net.Listener) (*Mirror, error) {
	from, err := archiveOfHost(ctx)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(os.RemoveAll(filepath.Join(pool, "dists")), os.MkdirAll(pool, 0o755)); err != nil {
		return nil, err
	}
	m := &Mirror{from: from, pool: pool, URL: "http://" + l.Addr().String(), ended: make(chan error, 1), absent: map[string]bool{}}
	m.server = &http.Server{Handler: m, ReadHeaderTimeout: time.Minute}
	go func() { m.ended <- m.server.Serve(l) }()
	return m, nil
}

// archiveOfHost asks apt where the host has the suite from.
func archiveOfHost(ctx context.Context) (string, error) {
	if m := os.Getenv("ORE_MIRROR"); m != "" {
		return strings.TrimRight(m, "/") + "/", nil
	}
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages").Output()
	if err != nil {
		return "", fmt.Errorf("ask apt for its mirror: %w", err)
	}
	for line := range strings.Lines(string(out)) {
		if w := strings.Fields(line); len(w) == 3 && w[0] == Suite && w[1] == "main" {
			return strings.TrimRight(w[2], "/") + "/", nil
		}
	}
	return "", fmt.Errorf("the host's apt configuration has no suite %s: set ORE_MIRROR", Suite)
}

// Close ends the server.
func (m *Mirror) Close() error {
	err := m.server.Close()
	if e := <-m.ended; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// Fetched is how many files have been asked of the host's mirror.
func (m *Mirror) Fetched() int64 { return m.misses.Load() }

// ServeHTTP serves a file of the pool.
func (m *Mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, "/")
	if !filepath.IsLocal(name) {
		http.NotFound(w, r)
		return
	}
	file := filepath.Join(m.pool, name)
	if err := m.have(r.Context(), name, file); errors.Is(err, os.ErrNotExist) {
		http.NotFound(w, r)
		return
	} else if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	http.ServeFile(w, r, file)
}

// have makes sure that the pool has the file.
func (m *Mirror) have(ctx context.Context, name, file string) error {
	if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	if m.absent[name] {
		return os.ErrNotExist
	}
	m.misses.Add(1)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	part := file + ".part"
	out, err := exec.CommandContext(ctx, "/usr/lib/apt/apt-helper", "-o", "APT::Sandbox::User=root", "download-file", m.from+name, part).CombinedOutput()
	if err == nil {
		return os.Rename(part, file)
	}
	if bytes.Contains(out, []byte("404")) {
		m.absent[name] = true
		return os.ErrNotExist
	}
	return fmt.Errorf("fetch %s: %w: %s", name, err, bytes.TrimSpace(out))
}
