package onto

import (
	"context"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"

	"ore"
	"ore/deb"
	"ore/deb/fetch"
)

// archive brings packages from where a recipe says that they are.
type archive struct {
	dir    string
	from   []string // as in a recipe's Archive
	client *fetch.Client
	watch  ore.Watcher

	came atomic.Int64 // bytes
}

var _ deb.Fetcher = (*archive)(nil)

// Fetch implements deb.Fetcher.
func (a *archive) Fetch(ctx context.Context, p ore.Package) (string, error) {
	f := fetch.File{Path: filepath.Join(a.dir, p.Digest.Hex()+".deb"), Size: p.Size, Digest: p.Digest}
	for _, place := range a.from {
		if address := addressOf(place, p); address != "" {
			f.URLs = append(f.URLs, address)
		}
	}
	if len(f.URLs) == 0 {
		return "", fmt.Errorf("fetch %s: none of the archives %v has packages of %s", p, a.from, p.Archive)
	}
	err := a.client.File(ctx, f, func(n int64) {
		a.watch.Tell(ore.Event{Stage: "fetch", Text: p.Name, Done: a.came.Add(n)})
	})
	return f.Path, err
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
