//go:build system

package deb

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ore/deb/control"
)

// TestSameSetsAsAptWhole is TestSameSetAsApt with two hundred packages and sixty
// combinations: five to ten minutes.
func TestSameSetsAsAptWhole(t *testing.T) {
	newOracle(t).compare(sample{single: 200, pairs: 40, sets: 20})
}

// TestBaseSetIsMinbase compares the base set with what mmdebstrap installs from
// the same indexes. It needs root and Debian's mmdebstrap.
func TestBaseSetIsMinbase(t *testing.T) {
	for _, need := range []string{"mmdebstrap", "apt-get"} {
		if _, err := exec.LookPath(need); err != nil {
			t.Skipf("%s is the judge of this test, and this host does not have it", need)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("mmdebstrap is run as root here")
	}
	o := newOracle(t)
	root := filepath.Dir(o.config)
	target := filepath.Join(t.TempDir(), "minbase.tar")
	cmd := exec.Command("mmdebstrap", "--quiet", "--variant=minbase", "--mode=root", "--format=tar",
		`--aptopt=APT::Sandbox::User "root"`, // which may read this test's folder
		o.archive.config.Base.Suite, target, filepath.Join(root, "etc/apt/sources.list"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mmdebstrap: %v\n%s", err, out)
	}
	var theirs, ours []string
	for par, err := range control.Paragraphs(statusOf(t, target)) {
		if err != nil {
			t.Fatal(err)
		}
		theirs = append(theirs, par.Get("Package")+"="+par.Get("Version")+":"+par.Get("Architecture"))
	}
	for _, p := range o.base.Packages {
		ours = append(ours, p.String())
	}
	slices.Sort(theirs)
	slices.Sort(ours)
	if !slices.Equal(ours, theirs) {
		t.Errorf("ours:   %v\ntheirs: %v", ours, theirs)
	}
	t.Logf("%d packages", len(ours))
}

// statusOf returns dpkg's status out of a tar of a system.
func statusOf(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			t.Fatal("the tar has no status of dpkg")
		}
		if err != nil {
			t.Fatal(err)
		}
		if strings.TrimPrefix(h.Name, "./") == "var/lib/dpkg/status" {
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			return string(data)
		}
	}
}
