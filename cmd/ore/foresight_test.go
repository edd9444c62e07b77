package main

import (
	"encoding/json"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"ore"
	"ore/cache/registry/registrytest"
	"ore/image"
	"ore/testbed/cable"
)

// What would be removed is told with the reason, and stays.
func TestPruneSaysWhatItWouldDo(t *testing.T) {
	p := as(t, subIDs)
	m := p.build(t, "-p", "ed")
	defer p.must(t, "images", "rm", string(m.Key))
	for keep, goes := range map[string]bool{"1K": true, "1000G": false} {
		var fates []struct {
			Entry struct{ Key ore.Key }
			Evict bool
			Why   string
		}
		if err := json.Unmarshal([]byte(p.must(t, "images", "prune", "--dry-run", "--keep", keep, "--json").out), &fates); err != nil {
			t.Fatal(err)
		}
		told := false
		for _, f := range fates {
			if f.Entry.Key == m.Key {
				told = f.Evict == goes && f.Why != ""
			}
		}
		if !told {
			t.Errorf("keeping %s: %+v", keep, fates)
		}
	}
	if o := p.must(t, "images", "prune", "--dry-run", "--keep", "1K"); !strings.Contains(o.out, m.Key.Short()) || !strings.Contains(o.out, "yes") {
		t.Errorf("%v", o)
	}
	if _, there := p.images(t)[m.Key]; !there {
		t.Error("what was only told is gone")
	}
}

// Each run adds to what is known of predictions, and measuring beforehand makes a plan
// that knows how long fetching and unpacking take.
func TestPredictionsAreKept(t *testing.T) {
	p := as(t, subIDs)
	runs := func() int {
		var a struct{ Runs int }
		if err := json.Unmarshal([]byte(p.must(t, "plan", "accuracy", "--json").out), &a); err != nil {
			t.Fatal(err)
		}
		return a.Runs
	}
	before := runs()
	p.must(t, "run", "-q", "--results", p.results(t), "--", "true")
	if n := runs(); n != before+1 {
		t.Errorf("%d runs are known after %d and one more", n, before)
	}
	if o := p.must(t, "plan", "accuracy"); !strings.Contains(o.out, "runs ") || !strings.Contains(o.out, "median error") {
		t.Errorf("%v", o)
	}
	fresh := p.with("ORE_HOME=" + p.results(t))
	unknown := func() bool {
		o := fresh.must(t, "plan", "-p", "ed")
		for line := range strings.Lines(o.out) {
			if strings.HasPrefix(line, "  unpack ") {
				return strings.Contains(line, "unknown: not measured")
			}
		}
		t.Fatalf("no stage of unpacking: %v", o)
		return false
	}
	if !unknown() {
		t.Error("what was never measured is known")
	}
	if o := fresh.must(t, "doctor", "--calibrate"); !strings.Contains(o.out, "decode ") || !strings.Contains(o.out, "a second on a core") || !strings.Contains(o.out, "mirror ") {
		t.Errorf("%v", o)
	}
	if unknown() {
		t.Error("what was measured is not known")
	}
}

// An image with more than was asked is taken where the settings allow it, and nowhere
// else.
func TestMoreThanWasAsked(t *testing.T) {
	p := as(t, subIDs)
	more := p.build(t, "-p", "ed,sl")
	defer p.must(t, "images", "rm", string(more.Key))
	run := func(p *person) outcome {
		return p.must(t, "run", "-p", "ed", "--results", p.results(t), "--", "sh", "-c", "ed --version >/dev/null && ls /usr/games")
	}
	allowed := p.with("ORE_CONFIG=" + p.file(t, "superset.yaml", "superset: true\n"))
	if o := run(allowed); !strings.Contains(o.out, "sl\n") || strings.Contains(o.err, "with 0 packages more") {
		t.Errorf("where it is allowed: %v", o)
	}
	if o := run(p); strings.Contains(o.out, "sl\n") {
		t.Errorf("where it is not: %v", o)
	}
	exact := p.build(t, "-p", "ed")
	p.must(t, "images", "rm", string(exact.Key))
}

// A cache that dies while an image comes from it costs what had come: the job goes on
// with an image that is made here, which is the same.
func TestCacheThatDiesInTheMiddle(t *testing.T) {
	alice, bob := as(t, subIDs), as(t, oneID)
	address, dir, server := alice.served(t)
	made := func(name string, more ...string) string {
		args := append([]string{"cache", "token", "add", name, "--namespace", "lab", "--dir", dir}, more...)
		return "ORE_CACHE_TOKEN=" + strings.TrimSpace(alice.must(t, args...).out)
	}
	want := alice.with(made("alice", "--write")).build(t, "-p", "ed", "--cache", address, "--cache-push")
	base := want.Layers[0]
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	line := cable.Lay(t, u.Host)
	line.CutAfter(base.Size/4, nil)
	u.Host = line.Addr
	stranger := *bob.with(made("bob"))
	stranger.home = bob.results(t)
	stranger.env = append(stranger.env, "ORE_HOME="+stranger.home)
	stranger.seed(t, alice) // what is fetched from a mirror otherwise
	o := stranger.must(t, "run", "-p", "ed", "--cache", u.String(), "--results", bob.results(t), "--", "ed", "--version")
	if !line.WasCut() || !strings.Contains(o.err, "it is built here") || !strings.Contains(o.err, "configure") || !strings.Contains(o.out, "ed") {
		t.Errorf("the cache is dead: %v; %v", line.WasCut(), o)
	}
	var got image.Manifest
	if err := json.Unmarshal([]byte(stranger.must(t, "build", "--json", "-p", "ed").out), &got); err != nil || got.Tree != want.Tree {
		t.Errorf("made here it has tree %s, not %s: %v", got.Tree.Short(), want.Tree.Short(), err)
	}
	server.signal(t, syscall.SIGTERM)
	server.end(t)
	alice.must(t, "images", "rm", string(want.Key))
}

// An image goes to a registry that others have made, and comes from there: here
// Debian's docker-registry, without TLS.
func TestRunFromARegistry(t *testing.T) {
	alice, bob := as(t, subIDs), as(t, oneID)
	address := "oci+http://" + registrytest.Start(t) + "/group/images"
	made := alice.build(t, "-p", "ed", "--cache", address, "--cache-push")
	stranger := bob.with("ORE_HOME=" + bob.results(t))
	o := stranger.must(t, "run", "-p", "ed", "--cache", address, "--results", bob.results(t), "--", "ed", "--version")
	if !strings.Contains(o.err, "pull") || strings.Contains(o.err, "configure") || !strings.Contains(o.out, "GNU ed") {
		t.Errorf("it was not fetched: %v", o)
	}
	if got := stranger.build(t, "-p", "ed"); got.Digest() != made.Digest() {
		t.Errorf("fetched %s, made %s", got.Digest(), made.Digest())
	}
	alice.must(t, "images", "rm", string(made.Key))
}
