package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ore"
	"ore/image"
	"ore/site"
)

// entry is a line of 'ore images ls --json'.
type entry struct {
	Key      ore.Key
	Packages int
	Uses     int
}

func (p *person) images(t *testing.T) map[ore.Key]entry {
	t.Helper()
	var list []entry
	if err := json.Unmarshal([]byte(p.must(t, "images", "ls", "--json").out), &list); err != nil {
		t.Fatal(err)
	}
	all := map[ore.Key]entry{}
	for _, e := range list {
		all[e.Key] = e
	}
	return all
}

func (p *person) build(t *testing.T, args ...string) image.Manifest {
	t.Helper()
	var m image.Manifest
	if err := json.Unmarshal([]byte(p.must(t, append([]string{"build", "--json"}, args...)...).out), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// The life of an image: planned, locked, built by its lock, found again, run,
// verified, damaged, removed.
func TestImages(t *testing.T) {
	p := someone(t)
	p.must(t, "build", "-q") // the base, so that a small delta is left to do
	if o := p.must(t, "plan", "-p", "hello"); !strings.Contains(o.out, "way          delta") || !strings.Contains(o.out, "installs   hello") {
		t.Errorf("plan before: %v", o)
	}
	p.must(t, "lock", "-q", "-p", "hello", "-o", "hello.lock")
	m := p.build(t, "--lock", "hello.lock")
	if again := p.build(t, "-p", "hello"); again.Digest() != m.Digest() {
		t.Errorf("by its lock %s, by name %s", m.Digest(), again.Digest())
	}
	if o := p.must(t, "plan", "-p", "hello"); !strings.Contains(o.out, "way          exact") || strings.Contains(o.out, "no layer of the base set") || !strings.Contains(o.out, "delta") {
		t.Errorf("plan after: %v", o)
	}
	if other := p.build(t, "-p", "hello,gzip"); other.Key == m.Key || other.Tree != m.Tree {
		t.Errorf("the same packages in other words: key %s of tree %s, and %s of %s", m.Key, m.Tree, other.Key, other.Tree)
	}
	if o := p.must(t, "run", "-q", "--lock", "hello.lock", "--results", p.results(t), "--", "hello"); o.out != "Hello, world!\n" {
		t.Errorf("run by the lock: %v", o)
	}
	if p.images(t)[m.Key].Uses == 0 {
		t.Errorf("the image was used and does not say so: %+v", p.images(t)[m.Key])
	}
	if o := p.must(t, "images", "show", m.Key.Short()); !strings.Contains(o.out, "package hello=") || strings.Count(o.out, "\nlayer ") != 2 || !strings.Contains(o.out, "\nsigner  ed25519:") || strings.Contains(o.out, "took") {
		t.Errorf("images show: %v", o)
	}
	if o := p.must(t, "images", "verify", m.Key.Short()); o.out != m.Key.Short()+" ok\n" {
		t.Errorf("images verify: %v", o)
	}
	if o := p.must(t, "images", "refresh"); !strings.Contains(o.out, " up to date") || strings.Contains(o.out, " 0 up to date") {
		t.Errorf("images refresh: %v", o)
	}
	damage(t, filepath.Join(p.home, "images", "blobs", "sha256", m.Layers[1].Digest.Hex()))
	p.refused(t, 1, []string{m.Key.Short(), "build it again"}, "images", "verify", m.Key.Short())
	if o := p.must(t, "run", "-q", "-p", "hello", "--results", p.results(t), "--", "hello"); o.out != "Hello, world!\n" {
		t.Errorf("after the damage: %v", o)
	}
	mendedAtOnce(t, p, m)
	p.must(t, "images", "rm", m.Key.Short())
	if _, there := p.images(t)[m.Key]; there {
		t.Error("the image is still listed")
	}
	p.refused(t, ore.ExitFailed, []string{m.Key.Short()}, "images", "show", m.Key.Short())
}

// mendedAtOnce has runs find an image damaged that nobody has looked at: each
// makes it anew and says so, also where what it would be made from is damaged.
func mendedAtOnce(t *testing.T, p *person, m image.Manifest) {
	t.Helper()
	layer := func(i int) string {
		return filepath.Join(p.home, "images", "blobs", "sha256", m.Layers[i].Digest.Hex())
	}
	for name, spoil := range map[string]func(){
		"the last layer": func() { damage(t, layer(1)) },
		"all layers":     func() { damage(t, layer(0)); damage(t, layer(1)) },
		"a lost layer":   func() { os.Remove(layer(1)) },
	} {
		spoil()
		o := p.must(t, "run", "-p", "hello", "--results", p.results(t), "--", "hello")
		if o.out != "Hello, world!\n" || name != "a lost layer" && !strings.Contains(o.err, "damaged or removed: it is made anew") {
			t.Errorf("%s damaged: %v", name, o)
		}
		if again := p.build(t, "-p", "hello"); again.Digest() != m.Digest() {
			t.Errorf("%s damaged: made anew it is %s, not %s", name, again.Digest(), m.Digest())
		}
	}
}

// damage changes one byte in the middle of a file.
func damage(t *testing.T, path string) {
	t.Helper()
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := f.ReadAt(b[:], info.Size()/2); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b[:], info.Size()/2); err != nil {
		t.Fatal(err)
	}
}

// A lock is exact: packages that can be had no more are named.
func TestLockWhosePackagesAreGone(t *testing.T) {
	p := someone(t)
	p.must(t, "lock", "-q", "-p", "hello", "-o", "gone.lock")
	var l site.Lock
	if err := json.Unmarshal([]byte(read(t, p.dir, "gone.lock")), &l); err != nil {
		t.Fatal(err)
	}
	for i := range l.Environment.Packages {
		if e := &l.Environment.Packages[i]; e.Name == "hello" {
			e.Version, e.Digest = "2.9-1", ore.DigestOf([]byte("a version that is gone"))
		}
	}
	changed, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	p.file(t, "changed.lock", string(changed))
	p.refused(t, ore.ExitUsage, []string{"it was changed: make it again"}, "build", "-q", "--lock", "changed.lock")
	l.Key = l.Environment.Key()
	gone, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	p.file(t, "gone.lock", string(gone))
	p.refused(t, ore.ExitFailed, []string{"hello=2.9-1"}, "build", "-q", "--lock", "gone.lock")
	p.refused(t, ore.ExitFailed, []string{"hello=2.9-1"}, "run", "-q", "--results", p.results(t), "--lock", "gone.lock", "--", "true")
	p.file(t, "no.lock", "{}")
	p.refused(t, ore.ExitUsage, []string{"not a lock of this version of ore: make it again"}, "build", "--lock", "no.lock")
}
