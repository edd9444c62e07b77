package deb

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"ore"
	"ore/deb/fetch"
)

// Fetch returns the path of p's .deb, verified, fetching it where it is not
// kept already.
func (a *Archive) Fetch(ctx context.Context, p ore.Package) (string, error) {
	f, err := a.file(p)
	if err != nil {
		return "", err
	}
	if err := a.client.File(ctx, f, nil); err != nil {
		return "", fetchError(p, err)
	}
	return f.Path, nil
}

// FetchAll fetches what is not kept already, several at a time, and tells w in
// bytes under the stage "fetch".
func (a *Archive) FetchAll(ctx context.Context, packages []ore.Package, w ore.Watcher) error {
	var files []fetch.File
	names := make(map[string]ore.Package)
	var total int64
	for _, p := range packages {
		if a.kept(p) {
			continue
		}
		f, err := a.file(p)
		if err != nil {
			return err
		}
		if _, twice := names[f.Path]; twice {
			continue
		}
		files, names[f.Path] = append(files, f), p
		total += p.Size
	}
	meter := &meter{watch: w, total: total}
	err := a.client.All(ctx, files, meter.add)
	if err != nil {
		return fmt.Errorf("fetch packages: %w", err)
	}
	w.Tell(ore.Event{Stage: "fetch", Text: fmt.Sprintf("%d of %d packages were kept already", len(packages)-len(files), len(packages)),
		Done: total, Total: total, Final: true})
	return nil
}

// meterStep is how many bytes must come before the watcher hears of it again.
const meterStep = 256 << 10

// meter adds up the bytes of several transfers.
type meter struct {
	watch ore.Watcher
	total int64

	mu         sync.Mutex // guards done and told
	done, told int64
}

func (m *meter) add(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.done += n
	if m.done-m.told < meterStep {
		return
	}
	m.told = m.done
	m.watch.Tell(ore.Event{Stage: "fetch", Done: m.done, Total: m.total})
}

// fetchError says which package it was, and what to do when it is gone.
func fetchError(p ore.Package, err error) error {
	if fetch.NotFound(err) {
		return fmt.Errorf("package %s: %w: the mirror has it no more: make a new lock, or use a mirror that still has it", p, err)
	}
	return fmt.Errorf("package %s: %w", p, err)
}

// path returns where the package with the digest is kept.
func (a *Archive) path(d ore.Digest) string {
	return filepath.Join(a.config.Dir, "debs", d.Hex()+".deb")
}

// kept reports whether p's .deb is here.
func (a *Archive) kept(p ore.Package) bool {
	if p.Digest.Hex() == "" {
		return false
	}
	info, err := os.Stat(a.path(p.Digest))
	return err == nil && info.Size() == p.Size
}

// file says where p may be fetched and where it goes. The lock that p is from
// may have been written by anybody.
func (a *Archive) file(p ore.Package) (fetch.File, error) {
	if p.Digest.Hex() == "" || p.Size <= 0 || !fs.ValidPath(p.Path) {
		return fetch.File{}, fmt.Errorf("package %s: its digest, size or path is not valid: make a new lock", p)
	}
	f := fetch.File{Path: a.path(p.Digest), Size: p.Size, Digest: p.Digest}
	for _, uri := range a.origin(p) {
		f.URLs = append(f.URLs, uri+"/"+escapePath(p.Path))
	}
	return f, nil
}

// escapePath writes the characters of a path that an address may not have. The
// rest, such as the plus sign, stays, as apt's mirrors are used to it.
func escapePath(path string) string {
	return strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23", " ", "%20").Replace(path)
}

// origin returns the archives that may have p, the likeliest first: the one
// whose index has it, then, for a package of the base's mirror, the others of
// the base.
func (a *Archive) origin(p ore.Package) []string {
	if p.Archive != "" {
		return []string{p.Archive}
	}
	var uris []string
	for _, indexed := range []bool{true, false} {
		for _, s := range a.sources {
			if !s.further && (!indexed || s.has(p)) && !slices.Contains(uris, s.uri) {
				uris = append(uris, s.uri)
			}
		}
	}
	return uris
}

// has reports whether an index of s has exactly p.
func (s opened) has(p ore.Package) bool {
	for _, x := range s.indexes {
		n, ok := x.Lookup(p.Name)
		if !ok {
			continue
		}
		for i := range n.Packages {
			if q := x.Package(n.First + i); q.Digest == p.Digest && q.Version == p.Version {
				return true
			}
		}
	}
	return false
}

// Check says which packages of a locked environment can be had no more: they
// are neither kept here nor in the indexes. The error is a *GoneError.
func (a *Archive) Check(env ore.Environment) error {
	gone := &GoneError{}
	for _, p := range env.Packages {
		known := slices.ContainsFunc(a.sources, func(s opened) bool {
			return s.further == (p.Archive != "") && (!s.further || s.uri == p.Archive) && s.has(p)
		})
		if !known && !a.kept(p) {
			gone.Packages = append(gone.Packages, p)
		}
	}
	if len(gone.Packages) > 0 {
		return gone
	}
	return nil
}

// GoneError names packages of a lock that can be had no more.
type GoneError struct {
	Packages []ore.Package
}

// Error names the packages and says what to do.
func (e *GoneError) Error() string {
	text := "lock: these packages are gone from the archive and are not kept here:"
	for _, p := range e.Packages {
		text += " " + p.String()
	}
	return text + ": make a new lock, or use a mirror that still has them (a snapshot of the lock's date)"
}

// Is makes a GoneError match fs.ErrNotExist.
func (e *GoneError) Is(target error) bool { return errors.Is(fs.ErrNotExist, target) }
