// Package shelftest gives tests the archive of the Debian host that they run
// on as a [shelf.Source]. What it fetches it keeps in a folder that all tests
// of one user share.
package shelftest

import (
	"bufio"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"ore"
	"ore/deb"
	"ore/deb/shelf"
)

// Source returns the archive of the host's own suite from ORE_MIRROR or the
// host's apt configuration.
func Source(t testing.TB) shelf.Source {
	t.Helper()
	return SuiteSource(t, hostSuite(t))
}

// SuiteSource returns the archive of another suite.
func SuiteSource(t testing.TB, suite string) shelf.Source {
	t.Helper()
	cache := os.Getenv("ORE_TEST_CACHE")
	if cache == "" {
		cache = filepath.Join("/var/tmp", "ore-test-"+strconv.Itoa(os.Getuid()))
	}
	a, err := deb.Open(t.Context(), deb.Config{
		Dir: cache, Base: ore.Base{Distribution: "debian", Suite: suite}, Mirror: os.Getenv("ORE_MIRROR"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return shelf.Source{
		State: string(a.Offer()),
		Resolve: func(ctx context.Context, names ...string) ([]ore.Package, error) {
			var wishes []ore.Wish
			for _, n := range names {
				wishes = append(wishes, ore.Wish{Name: n})
			}
			return a.Needs(ctx, wishes...)
		},
		Fetch: a.Fetch,
	}
}

// hostSuite reads the suite from os-release(5).
func hostSuite(t testing.TB) string {
	t.Helper()
	f, err := os.Open("/etc/os-release")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if v, ok := strings.CutPrefix(s.Text(), "VERSION_CODENAME="); ok {
			return strings.Trim(v, `"`)
		}
	}
	t.Fatal("/etc/os-release has no VERSION_CODENAME: these tests need a Debian host")
	return ""
}
