package cache

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ore"
	"ore/cache/room"
	"ore/image"
)

// clock is a host's clock that a test sets.
type clock struct{ now time.Time }

func (k *clock) Now() time.Time { return k.now }

func openWith(t *testing.T, config Config, dir string) *Cache {
	t.Helper()
	c, err := config.Open(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// big returns the content of a layer of 100 KiB.
func big(name string) string { return name + string(make([]byte, 100<<10-len(name))) }

func TestReserveEvictsByValueAndKeepsWhatIsInUse(t *testing.T) {
	ctx := context.Background()
	c := openWith(t, Config{Quota: 350 << 10}, t.TempDir())
	used, dear, cheap := made(t, c, "used", big("u")), made(t, c, "dear", big("d")), made(t, c, "cheap", big("c"))
	register(t, c, used, time.Millisecond)
	register(t, c, dear, time.Hour)
	register(t, c, cheap, time.Second)
	release, err := c.Hold(ctx, used)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	space, err := c.Reserve(ctx, 100<<10, "another")
	if err != nil {
		t.Fatal(err)
	}
	listed := func() (all []string) {
		entries, err := c.List(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			all = append(all, strings.Join(e.Wanted, " "))
		}
		return all
	}
	if got := listed(); len(got) != 2 || strings.Contains(fmt.Sprint(got), "cheap") {
		t.Errorf("left: %v", got)
	}
	// 300 of 350 KiB are images or reserved: this needs one and a half images.
	_, err = c.Reserve(ctx, 200<<10, "too much")
	if !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "reserved by others") {
		t.Errorf("got %v", err)
	}
	if got := listed(); len(got) != 2 {
		t.Errorf("what does not help was evicted: %v", got)
	}
	space.Release()
	space.Release()
	space, err = c.Reserve(ctx, 200<<10, "the same again")
	if err != nil {
		t.Fatal(err)
	}
	defer space.Release()
	if got := listed(); len(got) != 1 || got[0] != "used" {
		t.Errorf("left: %v", got)
	}
}

func TestReserveOfADeadProcessEnds(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	c := openWith(t, Config{Quota: 1 << 20}, dir)
	cmd := child("reserver", dir)
	begin(t, cmd)
	if _, err := c.Reserve(ctx, 1, "one byte"); !errors.Is(err, ErrNoSpace) {
		t.Errorf("all is reserved, and yet %v", err)
	}
	kill(t, cmd)
	space, err := c.Reserve(ctx, 1<<20, "all")
	if err != nil {
		t.Fatal(err)
	}
	space.Release()
}

// TestReserveWatchesTheDisk has a disk on which little is free.
func TestReserveWatchesTheDisk(t *testing.T) {
	ctx := context.Background()
	free := int64(keepFree + 50<<10)
	c := openWith(t, Config{Capacity: func(string) (int64, error) { return free, nil }}, t.TempDir())
	m := made(t, c, "a", big("a"))
	register(t, c, m, time.Second)
	if _, err := c.Reserve(ctx, 1<<30, "a large one"); !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "are free on the disk") {
		t.Errorf("got %v", err)
	}
	if _, err := c.Find(ctx, m.Key); err != nil {
		t.Errorf("the image is gone: %v", err)
	}
	space, err := c.Reserve(ctx, 100<<10, "a small one")
	if err != nil {
		t.Fatal(err)
	}
	defer space.Release()
	if _, err := c.Find(ctx, m.Key); !errors.Is(err, image.ErrMissing) {
		t.Errorf("nothing was evicted: %v", err)
	}
}

func TestSecondServerIsRefused(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	first, err := Config{}.OpenExclusive(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (Config{}).OpenExclusive(ctx, dir); !errors.Is(err, ErrServed) {
		t.Errorf("got %v", err)
	}
	beside := open(t, dir) // who only uses it is welcome
	register(t, beside, made(t, beside, "a", "base"), 0)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := Config{}.OpenExclusive(ctx, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestTrust(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	ours, err := image.GenerateSigner()
	if err != nil {
		t.Fatal(err)
	}
	strangers, err := image.GenerateSigner()
	if err != nil {
		t.Fatal(err)
	}
	strict := openWith(t, Config{Signer: ours, Trusted: image.Keys{ours.Key(): "us"}, Strict: true}, dir)
	lax := openWith(t, Config{Trusted: image.Keys{ours.Key(): "us"}}, dir)
	signed, foreign, unsigned := made(t, lax, "signed", "s"), made(t, lax, "foreign", "f"), made(t, lax, "unsigned", "u")
	register(t, strict, signed, 0)
	register(t, lax, unsigned, 0)
	if _, err := lax.RegisterSigned(ctx, foreign, strangers.Sign(foreign), 0); !errors.Is(err, image.ErrUntrusted) || !strings.Contains(err.Error(), strangers.Key()) {
		t.Errorf("what strangers made was taken: %v", err)
	}
	if _, err := lax.RegisterSigned(ctx, foreign, image.Signature{}, 0); !errors.Is(err, image.ErrUntrusted) {
		t.Errorf("what nobody signed was taken: %v", err)
	}
	if _, err := openWith(t, Config{}, dir).RegisterSigned(ctx, foreign, strangers.Sign(foreign), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := lax.RegisterSigned(ctx, foreign, ours.Sign(signed), 0); !errors.Is(err, image.ErrForged) {
		t.Errorf("the signature of another image was taken: %v", err)
	}
	for _, c := range []struct {
		m    image.Manifest
		want error
	}{{signed, nil}, {foreign, image.ErrUntrusted}, {unsigned, image.ErrUntrusted}} {
		if _, err := strict.Find(ctx, c.m.Key); !errors.Is(err, c.want) {
			t.Errorf("%v: strict: %v", c.m.Environment.Manual, err)
		}
		if _, err := lax.Find(ctx, c.m.Key); err != nil {
			t.Errorf("%v: lax: %v", c.m.Environment.Manual, err)
		}
	}
	all, err := lax.List(ctx)
	if err != nil {
		t.Fatal(err)
	}
	report, err := openWith(t, Config{Signer: ours, Trusted: image.Keys{"another": "key"}}, dir).VerifyAll(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range report.Images {
		if own := i.Entry.Key == signed.Key; own != (i.Err == nil) || !own && !errors.Is(i.Err, image.ErrUntrusted) {
			t.Errorf("%v: verify: %v", i.Entry.Wanted, i.Err)
		}
	}
	if left, err := lax.List(ctx); err != nil || len(left) != len(all) {
		t.Errorf("%d images of %d are left (%v): one that is not trusted is only told", len(left), len(all), err)
	}
	for _, e := range all {
		if e.Trusted != (e.Key == signed.Key) || (e.Signer == "") != (e.Key == unsigned.Key) {
			t.Errorf("got %+v", e)
		}
	}
	// What nobody trusts is built again, and then it is trusted.
	m, err := strict.Once(ctx, foreign.Key, func(ctx context.Context) (image.Manifest, error) {
		_, err := strict.Register(ctx, foreign, 0)
		return foreign, err
	})
	if err != nil || m.Key != foreign.Key {
		t.Fatal(err)
	}
	if _, err := strict.Find(ctx, foreign.Key); err != nil {
		t.Errorf("after it was built here: %v", err)
	}
}

func TestVerifyAllFindsRot(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	c := open(t, dir)
	good, bad, both := made(t, c, "good", "base", "g"), made(t, c, "bad", "base", "rots"), made(t, c, "both", "rots", "x")
	for _, m := range []image.Manifest{good, bad, both} {
		register(t, c, m, 0)
	}
	p, err := c.Path(bad.Layers[1].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(p, 0o644), os.WriteFile(p, []byte("roTs"), 0o644)); err != nil {
		t.Fatal(err)
	}
	report, err := c.VerifyAll(ctx)
	if err != nil || len(report.Images) != 3 || len(report.Bad()) != 2 || len(report.Quarantined) != 1 {
		t.Fatalf("got %+v, %v", report, err)
	}
	if text, err := json.Marshal(report); err != nil || strings.Count(string(text), `"Err":"`) != 2 || !strings.Contains(string(text), image.ErrRotten.Error()) {
		t.Errorf("in JSON: %s, %v", text, err)
	}
	if left, err := c.List(ctx); err != nil || len(left) != 1 || left[0].Key != good.Key {
		t.Errorf("listed: %v, %v", left, err)
	}
	if again, err := c.VerifyAll(ctx); err != nil || len(again.Bad()) != 0 {
		t.Errorf("again: %+v, %v", again, err)
	}
}

func TestMarkAndReplace(t *testing.T) {
	c, ctx := open(t, t.TempDir()), context.Background()
	old := environment([]ore.Package{pkg(1, 0), pkg(2, 0)}, "tool")
	next := environment([]ore.Package{pkg(1, 1), pkg(2, 0)}, "tool")
	if WishOf(old) != WishOf(next) || old.Key() == next.Key() {
		t.Fatal("one wish with two locks is what this test needs")
	}
	put := func(env ore.Environment, layer string) image.Manifest {
		m := made(t, c, "x", layer)
		m.Environment, m.Key = env, env.Key()
		register(t, c, m, time.Second)
		return m
	}
	before := put(old, "old")
	if err := errors.Join(c.Pin(ctx, before.Key, true), c.Touch(ctx, before.Key)); err != nil {
		t.Fatal(err)
	}
	newer := func(p ore.Package) string {
		if p.Name == pkg(1, 0).Name && p.Version == pkg(1, 0).Version {
			return pkg(1, 1).Version
		}
		return ""
	}
	if n, err := c.Mark(ctx, newer); n != 1 || err != nil {
		t.Fatalf("marked %d, %v", n, err)
	}
	e, err := c.Match(ctx, string(before.Key))
	if err != nil || len(e.Outdated) != 1 || e.Outdated[0] != (Outdated{pkg(1, 0).Name, pkg(1, 0).Version, pkg(1, 1).Version}) {
		t.Errorf("got %+v, %v", e.Outdated, err)
	}
	if n, err := c.Mark(ctx, func(ore.Package) string { return "" }); n != 0 || err != nil {
		t.Errorf("no package is old, and yet %d are marked, %v", n, err)
	}
	after := put(next, "new")
	register(t, c, before, time.Second) // a lock of old versions was built again: its wish is served by it
	if m, err := c.Serving(ctx, WishOf(old)); err != nil || m.Key != before.Key {
		t.Errorf("before: %v, %v", m.Key, err)
	}
	if err := c.Replace(ctx, before.Key, after.Key); err != nil {
		t.Fatal(err)
	}
	if m, err := c.Serving(ctx, WishOf(old)); err != nil || m.Key != after.Key {
		t.Errorf("after: %v, %v", m.Key, err)
	}
	fates, err := c.Fates(ctx, 0)
	if err != nil || len(fates) != 2 || fates[0].Entry.Key != before.Key || !fates[0].Evict || fates[1].Evict {
		t.Errorf("the old one goes and the new one is pinned in its place: %+v, %v", fates, err)
	}
	if err := c.Replace(ctx, before.Key, environment(nil, "gone").Key()); !errors.Is(err, image.ErrMissing) {
		t.Errorf("by an image that is not there: %v", err)
	}
}

// TestFoldedImageTakesOver registers other layers under one key.
func TestFoldedImageTakesOver(t *testing.T) {
	c, ctx := open(t, t.TempDir()), context.Background()
	many := made(t, c, "a", "base", "one", "two")
	register(t, c, many, time.Second)
	if err := errors.Join(c.Pin(ctx, many.Key, true), c.Touch(ctx, many.Key)); err != nil {
		t.Fatal(err)
	}
	release, err := c.Hold(ctx, many)
	if err != nil {
		t.Fatal(err)
	}
	folded := made(t, c, "a", "base", "one and two")
	register(t, c, folded, time.Second)
	if _, err := c.Path(many.Layers[1].Digest); err != nil {
		t.Errorf("a layer that a job has: %v", err)
	}
	release()
	register(t, c, folded, time.Second) // whoever writes next collects what is free
	if _, err := c.Path(many.Layers[1].Digest); !errors.Is(err, image.ErrMissing) {
		t.Errorf("a layer that nobody has any more: %v", err)
	}
	listed, err := c.Rooted(ctx, folded)
	if err != nil {
		t.Fatal(err)
	}
	e, err := c.Match(ctx, string(many.Key))
	if err != nil || !e.Pinned || e.Uses != 1 || e.Manifest != listed.Digest() {
		t.Errorf("got %+v, %v", e, err)
	}
}

// TestClockJumps sets the clock twelve years ahead and then back, and expects
// eviction and reservations to go on as if nothing had been.
func TestClockJumps(t *testing.T) {
	ctx := context.Background()
	k := &clock{time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	c := openWith(t, Config{Now: k.Now, Quota: 1 << 30}, t.TempDir())
	hot, cold := made(t, c, "hot", big("h")), made(t, c, "cold", big("c"))
	register(t, c, hot, time.Second)
	register(t, c, cold, time.Second)
	start := k.now
	for _, at := range []time.Time{start, start.AddDate(12, 0, 0), start.AddDate(-3, 0, 0), start.Add(time.Minute)} {
		k.now = at
		for range 3 {
			if err := c.Touch(ctx, hot.Key); err != nil {
				t.Fatal(err)
			}
		}
		if at.After(start.AddDate(1, 0, 0)) {
			if err := c.Touch(ctx, cold.Key); err != nil {
				t.Fatal(err)
			}
		}
		fates, err := c.Fates(ctx, 150<<10)
		if err != nil || !fates[0].Evict || fates[0].Entry.Key != cold.Key || fates[1].Evict {
			t.Errorf("at %v: %+v, %v", at, fates, err)
		}
		for _, f := range fates {
			if f.Age < 0 {
				t.Errorf("at %v: age %v", at, f.Age)
			}
		}
		space, err := c.Reserve(ctx, 1, "a byte")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := room.Reserved(c.reservations()); n != 1 || err != nil {
			t.Errorf("at %v: %d bytes are reserved, %v", at, n, err)
		}
		space.Release()
	}
	// Requests of the time when the clock was ahead are no part of the forecast.
	if got, err := c.Likely(ctx, k.now, 3); err != nil || len(got) != 1 || got[0].Seen != 9 {
		t.Errorf("likely: %v, %v", got, err)
	}
}

func TestRequestsAreBounded(t *testing.T) {
	c, ctx := open(t, t.TempDir()), context.Background()
	m := made(t, c, "a", "base")
	register(t, c, m, time.Second)
	for _, id := range []int{1, 2, maxRequests} {
		if _, err := c.db.ExecContext(ctx, `INSERT INTO requests (id, at, wish, key, kind, saved_ms, spent_ms) VALUES (?, 0, 'w', 'k', 'exact', 0, 0)`, id); err != nil {
			t.Fatal(err)
		}
	}
	base := made(t, c, "b", "other")
	register(t, c, base, time.Second)
	r := Request{Wish: "w", Key: m.Key, Kind: "partial", From: base.Key, Saved: 90 * time.Second, Spent: time.Second}
	for range 3 {
		if err := c.Note(ctx, r); err != nil {
			t.Fatal(err)
		}
	}
	all, err := c.Requests(ctx)
	if err != nil || len(all) != 4 || all[0].Kind != Hit || all[3].Kind != "partial" || all[3].Saved != r.Saved || all[3].Spent != r.Spent {
		t.Errorf("got %+v, %v", all, err)
	}
	fates, err := c.Fates(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range fates {
		if f.Entry.Key == base.Key && f.Assists <= 0 {
			t.Errorf("what others were built on is worth no more for it: %+v", f)
		}
	}
}

// first is the schema that the first caches had.
const first = `
CREATE TABLE images (key TEXT PRIMARY KEY, manifest TEXT NOT NULL, tree TEXT NOT NULL, suite TEXT NOT NULL, wanted TEXT NOT NULL,
	packages INTEGER NOT NULL, bytes INTEGER NOT NULL, made INTEGER NOT NULL, used INTEGER NOT NULL, uses INTEGER NOT NULL DEFAULT 0, build_ms INTEGER NOT NULL);
CREATE TABLE layers (key TEXT NOT NULL REFERENCES images ON DELETE CASCADE, place INTEGER NOT NULL, digest TEXT NOT NULL, size INTEGER NOT NULL, PRIMARY KEY (key, place));
CREATE INDEX layers_digest ON layers (digest);`

func TestFirstSchemaIsMigrated(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "images.db"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.ExecContext(ctx, first); err != nil {
		t.Fatal(err)
	}
	store, err := image.OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := made(t, &Cache{Store: store}, "a", "base", "delta")
	m.Environment.Packages = []ore.Package{pkg(1, 0)}
	m.Key = m.Environment.Key()
	d, err := store.PutBytes(ctx, m.Encode())
	if err != nil {
		t.Fatal(err)
	}
	for key, manifest := range map[string]string{string(m.Key): string(d), "gone": string(ore.DigestOf(nil))} {
		if _, err := db.ExecContext(ctx, `INSERT INTO images VALUES (?, ?, 't', 's', 'w', 1, 9, 11, 22, 33, 44)`, key, manifest); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	c := open(t, dir)
	all, err := c.List(ctx)
	if err != nil || len(all) != 1 || all[0].Uses != 33 || all[0].Made.Unix() != 11 || all[0].Used.Unix() != 22 || all[0].BuildTime != 44*time.Millisecond {
		t.Fatalf("got %+v, %v", all, err)
	}
	if got, err := c.Candidates(ctx, m.Environment, 1); err != nil || len(got) != 1 || !got[0].Exact {
		t.Errorf("candidates: %+v, %v", got, err)
	}
	if again := open(t, dir); again == nil {
		t.Error("a second opening")
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	dir, ctx := t.TempDir(), context.Background()
	c := open(t, dir)
	if _, err := c.db.ExecContext(ctx, `PRAGMA user_version = 99`); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(ctx, dir); err == nil || !strings.Contains(err.Error(), "its format is 99") {
		t.Errorf("got %v", err)
	}
}

// A rotten layer that is found when one image is asked for takes all others that
// have it off the list.
func TestRotFoundOnUseTakesAllImagesOfTheLayer(t *testing.T) {
	ctx := context.Background()
	c := open(t, t.TempDir())
	good, bad, both := made(t, c, "good", "base", "g"), made(t, c, "bad", "base", "rots"), made(t, c, "both", "rots", "x")
	for _, m := range []image.Manifest{good, bad, both} {
		register(t, c, m, time.Second)
	}
	p, err := c.Path(bad.Layers[1].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(p, 0o644), os.WriteFile(p, []byte("roTs"), 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Acquire(ctx, bad.Key); !errors.Is(err, image.ErrMissing) {
		t.Fatalf("acquired: %v", err)
	}
	if left, err := c.List(ctx); err != nil || len(left) != 1 || left[0].Key != good.Key {
		t.Errorf("listed are %v, %v", left, err)
	}
	if err := c.Lost(ctx, good.Layers[1].Digest); err != nil {
		t.Fatal(err)
	}
	if left, err := c.List(ctx); err != nil || len(left) != 1 {
		t.Errorf("what is there is lost: %v, %v", left, err)
	}
}
