package ahead

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ore"
	"ore/cache"
	"ore/image"
)

// archive is what a mirror has: the version of every package.
type archive map[string]string

func (a archive) resolve(_ context.Context, w ore.Wants) (ore.Environment, error) {
	env := ore.Environment{Version: ore.EnvironmentVersion, Base: w.Base, Arch: "amd64", Steps: w.Steps}
	for _, p := range w.Packages {
		v, ok := a[p.Name]
		if !ok {
			return env, fmt.Errorf("package %s: not in the archive", p.Name)
		}
		env.Packages = append(env.Packages, ore.Package{Name: p.Name, Version: v, Arch: "all", Digest: ore.DigestOf([]byte(p.Name + v)), Size: 1})
		env.Manual = append(env.Manual, p.Name)
	}
	env.Sort()
	return env, nil
}

// maker returns a Maker over an empty cache; builds are counted.
func maker(t *testing.T, a archive, builds *int) *Maker {
	t.Helper()
	c, err := cache.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	m := &Maker{Cache: c, Resolve: a.resolve, Idle: func() bool { return true }}
	m.Build = func(ctx context.Context, w ore.Wants, _ ore.Watcher) (image.Manifest, error) {
		*builds++
		env, err := a.resolve(ctx, w)
		if err != nil {
			return image.Manifest{}, err
		}
		return made(t, c, env), nil
	}
	return m
}

// made puts an image of env into c.
func made(t *testing.T, c *cache.Cache, env ore.Environment) image.Manifest {
	t.Helper()
	d, n, err := c.Put(t.Context(), func(f *os.File) error {
		_, err := f.WriteString("layer of " + string(env.Key()))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	m := image.Manifest{
		Version: image.ManifestVersion, Key: env.Key(), Environment: env, Tree: d,
		Layers: []image.Layer{{Digest: d, Size: n, Compression: "zstd", Key: env.Key()}},
	}
	if _, err := c.Register(t.Context(), m, time.Second); err != nil {
		t.Fatal(err)
	}
	return m
}

func wants(names ...string) ore.Wants {
	w := ore.Wants{Base: ore.Base{Distribution: "debian", Suite: "bookworm"}}
	for _, n := range names {
		w.Packages = append(w.Packages, ore.Wish{Name: n})
	}
	return w
}

// asked puts an image of w into the cache that is asked for every ten minutes.
func asked(t *testing.T, m *Maker, w ore.Wants) image.Manifest {
	t.Helper()
	env, err := m.Resolve(t.Context(), w)
	if err != nil {
		t.Fatal(err)
	}
	img := made(t, m.Cache, env)
	for i := range 20 {
		at := time.Now().Add(time.Duration(i-20) * 10 * time.Minute)
		if err := m.Cache.Note(t.Context(), cache.Request{Wish: cache.WishOf(env), Key: img.Key, When: at, Kind: "exact"}); err != nil {
			t.Fatal(err)
		}
	}
	return img
}

func TestPrepare(t *testing.T) {
	a := archive{"one": "1", "two": "1"}
	builds := 0
	m := maker(t, a, &builds)
	old, same := asked(t, m, wants("one")), asked(t, m, wants("two"))
	a["one"] = "2"
	r, err := m.Prepare(t.Context(), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Prepared) != 1 || r.Current != 1 || builds != 1 || r.Stopped != "" {
		t.Fatalf("%+v after %d builds", r, builds)
	}
	p := r.Prepared[0]
	if p.Old != old.Key || p.Probability < 0.5 || len(p.Newer) != 1 || p.Newer[0] != (cache.Outdated{Name: "one", Version: "1", Newer: "2"}) {
		t.Errorf("prepared %+v", p)
	}
	serving, err := m.Cache.Serving(t.Context(), cache.WishOf(old.Environment))
	if err != nil || serving.Key != p.Key {
		t.Errorf("the wish is served by %s (%v), want the new image", serving.Key.Short(), err)
	}
	if _, err := m.Cache.Find(t.Context(), old.Key); err != nil {
		t.Errorf("the old image: %v", err)
	}
	if r, err = m.Prepare(t.Context(), time.Minute); err != nil || builds != 1 || r.Current != 2 {
		t.Errorf("again: %+v, %v, %d builds", r, err, builds)
	}
	if same.Key == "" {
		t.Error("no key")
	}
}

// A wish whose image was removed has it made again; one that nobody remembers is said.
func TestPrepareMakesWhatIsGone(t *testing.T) {
	a := archive{"one": "1", "two": "1", "three": "1"}
	builds := 0
	m := maker(t, a, &builds)
	m.Book = Book{Path: filepath.Join(t.TempDir(), "prepared.jsonl")}
	known, unknown, lost := asked(t, m, wants("one")), asked(t, m, wants("two")), asked(t, m, wants("three"))
	for _, img := range []image.Manifest{known, lost} {
		if err := m.Book.Remember(img.Environment); err != nil {
			t.Fatal(err)
		}
	}
	for _, img := range []image.Manifest{known, unknown, lost} {
		if _, err := m.Cache.Forget(t.Context(), img.Key); err != nil {
			t.Fatal(err)
		}
	}
	a["one"] = "2"
	delete(a, "three")
	r, err := m.Prepare(t.Context(), time.Minute)
	if err != nil || len(r.Prepared) != 1 || builds != 1 {
		t.Fatalf("%+v, %v, %d builds", r, err, builds)
	}
	if p := r.Prepared[0]; p.Old != "" || len(p.Wanted) != 1 || p.Wanted[0] != "one" || p.Probability < 0.5 {
		t.Errorf("prepared %+v", p)
	}
	if img, err := m.Cache.Serving(t.Context(), cache.WishOf(known.Environment)); err != nil || img.Key != r.Prepared[0].Key {
		t.Errorf("the wish is served by %s, %v", img.Key.Short(), err)
	}
	said := strings.Join(r.Skipped, "\n")
	for _, want := range []string{
		"wish " + cache.WishOf(unknown.Environment)[:12] + ", asked for 20 times: its image is gone, and what it was made from is not known here",
		"debian/bookworm three, asked for 20 times: its image is gone: package three: not in the archive",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("said\n%s\nwant %s", said, want)
		}
	}
}

// The wishes that are remembered are bounded, and only what can be resolved again is.
func TestBookOfWishes(t *testing.T) {
	b := Book{Path: filepath.Join(t.TempDir(), "prepared.jsonl")}
	env := ore.Environment{Files: []ore.LockedFile{{Path: "/etc/motd"}}}
	if err := b.Remember(env); err != nil {
		t.Fatal(err)
	}
	if _, known := b.Recall(cache.WishOf(env)); known {
		t.Error("an image with files is remembered")
	}
	first := ore.Environment{Manual: []string{"first"}}
	if err := b.Remember(first); err != nil {
		t.Fatal(err)
	}
	past := time.Unix(1, 0)
	if err := os.Chtimes(filepath.Join(b.wishes(), cache.WishOf(first)), past, past); err != nil {
		t.Fatal(err)
	}
	for i := range maxWishes {
		if err := b.Remember(ore.Environment{Manual: []string{fmt.Sprint(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	if list, err := os.ReadDir(b.wishes()); err != nil || len(list) != maxWishes {
		t.Errorf("%d are remembered, %v", len(list), err)
	}
	if _, known := b.Recall(cache.WishOf(first)); known {
		t.Error("the oldest is still there")
	}
}

func TestPrepareStops(t *testing.T) {
	a := archive{"one": "1", "two": "1"}
	builds := 0
	m := maker(t, a, &builds)
	asked(t, m, wants("one"))
	asked(t, m, wants("two"))
	a["one"], a["two"] = "2", "2"
	m.Idle = func() bool { return builds == 0 }
	r, err := m.Prepare(t.Context(), time.Minute)
	if err != nil || builds != 1 || !strings.Contains(r.Stopped, "busy") {
		t.Errorf("on a host that becomes busy: %+v, %v, %d builds", r, err, builds)
	}
	m.Idle = func() bool { return true }
	m.Build = func(ctx context.Context, _ ore.Wants, _ ore.Watcher) (image.Manifest, error) {
		<-ctx.Done()
		return image.Manifest{}, ctx.Err()
	}
	r, err = m.Prepare(t.Context(), 10*time.Millisecond)
	if err != nil || len(r.Prepared) != 0 || !strings.Contains(r.Stopped, "budget") {
		t.Errorf("a build longer than the budget: %+v, %v", r, err)
	}
}

// A wish that cannot be built any more, renewed or made again, does not keep others from
// being prepared.
func TestPrepareGoesOn(t *testing.T) {
	a := archive{"old": "1", "gone": "1", "fine": "1"}
	builds := 0
	m := maker(t, a, &builds)
	m.Book = Book{Path: filepath.Join(t.TempDir(), "prepared.jsonl")}
	asked(t, m, wants("old"))
	gone := asked(t, m, wants("gone"))
	asked(t, m, wants("fine"))
	if err := m.Book.Remember(gone.Environment); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Cache.Forget(t.Context(), gone.Key); err != nil {
		t.Fatal(err)
	}
	a["old"], a["fine"] = "2", "2"
	build := m.Build
	m.Build = func(ctx context.Context, w ore.Wants, watch ore.Watcher) (image.Manifest, error) {
		if w.Packages[0].Name != "fine" {
			return image.Manifest{}, errors.New("its script failed")
		}
		return build(ctx, w, watch)
	}
	if err := m.Turn(t.Context(), time.Minute); err != nil {
		t.Error(err)
	}
	if list, err := m.Book.Prepared(); err != nil || len(list) != 1 || list[0].Wanted[0] != "fine" {
		t.Errorf("prepared %+v, %v", list, err)
	}
	r, err := m.Prepare(t.Context(), time.Minute)
	said := strings.Join(r.Skipped, "\n")
	if err != nil || len(r.Skipped) != 2 || r.Current != 1 ||
		!strings.Contains(said, "(old): its script failed") || !strings.Contains(said, "its image is gone: its script failed") {
		t.Errorf("%+v, %v", r, err)
	}
}

// Without space for one image there is none for others. What was prepared before that is
// noted, and said if it cannot be, also when the budget is spent.
func TestTurnKeepsWhatItPrepared(t *testing.T) {
	a := archive{"one": "1", "two": "1"}
	builds := 0
	m := maker(t, a, &builds)
	m.Book = Book{Path: filepath.Join(t.TempDir(), "prepared.jsonl")}
	asked(t, m, wants("one"))
	asked(t, m, wants("two"))
	a["one"], a["two"] = "2", "2"
	build := m.Build
	m.Build = func(ctx context.Context, w ore.Wants, watch ore.Watcher) (image.Manifest, error) {
		if builds > 0 {
			return image.Manifest{}, fmt.Errorf("build: %w", cache.ErrNoSpace)
		}
		return build(ctx, w, watch)
	}
	if err := m.Turn(t.Context(), time.Minute); !errors.Is(err, cache.ErrNoSpace) {
		t.Errorf("without space: %v", err)
	}
	if list, err := m.Book.Prepared(); err != nil || len(list) != 1 {
		t.Errorf("noted %+v, %v", list, err)
	}
	m.Book.Path = t.TempDir() // no file
	if err := m.Turn(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "note what was prepared") {
		t.Errorf("where it cannot be noted: %v", err)
	}
}

func TestSkips(t *testing.T) {
	a := archive{"one": "1"}
	builds := 0
	m := maker(t, a, &builds)
	img := asked(t, m, wants("one"))
	delete(a, "one")
	r, err := m.Refresh(t.Context(), []ore.Key{img.Key})
	if err != nil || len(r.Skipped) != 1 || builds != 0 {
		t.Errorf("a package that is gone: %+v, %v", r, err)
	}
	env := img.Environment
	env.Files = []ore.LockedFile{{Path: "/etc/motd", Digest: ore.DigestOf(nil)}}
	withFile := made(t, m.Cache, env)
	if r, err = m.Refresh(t.Context(), []ore.Key{withFile.Key}); err != nil || len(r.Skipped) != 1 || builds != 0 {
		t.Errorf("an image with files: %+v, %v", r, err)
	}
	if _, err := m.Refresh(t.Context(), []ore.Key{"none"}); !errors.Is(err, image.ErrMissing) {
		t.Errorf("an image that is not there: %v", err)
	}
}

func TestMark(t *testing.T) {
	a := archive{"one": "1", "two": "1"}
	builds := 0
	m := maker(t, a, &builds)
	asked(t, m, wants("one"))
	asked(t, m, wants("two"))
	a["two"] = "1+deb1"
	n, err := m.Mark(t.Context())
	if err != nil || n != 1 {
		t.Fatalf("marked %d, %v", n, err)
	}
	all, err := m.Cache.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		if outdated := len(e.Outdated) > 0; outdated != (e.Wanted[0] == "two") {
			t.Errorf("%v: outdated %v", e.Wanted, e.Outdated)
		}
	}
}

func TestGain(t *testing.T) {
	at := time.Unix(1000, 0)
	prepared := []Prepared{{At: at, Key: "a", Took: 5 * time.Second}, {At: at, Key: "b", Took: 3 * time.Second}}
	requests := []cache.Request{{Key: "a", When: at.Add(-time.Hour)}, {Key: "a", When: at.Add(time.Hour)}, {Key: "a", When: at.Add(2 * time.Hour)}}
	if got, want := Gain(prepared, requests), (Saving{Images: 2, Used: 1, Requests: 2, Waited: 5 * time.Second, Spent: 8 * time.Second}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// A host that takes its turn marks what has newer versions, prepares what is likely,
// and notes it; the next turn waits for its time, whatever came of this one.
func TestTurn(t *testing.T) {
	a := archive{"one": "1", "two": "1"}
	builds := 0
	m := maker(t, a, &builds)
	m.Book = Book{Path: filepath.Join(t.TempDir(), "prepared.jsonl")}
	old := asked(t, m, wants("one"))
	env, err := a.resolve(t.Context(), wants("two"))
	if err != nil {
		t.Fatal(err)
	}
	unlikely := made(t, m.Cache, env) // nobody asks for it
	a["one"], a["two"] = "2", "2"
	turn := func(budget time.Duration) (marked, prepared int) {
		t.Helper()
		if err := m.Turn(t.Context(), budget); err != nil {
			t.Fatal(err)
		}
		all, err := m.Cache.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			if len(e.Outdated) > 0 && (e.Key == old.Key || e.Key == unlikely.Key) {
				marked++
			}
		}
		list, err := m.Book.Prepared()
		if err != nil {
			t.Fatal(err)
		}
		return marked, len(list)
	}
	if marked, prepared := turn(time.Minute); marked != 2 || prepared != 1 || builds != 1 {
		t.Fatalf("%d images are marked, %d noted as prepared, %d built", marked, prepared, builds)
	}
	if serving, err := m.Cache.Serving(t.Context(), cache.WishOf(old.Environment)); err != nil || serving.Key == old.Key {
		t.Errorf("the wish is served by %s still: %v", serving.Key.Short(), err)
	}
	a["one"] = "3"
	if _, prepared := turn(time.Minute); prepared != 1 || m.Book.Due(time.Now()) {
		t.Error("another turn was taken at once")
	}
	for _, at := range []time.Time{time.Now().Add(-every), time.Now().Add(time.Hour)} { // long ago; the clock was set back
		if err := os.Chtimes(m.Book.turn(), at, at); err != nil {
			t.Fatal(err)
		}
		if !m.Book.Due(time.Now()) {
			t.Errorf("no turn is due, the last one at %v", at)
		}
	}
	if _, prepared := turn(0); prepared != 1 {
		t.Error("it prepared without any time for it")
	}
}
