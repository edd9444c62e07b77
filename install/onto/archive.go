package onto

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"ore"
	"ore/deb"
	"ore/deb/fetch"
)

// archive brings packages from where a recipe says that they are. A place that failed is
// tried last from then on, which is told once: the next packages need not find out.
type archive struct {
	dir    string
	from   []string // as in a recipe's Archive
	client *fetch.Client
	watch  ore.Watcher

	came atomic.Int64 // bytes

	mu     sync.Mutex      // guards failed
	failed map[string]bool // places
}

var _ deb.Fetcher = (*archive)(nil)

// Fetch implements deb.Fetcher.
func (a *archive) Fetch(ctx context.Context, p ore.Package) (string, error) {
	f := fetch.File{Path: filepath.Join(a.dir, p.Digest.Hex()+".deb"), Size: p.Size, Digest: p.Digest}
	by := map[string]string{} // places, by address
	for _, place := range a.places() {
		if address := addressOf(place, p); address != "" {
			f.URLs, by[address] = append(f.URLs, address), place
		}
	}
	if len(f.URLs) == 0 {
		return "", fmt.Errorf("fetch %s: none of the archives %v has packages of %s", p, a.from, p.Archive)
	}
	client := *a.client
	client.Left = func(address string, why error) { a.leave(by[address], why) }
	err := client.File(ctx, f, func(n int64) {
		a.watch.Tell(ore.Event{Stage: "fetch", Text: p.Name, Done: a.came.Add(n)})
	})
	return f.Path, err
}

// places lists where packages are, those that have failed last.
func (a *archive) places() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var well, ill []string
	for _, place := range a.from {
		if a.failed[place] {
			ill = append(ill, place)
		} else {
			well = append(well, place)
		}
	}
	return append(well, ill...)
}

// leave notes that a place is in trouble, and tells it the first time. That it has not
// one package is no trouble of its.
func (a *archive) leave(place string, why error) {
	if !fetch.Unreachable(why) {
		return
	}
	a.mu.Lock()
	known := a.failed[place]
	if a.failed == nil {
		a.failed = map[string]bool{}
	}
	a.failed[place] = true
	a.mu.Unlock()
	if !known {
		a.watch.Tell(ore.Event{Stage: "fetch", Text: fmt.Sprintf("packages come from elsewhere: %v", why), Done: a.came.Load(), Final: true})
	}
}

// addressOf returns where a place has a package: a proxy has those of all
// archives, a mirror those of the base's. It is "" where it has it not.
func addressOf(place string, p ore.Package) string {
	kind, address, _ := strings.Cut(place, ":")
	address = strings.TrimSuffix(address, "/")
	switch {
	case kind == "proxy":
		return address + "/sha256/" + p.Digest.Hex()
	case kind == "mirror" && p.Archive == "":
		return address + "/" + (&url.URL{Path: p.Path}).EscapedPath()
	}
	return ""
}
