package normal

import (
	"os"
	"path/filepath"
	"testing"
)

func TestNormalise(t *testing.T) {
	dir := t.TempDir()
	kept := []string{"etc/passwd", "run/lock/x", "var/log/keep", "etc/ssl/certs/11111111.0", "var/lib/dpkg/status", "var/cache/man/CACHEDIR.TAG"}
	gone := []string{
		"etc/passwd-", "run/x/y", "tmp/x", "var/lib/dpkg/status-old", "var/cache/man/de/index.db", "var/cache/ldconfig/aux-cache",
		"etc/ssh/ssh_host_rsa_key", "etc/ssl/certs/ssl-cert-snakeoil.pem", "var/log/apt/term.log",
	}
	for _, name := range append(append([]string{"etc/machine-id"}, kept...), gone...) {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(dir, "etc/ssl/certs/22222222.0")
	if err := os.Symlink("ssl-cert-snakeoil.pem", link); err != nil {
		t.Fatal(err)
	}
	outside := filepath.Join(t.TempDir(), "dpkg.log")
	if err := os.WriteFile(outside, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Dir(outside), filepath.Join(dir, "var/tmp")); err != nil {
		t.Fatal(err)
	}
	if err := Normalise(dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range kept {
		if _, err := os.Lstat(filepath.Join(dir, name)); err != nil {
			t.Errorf("%s went: %v", name, err)
		}
	}
	for _, name := range append(gone, "etc/ssl/certs/22222222.0") {
		if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			t.Errorf("%s is still there", name)
		}
	}
	if b, err := os.ReadFile(filepath.Join(dir, "etc/machine-id")); err != nil || len(b) > 0 {
		t.Errorf("machine-id: %q %v", b, err)
	}
	if _, err := os.Lstat(outside); err != nil {
		t.Error("a file outside of the tree was removed")
	}
	if err := Normalise(t.TempDir()); err != nil {
		t.Errorf("an empty tree: %v", err)
	}
}
