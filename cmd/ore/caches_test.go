package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// with returns p with a variable more in the environment of its commands.
func (p *person) with(variable string) *person {
	q := *p
	q.env = append(slices.Clip(p.env), variable)
	return &q
}

// served starts a cache of p's and returns its address and the running server.
func (p *person) served(t *testing.T) (address string, dir string, server *running) {
	t.Helper()
	dir = p.results(t)
	server = p.begin(t, "cache", "serve", "--listen", "127.0.0.1:0", "--dir", dir)
	server.saw(t, "#sha256:")
	server.mu.Lock()
	defer server.mu.Unlock()
	_, address, _ = strings.Cut(strings.TrimSpace(server.out.String()), " on ")
	return address, dir, server
}

// Two users share a cache: what one has built the other fetches, and what is
// fetched is the same; without the server all goes on.
func TestCacheOfASite(t *testing.T) {
	alice, bob := as(t, subIDs), as(t, oneID)
	address, dir, server := alice.served(t)
	token := func(name string, more ...string) string {
		args := append([]string{"cache", "token", "add", name, "--namespace", "lab", "--dir", dir}, more...)
		return "ORE_CACHE_TOKEN=" + strings.TrimSpace(alice.must(t, args...).out)
	}
	writer, reader := alice.with(token("alice", "--write")), bob.with(token("bob"))
	made := writer.build(t, "-p", "figlet", "--cache", address, "--cache-push")
	if o := writer.must(t, "cache", "ls", "--cache", address); !strings.Contains(o.out, made.Key.Short()) {
		t.Fatalf("it is not in the cache: %v", o)
	}
	if o := writer.must(t, "build", "-p", "figlet", "--cache", address, "--cache-push"); strings.Contains(o.err, "push") {
		t.Errorf("what the cache has was sent again: %v", o)
	}
	if o := reader.must(t, "plan", "-p", "figlet", "--cache", address); !strings.Contains(o.out, "way          fetched") {
		t.Errorf("plan: %v", o)
	}
	o := reader.must(t, "run", "-p", "figlet", "--cache", address, "--results", bob.results(t), "--", "figlet", "-w", "40", "x")
	if !strings.Contains(o.err, "pull") || strings.Contains(o.err, "configure") {
		t.Errorf("it was not fetched: %v", o)
	}
	if !strings.Contains(o.out, "_") {
		t.Errorf("what was fetched does not run: %v", o)
	}
	fetched := reader.build(t, "-p", "figlet", "--cache", address)
	if fetched.Digest() != made.Digest() || fetched.Tree != made.Tree {
		t.Errorf("fetched %s with tree %s, made %s with tree %s", fetched.Digest(), fetched.Tree, made.Digest(), made.Tree)
	}
	reader.refused(t, 125, []string{"may read only"}, "cache", "push", string(made.Key), "--cache", address)
	stranger := bob.with("ORE_CACHE_TOKEN=ore_0000")
	stranger.refused(t, 125, nil, "cache", "ls", "--cache", address)

	server.signal(t, syscall.SIGKILL)
	server.end(t)
	bob.must(t, "images", "rm", string(made.Key))
	alone := reader.build(t, "-p", "figlet", "--cache", address)
	if alone.Tree != made.Tree {
		t.Errorf("built alone it has tree %s, not %s", alone.Tree, made.Tree)
	}
	if _, err := os.Stat(filepath.Join(dir, "serve")); err != nil {
		t.Error(err)
	}
	again := alice.begin(t, "cache", "serve", "--listen", "127.0.0.1:0", "--dir", dir)
	again.saw(t, "#sha256:")
	again.signal(t, syscall.SIGTERM)
	if o := again.end(t); o.code != 0 {
		t.Errorf("the server after a kill: %v", o)
	}
	bob.must(t, "images", "rm", string(made.Key))
	alice.must(t, "images", "rm", string(made.Key))
}

// Who has nothing builds over the base that a cache has, and over a relative of
// what is asked for: the image is the one that is built from nothing.
func TestBaseFromACache(t *testing.T) {
	alice, bob := as(t, subIDs), as(t, oneID)
	address, dir, server := alice.served(t)
	token := func(name string, more ...string) string {
		args := append([]string{"cache", "token", "add", name, "--namespace", "lab", "--dir", dir}, more...)
		return "ORE_CACHE_TOKEN=" + strings.TrimSpace(alice.must(t, args...).out)
	}
	alice.build(t, "-p", "sl") // made before the cache is named, it is given all the same
	if o := alice.with(token("alice", "--write")).must(t, "build", "-p", "sl", "--cache", address, "--cache-push"); !strings.Contains(o.err, "push") {
		t.Errorf("what was here was not sent: %v", o)
	}
	stranger := bob.with(token("bob")).with("ORE_HOME=" + bob.results(t))
	if o := stranger.must(t, "plan", "-p", "toilet", "--cache", address); !strings.Contains(o.out, "over https://127.0.0.1") || !strings.Contains(o.out, "pull") {
		t.Errorf("plan: %v", o)
	}
	o := stranger.must(t, "build", "-p", "toilet", "--cache", address)
	if !strings.Contains(o.err, "pull") || strings.Contains(o.err, "base-files") {
		t.Errorf("the base was not fetched: %v", o)
	}
	got, want := stranger.build(t, "-p", "toilet"), alice.build(t, "-p", "toilet")
	if got.Tree != want.Tree || got.Digest() != want.Digest() {
		t.Errorf("over the cache's base image %s with tree %s, over one's own %s with tree %s", got.Digest(), got.Tree, want.Digest(), want.Tree)
	}
	server.signal(t, syscall.SIGTERM)
	server.end(t)
	alice.must(t, "images", "rm", string(want.Key))
}

// A step that somebody has run, and whose image a cache has, does not run again where
// further steps are asked for: here it would make something else. The tree is that of
// who has run it, and built from nothing but its result.
func TestStepsFromACache(t *testing.T) {
	alice, bob := as(t, subIDs), as(t, oneID)
	address, dir, server := alice.served(t)
	token := func(name string, more ...string) string {
		args := append([]string{"cache", "token", "add", name, "--namespace", "lab", "--dir", dir}, more...)
		return "ORE_CACHE_TOKEN=" + strings.TrimSpace(alice.must(t, args...).out)
	}
	const one = "environment:\n  base: debian/bookworm\n  packages: [sl]\n  steps:\n" +
		"  - {name: a, run: 'cat /proc/sys/kernel/random/uuid >/opt/a'}\n"
	const two = one + "  - {name: b, run: 'test ! -e /opt/a; mkdir /opt/b'}\n" +
		"  - {name: c, needs: [a, b], run: 'cp /opt/a /opt/b/copy'}\n"
	const run = "run: {command: [cat, /opt/b/copy]}\n"
	writer, stranger := alice.with(token("alice", "--write")), bob.with(token("bob")).with("ORE_HOME="+bob.results(t))
	made := writer.build(t, "-f", alice.file(t, "one.yaml", one+run), "--cache", address, "--cache-push")
	further := bob.file(t, "two.yaml", two+run)
	o := stranger.must(t, "plan", "-f", further, "--cache", address)
	if !strings.Contains(o.out, "partial over "+made.Key.Short()+" from https://127.0.0.1") || !strings.Contains(o.out, "2 steps") {
		t.Errorf("plan: %v", o)
	}
	got := stranger.build(t, "-f", further, "--cache", address)
	want := alice.build(t, "-f", alice.file(t, "two.yaml", two+run)) // which has kept what the step did
	if got.Key != want.Key || got.Tree != want.Tree || !slices.Equal(got.Layers[:len(made.Layers)], made.Layers) {
		t.Errorf("tree %s, of who has run the step %s; layers %v over %v", got.Tree.Short(), want.Tree.Short(), got.Layers, made.Layers)
	}
	server.signal(t, syscall.SIGTERM)
	server.end(t)
	alice.must(t, "images", "rm", string(want.Key), string(made.Key))
}
