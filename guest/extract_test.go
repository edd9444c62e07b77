package guest_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ore/guest"
)

// stream makes a tar stream of headers; a regular file's content is its name.
func stream(t testing.TB, headers ...tar.Header) *bytes.Buffer {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			w.Write([]byte(h.Name))
		}
	}
	w.Close()
	return &b
}

// place returns a folder to extract to, inside of one that is watched.
func place(t testing.TB) (outside string, dir *os.Root) {
	t.Helper()
	outside = t.TempDir()
	os.WriteFile(filepath.Join(outside, "victim"), []byte("untouched"), 0o644)
	inside := filepath.Join(outside, "results")
	os.Mkdir(inside, 0o755)
	dir, err := os.OpenRoot(inside)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return outside, dir
}

// unharmed checks that nothing around the folder changed, and that nothing in
// it leads out or is other than files, folders and links.
func unharmed(t *testing.T, outside string) {
	t.Helper()
	entries, err := os.ReadDir(outside)
	if err != nil || len(entries) != 2 {
		t.Errorf("beside the folder: %v, %v", entries, err)
	}
	if b, _ := os.ReadFile(filepath.Join(outside, "victim")); string(b) != "untouched" {
		t.Errorf("the file beside the folder holds %q", b)
	}
	inside := filepath.Join(outside, "results")
	filepath.WalkDir(inside, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return nil
		}
		fi, err := d.Info()
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return nil
		}
		if fi.Mode()&(fs.ModeDevice|fs.ModeNamedPipe|fs.ModeSocket|fs.ModeSetuid|fs.ModeSetgid) != 0 {
			t.Errorf("%s has mode %v", path, fi.Mode())
		}
		if fi.Mode()&fs.ModeSymlink != 0 {
			real, err := filepath.EvalSymlinks(path)
			if err == nil && real != inside && !strings.HasPrefix(real, inside+"/") {
				t.Errorf("%s leads to %s", path, real)
			}
		}
		return nil
	})
}

func TestExtractKeepsInside(t *testing.T) {
	reg, dir, sym, hard := byte(tar.TypeReg), byte(tar.TypeDir), byte(tar.TypeSymlink), byte(tar.TypeLink)
	for _, c := range []struct {
		summary string
		headers []tar.Header
		refused int
		made    string
	}{
		{"ordinary", []tar.Header{{Typeflag: dir, Name: "d/", Mode: 0o555}, {Typeflag: reg, Name: "d/f"}, {Typeflag: sym, Name: "d/l", Linkname: "f"}, {Typeflag: hard, Name: "h", Linkname: "d/f"}}, 0, "d/f d/l h"},
		{"dot-dot", []tar.Header{{Typeflag: reg, Name: "../victim"}}, 1, ""},
		{"dot-dot inside", []tar.Header{{Typeflag: reg, Name: "a/../../victim"}}, 1, ""},
		{"dot-dot that stays", []tar.Header{{Typeflag: reg, Name: "a/../b"}}, 0, "b"},
		{"absolute", []tar.Header{{Typeflag: reg, Name: "/etc/ore-test"}}, 1, ""},
		{"link to shadow", []tar.Header{{Typeflag: sym, Name: "out.tsv", Linkname: "/etc/shadow"}}, 1, ""},
		{"relative link out", []tar.Header{{Typeflag: sym, Name: "d/l", Linkname: "../../victim"}}, 1, ""},
		{"link up that stays", []tar.Header{{Typeflag: reg, Name: "f"}, {Typeflag: sym, Name: "d/l", Linkname: "../f"}}, 0, "f d/l"},
		{"through a link", []tar.Header{{Typeflag: sym, Name: "l", Linkname: "."}, {Typeflag: reg, Name: "l/f"}}, 1, "l"},
		{"links in a row", []tar.Header{{Typeflag: dir, Name: "a"}, {Typeflag: sym, Name: "a/up", Linkname: ".."}, {Typeflag: sym, Name: "out", Linkname: "a/up/../victim"}}, 1, "a/up"},
		{"hard link out", []tar.Header{{Typeflag: hard, Name: "h", Linkname: "../victim"}}, 1, ""},
		{"hard link to a link", []tar.Header{{Typeflag: sym, Name: "a/b/l", Linkname: "../../x"}, {Typeflag: hard, Name: "l", Linkname: "a/b/l"}}, 1, "a/b/l"},
		{"hard link to itself", []tar.Header{{Typeflag: reg, Name: "f"}, {Typeflag: hard, Name: "f", Linkname: "./f"}}, 1, "f"},
		{"file over a folder", []tar.Header{{Typeflag: reg, Name: "d/f"}, {Typeflag: reg, Name: "d"}}, 1, "d/f"},
		{"folder over a file", []tar.Header{{Typeflag: reg, Name: "f"}, {Typeflag: reg, Name: "f/x"}}, 1, "f"},
		{"file twice", []tar.Header{{Typeflag: reg, Name: "f"}, {Typeflag: reg, Name: "./f"}}, 0, "f f"},
		{"the folder itself as a file", []tar.Header{{Typeflag: reg, Name: "."}}, 1, ""},
		{"device", []tar.Header{{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3}}, 1, ""},
		{"pipe", []tar.Header{{Typeflag: tar.TypeFifo, Name: "p"}}, 1, ""},
		{"set-user", []tar.Header{{Typeflag: reg, Name: "su", Mode: 0o6755}}, 0, "su"},
		{"closed folder", []tar.Header{{Typeflag: dir, Name: "d", Mode: 0o1000}, {Typeflag: reg, Name: "d/f", Mode: 0o1}}, 0, "d/f"},
		{"name that no file system takes", []tar.Header{{Typeflag: reg, Name: strings.Repeat("x", 300)}}, 1, ""},
		{"many refused", []tar.Header{{Typeflag: reg, Name: "../1"}, {Typeflag: reg, Name: "../2"}, {Typeflag: reg, Name: "ok"}}, 2, "ok"},
	} {
		outside, dir := place(t)
		names, err := guest.Extract(dir, stream(t, c.headers...), guest.Limits{})
		refused := 0
		var r *guest.Refusals
		if errors.As(err, &r) {
			refused = r.Total
		} else if err != nil {
			t.Errorf("%s: %v", c.summary, err)
		}
		if got := strings.Join(names, " "); refused != c.refused || got != c.made {
			t.Errorf("%s: made %q, refused %d (%v); want %q, %d", c.summary, got, refused, err, c.made, c.refused)
		}
		unharmed(t, outside)
	}
}

func TestExtractReplacesAndDoesNotWriteThrough(t *testing.T) {
	outside, dir := place(t)
	// Somebody's earlier result is a link out of the folder, another one has a
	// second name outside of it.
	os.Symlink("../victim", filepath.Join(outside, "results/link"))
	os.Link(filepath.Join(outside, "victim"), filepath.Join(outside, "results/hard"))
	names, err := guest.Extract(dir, stream(t, tar.Header{Typeflag: tar.TypeReg, Name: "link"}, tar.Header{Typeflag: tar.TypeReg, Name: "hard"}), guest.Limits{})
	if err != nil || len(names) != 2 {
		t.Errorf("%v, %v", names, err)
	}
	unharmed(t, outside)
}

func TestExtractIsBounded(t *testing.T) {
	_, dir := place(t)
	files := []tar.Header{{Typeflag: tar.TypeReg, Name: "four"}, {Typeflag: tar.TypeReg, Name: "five5"}}
	if _, err := guest.Extract(dir, stream(t, files...), guest.Limits{Bytes: 8}); err == nil {
		t.Error("9 bytes with a limit of 8: no error")
	}
	if _, err := guest.Extract(dir, stream(t, files...), guest.Limits{Bytes: 9}); err != nil {
		t.Errorf("9 bytes with a limit of 9: %v", err)
	}
	if _, err := guest.Extract(dir, stream(t, files...), guest.Limits{Entries: 1}); err == nil {
		t.Error("two entries with a limit of one: no error")
	}
}

func TestExtractLeavesNoHalfFile(t *testing.T) {
	outside, dir := place(t)
	s := stream(t, tar.Header{Typeflag: tar.TypeReg, Name: strings.Repeat("n", 90)}).Bytes()
	if names, err := guest.Extract(dir, bytes.NewReader(s[:512+40]), guest.Limits{}); err == nil || len(names) != 0 {
		t.Errorf("cut stream: %v, %v", names, err)
	}
	if left, _ := os.ReadDir(filepath.Join(outside, "results")); len(left) != 0 {
		t.Errorf("left over: %v", left)
	}
}

func FuzzExtract(f *testing.F) {
	f.Add(stream(f, tar.Header{Typeflag: tar.TypeReg, Name: "d/f"}, tar.Header{Typeflag: tar.TypeLink, Name: "h", Linkname: "d/f"}).Bytes())
	f.Add(stream(f, tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "../x"}, tar.Header{Typeflag: tar.TypeReg, Name: "l/f"}).Bytes())
	f.Add(stream(f, tar.Header{Typeflag: tar.TypeDir, Name: "a/"}, tar.Header{Typeflag: tar.TypeSymlink, Name: "a/l", Linkname: "../a/../.."}).Bytes())
	f.Fuzz(func(t *testing.T, in []byte) {
		outside, dir := place(t)
		guest.Extract(dir, bytes.NewReader(in), guest.Limits{Bytes: 1 << 20, Entries: 100})
		unharmed(t, outside)
	})
}

// FuzzLinks lets the fuzzer choose names and targets, which random bytes of a
// tar stream rarely are.
func FuzzLinks(f *testing.F) {
	f.Add("a/l", "../x", "b", "a/l/y", "c", "../a/l")
	f.Add("d", ".", "d/e", "../..", "h", "d")
	f.Fuzz(func(t *testing.T, n1, t1, n2, t2, n3, t3 string) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range []tar.Header{
			{Typeflag: tar.TypeSymlink, Name: n1, Linkname: t1},
			{Typeflag: tar.TypeSymlink, Name: n2, Linkname: t2},
			{Typeflag: tar.TypeLink, Name: n3, Linkname: t3},
			{Typeflag: tar.TypeReg, Name: n1 + "/" + n3},
			{Typeflag: tar.TypeSymlink, Name: n3, Linkname: t1 + "/" + t2},
		} {
			if w.WriteHeader(&h) != nil {
				return
			}
		}
		w.Close()
		outside, dir := place(t)
		guest.Extract(dir, &b, guest.Limits{})
		unharmed(t, outside)
	})
}

// What comes home is for those whom the umask lets; what goes into a machine is
// as it was.
func TestExtractAndTheUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	for exact, want := range map[bool][2]os.FileMode{false: {0o700, 0o600}, true: {0o755, 0o664}} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "d", Mode: 0o755})
		w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "d/f", Mode: 0o664})
		w.Close()
		dir := t.TempDir()
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := guest.Extract(root, &b, guest.Limits{Exact: exact}); err != nil {
			t.Fatal(err)
		}
		root.Close()
		for i, name := range []string{"d", "d/f"} {
			if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != want[i] {
				t.Errorf("exact %v: %s: %v, want %v", exact, name, info.Mode(), want[i])
			}
		}
	}
}
