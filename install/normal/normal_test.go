package normal

import (
	"os"
	"path/filepath"
	"testing"
)

// What has no order is sorted; what is sorted already is not written.
func TestOrder(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"etc/shells": "# shells\n/bin/sh\n/bin/ash\n", "var/lib/dpkg/triggers/File": "/b x\n/a y\n",
		"var/lib/dpkg/statoverride": "", "etc/passwd": "b\na\n",
	} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := Normalise(dir); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"etc/shells": "# shells\n/bin/ash\n/bin/sh\n", "var/lib/dpkg/triggers/File": "/a y\n/b x\n", "etc/passwd": "b\na\n",
	} {
		if b, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, statoverride)); err == nil {
		t.Error("an empty list of overrides is there")
	}
}

func TestRemove(t *testing.T) {
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "x")
	for _, name := range []string{outside, filepath.Join(dir, "x")} {
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(filepath.Dir(outside), filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := Remove(dir, []string{"/x", "/none"}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "x")); err == nil {
		t.Error("the file is there")
	}
	if err := Remove(dir, []string{"/link/x"}); err == nil {
		t.Error("a link out of the tree was followed")
	}
	if _, err := os.Lstat(outside); err != nil {
		t.Error(err)
	}
}

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
