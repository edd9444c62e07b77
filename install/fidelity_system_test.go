//go:build system

package install

import (
	"os"
	"strings"
	"testing"
)

// sets are package sets that differ in kind.
var sets = []struct {
	name     string
	packages string
}{
	{"program with libraries", "ncbi-blast+"},
	{"libraries", "libopenblas0-pthread libhdf5-103-1 libxml2 libcurl4"},
	{"perl and python modules", "libwww-perl libdbi-perl python3-numpy python3-requests"},
	{"users and groups", "openssh-server postgresql-common"},
	{"alternatives", "vim-tiny gawk netcat-openbsd nano"},
	{"triggers", "man-db shared-mime-info fontconfig dbus"},
}

// The trees of six sets are mmdebstrap's, but for the listed differences, each
// of which is needed.
func TestFidelity(t *testing.T) {
	dir := testDir(t)
	used := map[string]bool{}
	for _, s := range sets {
		if only := os.Getenv("ORE_TEST_SET"); only != "" && only != s.name {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			for name := range fidelity(t, dir, strings.Fields(s.packages)...) {
				used[name] = true
			}
		})
	}
	if os.Getenv("ORE_TEST_SET") != "" {
		return
	}
	for _, d := range differences() {
		if !used[d.name] {
			t.Errorf("difference %q (%s): no set shows it: take it off the list", d.name, d.why)
		}
	}
}

// Packages with users, set-group-ID programs and files of theirs have one tree,
// too.
func TestOneTreeWithUsers(t *testing.T) { oneTree(t, "openssh-server", "postgresql-common", "python3") }
