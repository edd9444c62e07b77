package onto

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ore"
	"ore/deb"
	"ore/deb/fetch"
)

const (
	// row is how many failures, each of a package that was asked for after the one before,
	// have a place tried last: a server's hiccup has one.
	row = 3
	// firstAside is for how long, the first time; each further time takes twice as long, up to
	// maxAside, until a package comes from there: a proxy that was started anew is to be
	// used again, one that is gone costs a try now and then.
	firstAside = time.Minute
	maxAside   = 16 * time.Minute
)

// archive brings packages from where a recipe says that they are. A place that is gone,
// or failed some times in a row, is tried last for a while, which is told: the next
// packages need not find out.
type archive struct {
	dir    string
	from   []string // as in a recipe's Archive
	client *fetch.Client
	watch  ore.Watcher

	came atomic.Int64 // bytes

	mu      sync.Mutex          // guards what follows
	trouble map[string]*trouble // by place
}

// trouble is what is known of a place that did not give a package.
type trouble struct {
	failures int           // in a row
	aside    time.Duration // the last time, 0 if it was not
	until    time.Time     // when that ends
}

var _ deb.Fetcher = (*archive)(nil)

// Fetch implements deb.Fetcher.
func (a *archive) Fetch(ctx context.Context, p ore.Package) (string, error) {
	f := fetch.File{Path: filepath.Join(a.dir, p.Digest.Hex()+".deb"), Size: p.Size, Digest: p.Digest}
	by := map[string]string{} // places, by address
	places, seen := a.places()
	for _, place := range places {
		if address := addressOf(place, p); address != "" {
			f.URLs, by[address] = append(f.URLs, address), place
		}
	}
	if len(f.URLs) == 0 {
		return "", fmt.Errorf("fetch %s: none of the archives %v has packages of %s", p, a.from, p.Archive)
	}
	client := *a.client
	client.Tried = func(address string, err error) {
		place := by[address]
		switch {
		case err == nil:
			a.well(place)
		case len(by) > 1 && fetch.Unreachable(err): // that it has not one package is no trouble of its
			seen[place] = a.ill(place, seen[place], err)
		}
	}
	err := client.File(ctx, f, func(n int64) {
		a.watch.Tell(ore.Event{Stage: "fetch", Text: p.Name, Done: a.came.Add(n)})
	})
	return f.Path, err
}

// places lists where packages are, those that are put aside last, and how many
// failures of each are known.
func (a *archive) places() (list []string, seen map[string]int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	seen = map[string]int{}
	var last []string
	for _, place := range a.from {
		t := a.trouble[place]
		if t != nil {
			seen[place] = t.failures
		}
		if t != nil && time.Now().Before(t.until) {
			last = append(last, place)
		} else {
			list = append(list, place)
		}
	}
	return append(list, last...), seen
}

// well notes that a package came from a place.
func (a *archive) well(place string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.trouble, place)
}

// ill notes that a place failed one who knew of some failures, and tells it when the
// place is first put aside. It returns how many failures are known then: those of
// packages that were under way together count once.
func (a *archive) ill(place string, seen int, why error) int {
	a.mu.Lock()
	t := a.trouble[place]
	if t == nil {
		if a.trouble == nil {
			a.trouble = map[string]*trouble{}
		}
		t = &trouble{}
		a.trouble[place] = t
	}
	if seen == t.failures {
		t.failures++
	}
	tell := false
	if now := time.Now(); !now.Before(t.until) && (t.failures >= row || fetch.Severed(why)) {
		tell = t.aside == 0
		t.aside = min(max(2*t.aside, firstAside), maxAside)
		t.until = now.Add(t.aside)
	}
	failures := t.failures
	a.mu.Unlock()
	if tell {
		a.watch.Tell(ore.Event{Stage: "fetch", Text: fmt.Sprintf("packages come from elsewhere: %v", why), Done: a.came.Load(), Final: true})
	}
	return failures
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
