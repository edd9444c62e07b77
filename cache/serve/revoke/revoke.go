// Package revoke keeps which clients of a cache are no more believed by their
// certificates, and since when.
package revoke

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"ore/cache/serve/whole"
)

// List is the file that says from when on which clients' certificates are
// worth nothing. Changing it needs no running server; one that runs takes the
// change up with the next request.
type List struct {
	path string

	mu    sync.Mutex
	seen  os.FileInfo          // guarded by mu; of the file that is known
	known map[string]time.Time // guarded by mu; by the client's name
}

// Open returns the list of the cache folder dir.
func Open(dir string) *List {
	return &List{path: filepath.Join(dir, "serve", "revoked.json")}
}

// Add ends all certificates for the client called name that were issued before
// at. Later ones of the same name are good.
func (r *List) Add(name string, at time.Time) error {
	all, err := r.read()
	if err != nil {
		return err
	}
	all[name] = at.UTC()
	b, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		return fmt.Errorf("revoke %s: %w", name, err)
	}
	if err := os.MkdirAll(filepath.Dir(r.path), 0o700); err != nil {
		return fmt.Errorf("revoke %s: %w", name, err)
	}
	return whole.Write(r.path, append(b, '\n'), 0o600)
}

func (r *List) read() (map[string]time.Time, error) {
	all := map[string]time.Time{}
	b, err := os.ReadFile(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read revoked certificates: %w", err)
	}
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("read revoked certificates %s: %w: mend the file, or revoke them again without it", r.path, err)
	}
	return all, nil
}

// Has says whether a certificate for name, issued then, was revoked. A file that cannot be read is an
// error, and no reason to believe anybody.
func (r *List) Has(name string, issued time.Time) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	info, err := os.Stat(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if r.seen == nil || !os.SameFile(info, r.seen) || info.ModTime() != r.seen.ModTime() {
		if r.known, err = r.read(); err != nil {
			return false, err
		}
		r.seen = info
	}
	at, named := r.known[name]
	return named && issued.Before(at), nil
}
