package cache

import (
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"ore/cache/catalog"
	"ore/image"
)

func newSigner(t *testing.T) *image.Signer {
	t.Helper()
	s, err := image.GenerateSigner()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// sent lists what somebody else has made.
func sent(t *testing.T, c *Cache, m image.Manifest, by *image.Signer) {
	t.Helper()
	var s image.Signature
	if by != nil {
		s = by.Sign(m)
	}
	if _, err := c.RegisterSigned(t.Context(), m, s, 0); err != nil {
		t.Fatal(err)
	}
}

// trust is the keys of these signers.
func trust(all ...*image.Signer) image.Keys {
	k := image.Keys{}
	for i, s := range all {
		k[s.Key()] = fmt.Sprint(i)
	}
	return k
}

// What was made here of the layers of others is used as long as one who is trusted
// has signed each: also when the image that they came with is gone, and when they
// were folded. What is made here again, the same, counts at once.
func TestTrustOfLayersOfOthers(t *testing.T) {
	dir, ours, stranger, friend := t.TempDir(), newSigner(t), newSigner(t), newSigner(t)
	at := func(k image.Keys) *Cache { return openWith(t, Config{Signer: ours, Trusted: k, Strict: k != nil}, dir) }
	all := at(nil)
	base, on := made(t, all, "base", "theirs"), made(t, all, "on", "theirs", "on")
	folded, apart := made(t, all, "folded", "theirs", "one", "two"), made(t, all, "apart", "ours")
	sent(t, all, base, stranger)
	register(t, all, on, 0)
	register(t, all, folded, 0)
	register(t, all, apart, 0)
	again := made(t, all, "folded", "theirs and one and two")
	if _, err := all.RegisterOf(t.Context(), again, folded, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := all.Forget(t.Context(), base.Key); err != nil {
		t.Fatal(err)
	}
	check := func(summary string, k image.Keys, want map[string]bool) {
		t.Helper()
		c := at(k)
		report, err := c.VerifyAll(t.Context())
		if err != nil || len(report.Images) != len(want) {
			t.Fatalf("%s: verify: %d images, %v", summary, len(report.Images), err)
		}
		for _, i := range report.Images {
			name := i.Entry.Wanted[0]
			_, err := c.Find(t.Context(), i.Entry.Key)
			for by, err := range map[string]error{"find": err, "verify": i.Err} {
				if used := err == nil; used != want[name] || !used && (!errors.Is(err, image.ErrUntrusted) || !strings.Contains(err.Error(), "build it here")) {
					t.Errorf("%s: %s: %s: %v", summary, by, name, err)
				}
			}
			if !want[name] && !strings.Contains(fmt.Sprint(i.Err), stranger.Key()) && !strings.Contains(fmt.Sprint(i.Err), friend.Key()) {
				t.Errorf("%s: verify does not say whose %s is: %v", summary, name, i.Err)
			}
		}
	}
	check("everybody is trusted", nil, map[string]bool{"on": true, "folded": true, "apart": true})
	check("the stranger is trusted", trust(stranger), map[string]bool{"on": true, "folded": true, "apart": true})
	check("the stranger is trusted no more", trust(friend), map[string]bool{"on": false, "folded": false, "apart": true})
	sent(t, all, base, friend)
	if _, err := all.Forget(t.Context(), base.Key); err != nil {
		t.Fatal(err)
	}
	check("a friend has signed the same layer", trust(friend), map[string]bool{"on": true, "folded": true, "apart": true})
	check("nobody is trusted", trust(), map[string]bool{"on": false, "folded": false, "apart": true})
	register(t, all, base, 0)
	check("the base was made here", trust(), map[string]bool{"base": true, "on": true, "folded": true, "apart": true})
	sent(t, all, made(t, all, "much", "ours", "theirs", "much"), stranger)
	check("the stranger has layers of ours", trust(), map[string]bool{"base": true, "on": true, "folded": true, "apart": true, "much": false})
}

// What nobody signed is believed by nobody who asks for signatures.
func TestLayersThatNobodySigned(t *testing.T) {
	dir, ours := t.TempDir(), newSigner(t)
	all := openWith(t, Config{Signer: ours}, dir)
	sent(t, all, made(t, all, "base", "theirs"), nil)
	on := made(t, all, "on", "theirs", "on")
	register(t, all, on, 0)
	if _, err := all.Find(t.Context(), on.Key); err != nil {
		t.Error(err)
	}
	strict := openWith(t, Config{Signer: ours, Trusted: trust(newSigner(t)), Strict: true}, dir)
	if _, err := strict.Find(t.Context(), on.Key); !errors.Is(err, image.ErrUntrusted) || !strings.Contains(err.Error(), "nobody signed layer") {
		t.Errorf("got %v", err)
	}
}

// Who sent the layers of a layer that is deleted is not kept.
func TestOriginsGoWithTheirLayers(t *testing.T) {
	c := openWith(t, Config{Signer: newSigner(t)}, t.TempDir())
	base := made(t, c, "base", "theirs")
	sent(t, c, base, newSigner(t))
	count := func() (n int) {
		if err := c.db.QueryRowContext(t.Context(), `SELECT COUNT(*) FROM origins`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := count(); n != 1 {
		t.Fatalf("%d origins of one layer", n)
	}
	if _, err := c.Forget(t.Context(), base.Key); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 0 {
		t.Errorf("%d origins of none", n)
	}
}

// Caches of the formats 2 and 3 did not keep who sent a layer: it is taken from the
// images that are there.
func TestOriginsOfOlderFormats(t *testing.T) {
	for _, format := range []int{2, 3} {
		dir, ours, stranger := t.TempDir(), newSigner(t), newSigner(t)
		c := openWith(t, Config{Signer: ours}, dir)
		on, apart := made(t, c, "on", "theirs", "on"), made(t, c, "apart", "ours", "apart")
		sent(t, c, made(t, c, "base", "theirs"), stranger)
		sent(t, c, made(t, c, "much", "ours", "much"), stranger)
		register(t, c, on, 0)
		register(t, c, made(t, c, "bottom", "ours"), 0)
		register(t, c, apart, 0)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "images.db"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = db.ExecContext(t.Context(), fmt.Sprintf(`DROP TABLE origins; PRAGMA user_version = %d`, format))
		// What is published says its format, too, and is another's then.
		if err := errors.Join(err, db.Close(), catalog.In(dir).Remove()); err != nil {
			t.Fatal(err)
		}
		strict := openWith(t, Config{Signer: ours, Trusted: trust(), Strict: true}, dir)
		if _, err := strict.Find(t.Context(), on.Key); !errors.Is(err, image.ErrUntrusted) || !strings.Contains(err.Error(), stranger.Key()) {
			t.Errorf("format %d: on a layer of a stranger's: %v", format, err)
		}
		if _, err := strict.Find(t.Context(), apart.Key); err != nil {
			t.Errorf("format %d: on a layer of ours: %v", format, err)
		}
		known := openWith(t, Config{Signer: ours, Trusted: trust(stranger), Strict: true}, dir)
		if _, err := known.Find(t.Context(), on.Key); err != nil {
			t.Errorf("format %d: the stranger is trusted: %v", format, err)
		}
	}
}
