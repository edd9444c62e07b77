package image

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"golang.org/x/sys/unix"

	"ore"
)

func store(t *testing.T) *Store {
	t.Helper()
	s, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *Store, content string) ore.Digest {
	t.Helper()
	d, err := s.PutBytes(context.Background(), []byte(content))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func partial(t *testing.T, s *Store) []os.DirEntry {
	t.Helper()
	list, err := os.ReadDir(filepath.Join(s.Dir(), "partial"))
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestPutKeepsBytesUnderTheirDigest(t *testing.T) {
	s := store(t)
	d := put(t, s, "hello")
	if d != ore.DigestOf([]byte("hello")) {
		t.Errorf("digest is %s", d)
	}
	p, err := s.Verified(context.Background(), d)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(p); err != nil || string(b) != "hello" {
		t.Errorf("read %q, %v", b, err)
	}
	if left := partial(t, s); len(left) != 0 {
		t.Errorf("unfinished files left: %v", left)
	}
}

func TestPutThatFailsLeavesNothing(t *testing.T) {
	s := store(t)
	stop := errors.New("stop")
	_, _, err := s.Put(context.Background(), func(f *os.File) error {
		f.WriteString("half")
		return stop
	})
	if !errors.Is(err, stop) {
		t.Errorf("got %v", err)
	}
	blobs, err := s.Blobs()
	if err != nil || len(blobs) != 0 || len(partial(t, s)) != 0 {
		t.Errorf("blobs %v, unfinished %v, %v", blobs, partial(t, s), err)
	}
}

func TestPutStreamRefusesOtherBytes(t *testing.T) {
	s := store(t)
	want := ore.DigestOf([]byte("asked"))
	if err := s.PutStream(context.Background(), want, strings.NewReader("given")); !errors.Is(err, ErrRotten) {
		t.Errorf("got %v", err)
	}
	if _, err := s.Path(want); !errors.Is(err, ErrMissing) {
		t.Errorf("the wrong bytes are there: %v", err)
	}
}

// TestVerifiedSeesAChangedByte changes one byte in place, with the size and the
// modification time kept, as a careless tool or an attacker would.
func TestVerifiedSeesAChangedByte(t *testing.T) {
	s := store(t)
	d := put(t, s, "hello")
	p, err := s.Path(d)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(p, 0o644); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(p, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("J"), 0); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if err := os.Chtimes(p, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Verified(context.Background(), d); !errors.Is(err, ErrRotten) {
		t.Errorf("got %v, want ErrRotten", err)
	}
	if _, err := s.Path(d); !errors.Is(err, ErrMissing) {
		t.Errorf("a rotten blob can still be opened: %v", err)
	}
	if _, err := os.Stat(filepath.Join(s.Dir(), "quarantine", d.Hex())); err != nil {
		t.Errorf("the rotten blob is not in quarantine: %v", err)
	}
}

func TestSweepTakesOnlyWhatNobodyWrites(t *testing.T) {
	s := store(t)
	left := filepath.Join(s.Dir(), "partial", "blob-1")
	if err := os.WriteFile(left, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := s.Put(context.Background(), func(f *os.File) error {
		if n, err := s.Sweep(); n != 1 || err != nil {
			t.Errorf("swept %d, %v", n, err)
		}
		_, err := f.WriteString("written after the sweep")
		return err
	})
	if err != nil {
		t.Errorf("the file that was being written: %v", err)
	}
	if _, err := os.Stat(left); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was left over is still there: %v", err)
	}
}

// TestFullDisk writes to a file system of one MiB.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skipf("no small file system to fill: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	d, err := s.PutBytes(ctx, []byte("small"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.PutBytes(ctx, make([]byte, 2<<20)); !errors.Is(err, ErrFull) {
		t.Errorf("got %v", err)
	}
	if err := s.Verify(ctx, d); err != nil {
		t.Errorf("what was there before: %v", err)
	}
	if list, _ := os.ReadDir(filepath.Join(dir, "partial")); len(list) != 0 {
		t.Errorf("left behind: %v", list)
	}
}

func manifest() Manifest {
	env := ore.Environment{Version: 1, Arch: "amd64", Packages: []ore.Package{{Name: "libc6", Version: "2", Arch: "amd64", Digest: ore.DigestOf(nil)}}}
	return Manifest{
		Version: ManifestVersion, Key: env.Key(), Environment: env, Tree: ore.DigestOf([]byte("tree")),
		Layers: []Layer{{Digest: ore.DigestOf([]byte("layer")), Size: 5, Compression: "zstd", Key: env.Key()}},
	}
}

func TestManifestRoundTrip(t *testing.T) {
	m := manifest()
	if text := string(m.Encode()); strings.Contains(text, "Root") {
		t.Errorf("a manifest without roots, as those from before, is %s", text)
	}
	m.Layers[0].Root = ore.DigestOf([]byte("root"))
	got, err := DecodeManifest(m.Encode())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(m, got); d != "" {
		t.Error(d)
	}
	if !bytes.Equal(m.Encode(), got.Encode()) {
		t.Error("encoding is not stable")
	}
}

func TestDecodeManifestRefuses(t *testing.T) {
	for name, change := range map[string]func(*Manifest){
		"another environment": func(m *Manifest) { m.Environment.Arch = "arm64" },
		"no layers":           func(m *Manifest) { m.Layers = nil },
		"too many layers":     func(m *Manifest) { m.Layers = make([]Layer, MaxLayers+1) },
		"malformed root":      func(m *Manifest) { m.Layers[0].Root = "sha256:x" },
		"malformed digest":    func(m *Manifest) { m.Layers[0].Digest = "sha256:../../x" },
	} {
		t.Run(name, func(t *testing.T) {
			m := manifest()
			change(&m)
			if _, err := DecodeManifest(m.Encode()); err == nil {
				t.Error("accepted")
			}
		})
	}
}

func FuzzDecodeManifest(f *testing.F) {
	f.Add(manifest().Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := DecodeManifest(b); err == nil && len(m.Layers) == 0 {
			t.Error("a manifest without layers was accepted")
		}
	})
}

func TestListing(t *testing.T) {
	var text bytes.Buffer
	l := NewListing(&text)
	for _, it := range []Item{
		{Path: ".", Type: 'd', Mode: 0o755},
		{Path: "a", Type: 'l', Mode: 0o777, Link: "b"},
		{Path: "b", Type: 'f', Mode: 0o4755, UID: 1, GID: 2},
	} {
		if err := l.Add(it); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Add(Item{Path: "a", Type: 'd'}); err == nil {
		t.Error("an entry out of order was accepted")
	}
	d, err := l.Digest()
	if err != nil || d != ore.DigestOf(text.Bytes()) {
		t.Errorf("digest %s, %v", d, err)
	}
	if n := strings.Count(text.String(), "\n"); n != 3 {
		t.Errorf("%d lines, want 3", n)
	}
}
