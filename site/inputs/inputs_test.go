package inputs

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ore"
	"ore/cache"
	"ore/image"
	"ore/squashfs"
)

// bench is a keeper, and how often it wrote a blob.
type bench struct {
	*Keeper
	mu     sync.Mutex // guards writes
	writes int
}

func newBench(t *testing.T) *bench {
	t.Helper()
	c, err := cache.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	k, err := Open(t.TempDir(), c)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{Keeper: k}
	// What the tests write counts as long settled.
	k.now = func() time.Time { return time.Now().Add(time.Minute) }
	k.writes = func(string) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.writes++
	}
	return b
}

func (b *bench) input(t *testing.T, source string) image.Manifest {
	t.Helper()
	m, release, err := b.Input(t.Context(), source, nil)
	if err != nil {
		t.Fatal(err)
	}
	if held, err := b.cache.Held(m.Layers[0].Digest); err != nil || !held {
		t.Errorf("it is not held: %v", err)
	}
	release()
	return m
}

// file makes a file below dir.
func file(t *testing.T, dir, name, content string) string {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func content(t *testing.T, b *bench, m image.Manifest) map[string]string {
	t.Helper()
	p, err := b.cache.Verified(t.Context(), m.Layers[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := squashfs.NewReader(f, m.Layers[0].Size)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for e, err := range r.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		all[e.Path] = e.Mode.String() + " " + e.Link
		if e.UID != 0 || e.GID != 0 || e.ModTime != 0 {
			t.Errorf("%s: owner %d:%d, time %d", e.Path, e.UID, e.GID, e.ModTime)
		}
		if !e.Mode.IsRegular() {
			continue
		}
		c, err := r.Open(e.Path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(c)
		if err != nil {
			t.Fatal(err)
		}
		all[e.Path] += string(text)
	}
	return all
}

// The bytes depend on content alone: not on where a folder is, when it was
// written, or by whom.
func TestInputOfAFolder(t *testing.T) {
	b := newBench(t)
	one, other := filepath.Join(t.TempDir(), "db"), filepath.Join(t.TempDir(), "db")
	for _, d := range []string{one, other} {
		file(t, d, "a/x", strings.Repeat("protein ", 100_000))
		file(t, d, "a.b", "dot before slash")
		file(t, d, "empty", "")
		if err := os.Symlink("a/x", filepath.Join(d, "link")); err != nil {
			t.Fatal(err)
		}
		if err := os.Link(filepath.Join(d, "a.b"), filepath.Join(d, "z")); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chtimes(filepath.Join(other, "a/x"), time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	m := b.input(t, one)
	if m2 := b.input(t, other); m2.Digest() != m.Digest() || b.writes != 2 {
		t.Errorf("a copy is %s, not %s; %d were written", m2.Digest().Short(), m.Digest().Short(), b.writes)
	}
	want := map[string]string{
		".": "drwxr-xr-x ", "a": "drwxr-xr-x ", "a/x": "-rw-r--r-- " + strings.Repeat("protein ", 100_000),
		"a.b": "-rw-r--r-- dot before slash", "z": "-rw-r--r-- dot before slash", "empty": "-rw-r--r-- ", "link": "Lrwxrwxrwx a/x",
	}
	got := content(t, b, m)
	for p, c := range want {
		if got[p] != c {
			t.Errorf("%s: %.80q, want %.80q", p, got[p], c)
		}
	}
	if len(got) != len(want) || IsFile(m) || m.Environment.Base.String() != "input/folder" || m.Environment.Manual[0] != "db" {
		t.Errorf("%d entries, %+v", len(got), m.Environment)
	}
}

func TestInputOfAFile(t *testing.T) {
	b := newBench(t)
	p := file(t, t.TempDir(), "query.fa", ">q\nMKV\n")
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(p, link); err != nil {
		t.Fatal(err)
	}
	m := b.input(t, link)
	if got := content(t, b, m); len(got) != 2 || got["input"] != "-rw-r--r-- >q\nMKV\n" || !IsFile(m) {
		t.Errorf("%q, %+v", got, m.Environment)
	}
}

// A source is read again only after a change, even one that hides its time.
func TestInputIsWrittenOnce(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	p := file(t, dir, "f", "one")
	then, err := os.Stat(p)
	if err != nil {
		t.Fatal(err)
	}
	first := b.input(t, dir)
	if again := b.input(t, dir); again.Digest() != first.Digest() || b.writes != 1 {
		t.Errorf("written %d times", b.writes)
	}
	file(t, dir, "f", "two")
	if err := os.Chtimes(p, then.ModTime(), then.ModTime()); err != nil {
		t.Fatal(err)
	}
	second := b.input(t, dir)
	if b.writes != 2 || content(t, b, second)["f"] != "-rw-r--r-- two" {
		t.Errorf("written %d times, after a change: %q", b.writes, content(t, b, second))
	}
	if _, err := b.cache.Forget(t.Context(), second.Key); err != nil {
		t.Fatal(err)
	}
	if _, err := b.cache.Path(second.Layers[0].Digest); !errors.Is(err, image.ErrMissing) {
		t.Errorf("after it was removed: %v", err)
	}
	if b.input(t, dir); b.writes != 3 {
		t.Errorf("what was removed is not made again")
	}
}

// A blob whose bytes are not those of its digest any more is not given.
func TestRottenInputIsMadeAgain(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	file(t, dir, "f", strings.Repeat("text ", 1000))
	m := b.input(t, dir)
	p, err := b.cache.Path(m.Layers[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(p, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("rot"), 200); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if again := b.input(t, dir); b.writes != 2 || again.Digest() != m.Digest() {
		t.Errorf("written %d times", b.writes)
	}
	if got := content(t, b, m)["f"]; got != "-rw-r--r-- "+strings.Repeat("text ", 1000) {
		t.Errorf("got %.60q", got)
	}
}

// What changed within a tick of being looked at may change again with the same
// times, and so is not relied on.
func TestWhatMayStillChangeIsReadAgain(t *testing.T) {
	b := newBench(t)
	b.now = func() time.Time { return time.Now().Add(-time.Minute) }
	dir := t.TempDir()
	file(t, dir, "f", "x")
	m := b.input(t, dir)
	if again := b.input(t, dir); again.Digest() != m.Digest() || b.writes != 2 {
		t.Errorf("written %d times", b.writes)
	}
}

// What is written to while it is read is refused, and leaves nothing.
func TestInputThatChangesMeanwhile(t *testing.T) {
	for summary, change := range map[string]string{"other bytes": "abd", "longer": "abcd", "shorter": "a"} {
		b := newBench(t)
		dir := t.TempDir()
		file(t, dir, "f", "abc")
		b.Keeper.writes = func(string) { file(t, dir, "f", change) }
		_, _, err := b.Input(t.Context(), dir, nil)
		if !errors.Is(err, ErrChanged) {
			t.Errorf("%s: %v", summary, err)
		}
		blobs, err := b.cache.Blobs()
		if err != nil || len(blobs) != 0 {
			t.Errorf("%s: left %v, %v", summary, blobs, err)
		}
	}
}

func TestInputsThatCannotBe(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.Input(t.Context(), dir, nil); err == nil || !strings.Contains(err.Error(), "only files, folders and links can be given") {
		t.Errorf("a pipe: %v", err)
	}
	if _, _, err := b.Input(t.Context(), filepath.Join(dir, "no"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
}

// Of many who ask at once, one makes it.
func TestInputAskedForAtOnce(t *testing.T) {
	b := newBench(t)
	dir := t.TempDir()
	file(t, dir, "f", strings.Repeat("x", 1<<20))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			_, release, err := b.Input(context.Background(), dir, nil)
			if err != nil {
				t.Error(err)
				return
			}
			release()
		})
	}
	all.Wait()
	if b.writes != 1 {
		t.Errorf("written %d times", b.writes)
	}
}

// An input that is held stays, others go when space is needed.
func TestInputsAreEvicted(t *testing.T) {
	b := newBench(t)
	used, free := file(t, t.TempDir(), "used", "u"), file(t, t.TempDir(), "free", "f")
	m, other := b.input(t, used), b.input(t, free)
	release, err := b.cache.Hold(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if _, err := b.cache.Prune(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := b.cache.Find(t.Context(), m.Key); err != nil {
		t.Errorf("the one that is held: %v", err)
	}
	if _, err := b.cache.Find(t.Context(), other.Key); !errors.Is(err, image.ErrMissing) {
		t.Errorf("the other: %v", err)
	}
}

// An input is nothing that an environment could be built upon.
func TestInputsAreNoCandidates(t *testing.T) {
	b := newBench(t)
	m := b.input(t, file(t, t.TempDir(), "f", "x"))
	for _, base := range []ore.Base{{Distribution: "debian", Suite: "bookworm"}, m.Environment.Base} {
		env := ore.Environment{Version: ore.EnvironmentVersion, Base: base, Arch: "amd64", Packages: []ore.Package{{Name: "p", Version: "1"}}}
		if found, err := b.cache.Candidates(t.Context(), env, 4); err != nil || len(found) > 0 {
			t.Errorf("%s: %+v, %v", base, found, err)
		}
	}
}

// What compresses is packed in a way that machines unpack fast, what does not is
// stored as it is.
func TestChoose(t *testing.T) {
	noise := make([]byte, 1<<20)
	r := rand.NewChaCha8([32]byte{1})
	r.Read(noise)
	for want, text := range map[squashfs.Compression]string{squashfs.None: string(noise), squashfs.LZ4: strings.Repeat("ACDEFGHIKL\n", 100_000)} {
		dir := t.TempDir()
		file(t, dir, "a", text)
		file(t, dir, "b", "")
		l, err := Look(dir)
		if err != nil {
			t.Fatal(err)
		}
		if o, err := choose(t.Context(), l); err != nil || o.Compression != want {
			t.Errorf("%s, %v; want %s", o.Compression, err, want)
		}
	}
}

func TestMemoIsBounded(t *testing.T) {
	m := Memo{Dir: t.TempDir()}
	for i := range maxMemos {
		if err := os.WriteFile(filepath.Join(m.Dir, strconv.Itoa(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Unix(1, 0)
	if err := os.Chtimes(filepath.Join(m.Dir, "7"), old, old); err != nil {
		t.Fatal(err)
	}
	l := Listing{Top: "/x", Stamp: ore.DigestOf(nil), settled: true}
	m.Keep("k", l, l, 1)
	list, err := os.ReadDir(m.Dir)
	if err != nil || len(list) != maxMemos {
		t.Errorf("%d files, %v", len(list), err)
	}
	if _, err := os.Stat(filepath.Join(m.Dir, "7")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the one that was not used for longest is there: %v", err)
	}
	var n int
	if !m.Recall("k", l, &n) || n != 1 || m.Recall("other", l, &n) {
		t.Errorf("recalled %d", n)
	}
}
