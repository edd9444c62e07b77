package rpm

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"ore"
	"ore/deb"
	"ore/deb/fetch"
	"ore/image"
	"ore/install/sandbox"
)

// Distribution is the base of environments of RPM packages, where others have
// "debian"; their suite is the name that the job file gives.
const Distribution = "rpm"

// maxRepositories bounds the repositories of one environment: each is an index to
// fetch and to read.
const maxRepositories = 16

// Is says whether b is a base of RPM packages.
func Is(b ore.Base) bool { return b.Distribution == Distribution }

// Maker makes environments of RPM packages, and their trees. It may be used by
// several goroutines and processes at once.
type Maker struct {
	Dir    string        // indexes, packages and programs; all of it may be deleted when nothing runs
	Store  *image.Store  // takes the layers
	Tier   sandbox.Tier  // the way to be root in a tree
	Args   []string      // arguments with which the own executable calls Worker
	Client *fetch.Client // nil means one of our own
	Watch  ore.Watcher   // stages "index", "resolve", "fetch", "rpm", "seal"

	// Tools opens the archive of tools.Suite, which dnf comes from.
	Tools func(context.Context) (*deb.Archive, error)
}

// The folders of a maker.
const (
	indexesDir  = "indexes"  // by digest
	packagesDir = "packages" // by digest
	toolsDir    = "tools"
	workDir     = "work"
)

func (m *Maker) path(parts ...string) string {
	return filepath.Join(append([]string{m.Dir}, parts...)...)
}

func (m *Maker) folders() error {
	for _, d := range []string{indexesDir, packagesDir, toolsDir, workDir} {
		if err := os.MkdirAll(m.path(d), 0o755); err != nil {
			return fmt.Errorf("make folders: %w", err)
		}
	}
	return nil
}

// Check says what about w cannot be made of RPM packages. Errors have the form
// what failed: why: what to do.
func Check(w ore.Wants) error {
	switch {
	case len(w.Repositories) == 0:
		return fmt.Errorf("base %s: no repository to take packages from: name some in environment.repositories", w.Base)
	case len(w.Repositories) > maxRepositories:
		return fmt.Errorf("base %s: %d repositories: use at most %d", w.Base, len(w.Repositories), maxRepositories)
	case len(w.Packages) == 0:
		return fmt.Errorf("base %s: no packages: it has none of its own: name some in environment.packages, a shell among them", w.Base)
	}
	seen := map[string]bool{}
	for _, r := range w.Repositories {
		uri, err := address(r.URI)
		if err != nil {
			return err
		}
		if seen[uri] {
			return fmt.Errorf("repository %s: it is given twice: remove one", r.URI)
		}
		seen[uri] = true
	}
	for _, p := range w.Packages {
		if strings.HasPrefix(p.Name, "@") {
			return fmt.Errorf("package %s: groups are not resolved: name the packages that you need of it", p.Name)
		}
		if strings.ContainsAny(p.Name, "*?[]() /<>=") || strings.HasPrefix(p.Name, "-") {
			return fmt.Errorf("package %q: not the name of a package: name one as the repository has it", p.Name)
		}
	}
	return nil
}

// address returns the URI of a repository with its variables replaced, without a
// slash at its end.
func address(uri string) (string, error) {
	s := strings.NewReplacer("$basearch", "x86_64", "${basearch}", "x86_64", "$arch", "x86_64", "${arch}", "x86_64").Replace(uri)
	u, err := url.Parse(s)
	switch {
	case strings.Contains(s, "$"):
		return "", fmt.Errorf("repository %s: of variables only $basearch and $arch are known: write out the others", uri)
	case err != nil || u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("repository %s: not the address of a folder: use one such as http://example.org/os/$basearch", uri)
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "file":
		return "", fmt.Errorf("repository %s: its scheme is %q: use http, https or file", uri, u.Scheme)
	}
	return strings.TrimRight(s, "/"), nil
}

// errChanged is returned for a lock whose repositories the job does not give.
var errChanged = errors.New("the job's repositories are not those of its lock: give the same, with their keys")
