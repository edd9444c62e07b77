// Package shelftest gives tests the archive of the Debian host that they run
// on as a [shelf.Source]. What it fetches it keeps in a folder shared by all
// tests, under names made of the packages' digests, and checks again on use.
package shelftest

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"ore"
	"ore/deb/shelf"
)

// Source returns the archive of the host's apt configuration, whose lists
// must be there (apt-get update).
func Source(t testing.TB) shelf.Source {
	t.Helper()
	cache := os.Getenv("ORE_TEST_CACHE")
	if cache == "" {
		cache = filepath.Join("/var/tmp", "ore-test-"+strconv.Itoa(os.Getuid()))
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		t.Fatal(err)
	}
	s := host{cache: cache}
	return shelf.Source{State: "host", Resolve: s.resolve, Fetch: s.fetch}
}

type host struct{ cache string }

// resolve asks apt-cache for everything that the names lead to.
func (h host) resolve(ctx context.Context, names ...string) ([]ore.Package, error) {
	args := []string{"depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts",
		"--no-breaks", "--no-replaces", "--no-enhances"}
	out, err := exec.CommandContext(ctx, "apt-cache", append(args, names...)...).Output()
	if err != nil {
		return nil, fmt.Errorf("apt-cache depends: %w", err)
	}
	show := []string{"show", "--no-all-versions"}
	for line := range strings.Lines(string(out)) {
		if c := line[0]; c != ' ' && c != '<' && c != '|' {
			show = append(show, strings.TrimSpace(line))
		}
	}
	out, err = exec.CommandContext(ctx, "apt-cache", show...).Output()
	if err != nil {
		return nil, fmt.Errorf("apt-cache show: %w", err)
	}
	return paragraphs(out)
}

// paragraphs decodes what apt-cache show prints.
func paragraphs(b []byte) ([]ore.Package, error) {
	var list []ore.Package
	var p ore.Package
	s := bufio.NewScanner(bytes.NewReader(append(b, '\n')))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if s.Text() == "" {
			if p.Name != "" && p.Digest != "" {
				list = append(list, p)
			}
			p = ore.Package{}
			continue
		}
		field, value, _ := strings.Cut(s.Text(), ": ")
		switch field {
		case "Package":
			p.Name = value
		case "Version":
			p.Version = value
		case "Architecture":
			p.Arch = value
		case "Filename":
			p.Path = value
		case "Size":
			p.Size, _ = strconv.ParseInt(value, 10, 64)
		case "SHA256":
			p.Digest = ore.Digest("sha256:" + value)
		}
	}
	return list, s.Err()
}

// fetch has apt-get download a package, unless it is there.
func (h host) fetch(ctx context.Context, p ore.Package) (string, error) {
	path := filepath.Join(h.cache, p.Digest.Hex()+".deb")
	if digest(path) == p.Digest {
		return path, nil
	}
	tmp, err := os.MkdirTemp(h.cache, "get")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	c := exec.CommandContext(ctx, "apt-get", "-q", "download", p.Name+"="+p.Version)
	c.Dir = tmp
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("apt-get download: %w: %s", err, out)
	}
	got, err := filepath.Glob(filepath.Join(tmp, "*.deb"))
	if err != nil || len(got) != 1 {
		return "", fmt.Errorf("apt-get download %s: %d files", p, len(got))
	}
	return path, os.Rename(got[0], path)
}

// digest returns a file's digest, or "" if it cannot be read.
func digest(path string) ore.Digest {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return ""
	}
	return ore.NewDigest([sha256.Size]byte(h.Sum(nil)))
}
