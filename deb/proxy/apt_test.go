package proxy_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ore"
	"ore/deb/debtest"
	"ore/deb/proxy"
)

// TestAptUsesIt lets apt update from the proxy and get a package, twice: the
// mirror is asked once for each file.
func TestAptUsesIt(t *testing.T) {
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skipf("%v: this host has no apt to try it with", err)
	}
	s := newSite(t)
	p := s.largest()
	for range 2 {
		dir := t.TempDir()
		for _, d := range []string{"lists/partial", "cache/archives/partial", "etc/preferences.d", "got"} {
			if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		source := fmt.Sprintf("deb [signed-by=%s arch=amd64] %s %s main\n", s.mirror.KeyFile, s.url, debtest.Suite)
		if err := errors.Join(os.WriteFile(dir+"/etc/sources.list", []byte(source), 0o644), os.WriteFile(dir+"/status", nil, 0o644)); err != nil {
			t.Fatal(err)
		}
		for _, args := range []string{"update", "download " + p.Name} {
			c := exec.CommandContext(t.Context(), "apt-get", append([]string{"-q", "-o", "Dir::Etc=" + dir + "/etc", "-o", "Dir::State=" + dir, "-o", "Dir::State::status=" + dir + "/status",
				"-o", "Dir::Cache=" + dir + "/cache", "-o", "APT::Sandbox::User=root", "-o", "APT::Architecture=amd64", "-o", "APT::Architectures=amd64"}, strings.Fields(args)...)...)
			c.Dir, c.Env = dir+"/got", append(os.Environ(), "LC_ALL=C", "http_proxy=")
			out, err := c.CombinedOutput()
			if err != nil || bytes.Contains(out, []byte("Err:")) || bytes.Contains(out, []byte("W:")) {
				t.Fatalf("apt-get %s: %v: %s", args, err, out)
			}
		}
		debs, err := filepath.Glob(dir + "/got/*.deb")
		if err != nil || len(debs) != 1 {
			t.Fatal(debs, err)
		}
		b, err := os.ReadFile(debs[0])
		if err != nil || ore.DigestOf(b) != p.Digest {
			t.Errorf("%d bytes, %v", len(b), err)
		}
	}
	asked := map[string]int{}
	for _, path := range s.mirror.Requests() {
		if asked[path]++; asked[path] > 1 {
			t.Errorf("the mirror was asked again for %s", path)
		}
	}
	if len(asked) != 2 || asked[p.Path] != 1 {
		t.Errorf("the mirror was asked for %v", asked)
	}
}

// TestLocks are known by digest also when the index has them no more.
func TestLocks(t *testing.T) {
	s := newSite(t)
	env := s.lock
	if err := s.proxy.Lock(env); err != nil {
		t.Error(err)
	}
	env.Packages = []ore.Package{{Name: "x", Digest: "sha256:short", Size: 1, Path: "pool/x"}}
	if err := s.proxy.Lock(env); err == nil {
		t.Error("a lock without digests is taken")
	}
	q, err := proxy.New(proxy.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Lock(s.lock); err == nil {
		t.Error("a lock is taken where no archive says where packages are")
	}
	if err := q.Close(); err != nil {
		t.Error(err)
	}
}
