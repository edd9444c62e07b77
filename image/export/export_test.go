package export

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"ore/image"
)

func formats() []Format { return []Format{Tar, OCI, Ext4, QCOW2, VMDK} }

func TestParseFormat(t *testing.T) {
	for _, c := range []struct {
		format, path string
		want         Format
	}{
		{"", "x.tar", Tar}, {"", "dir/x.oci", OCI}, {"", "my-oci/", OCI}, {"", "a/oci", OCI},
		{"", "x.ext4", Ext4}, {"", "x.raw", Ext4}, {"", "x.img", Ext4}, {"", "x.qcow2", QCOW2}, {"", "x.vmdk", VMDK},
		{"tar", "x.qcow2", Tar}, {"vmdk", "x", VMDK},
		{"", "x", ""}, {"", "x.tar.gz", ""}, {"zip", "x.tar", ""}, {"TAR", "x.tar", ""}, {"", "", ""},
	} {
		got, err := ParseFormat(c.format, c.path)
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q, %q: %q, %v", c.format, c.path, got, err)
		}
		if err != nil && !strings.Contains(err.Error(), "qcow2") {
			t.Errorf("%q, %q: the error does not say what is allowed: %v", c.format, c.path, err)
		}
	}
}

// TestTwiceTheSame exports twice and compares all bytes.
func TestTwiceTheSame(t *testing.T) {
	s, m := built(t)
	for _, f := range formats() {
		a, b := bytesOf(t, exported(t, s, m, f)), bytesOf(t, exported(t, s, m, f))
		compare(t, a, b)
		if len(a) == 0 {
			t.Errorf("%s: nothing was written", f)
		}
	}
}

// bytesOf returns the content of every file below p, or of the file p.
func bytesOf(t *testing.T, p string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(p, func(q string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(q)
		all[strings.TrimPrefix(q, p)] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// counting ends by itself after it was asked so often.
type counting struct {
	context.Context
	left *atomic.Int64
}

func (c counting) Err() error {
	if c.left.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// TestCancelled ends exports at many points: nothing may be left, and what
// stood there before must still be there.
func TestCancelled(t *testing.T) {
	s, m := built(t)
	for _, f := range formats() {
		dir := t.TempDir()
		p := filepath.Join(dir, "out")
		old := f != OCI
		if old {
			if err := os.WriteFile(p, []byte("old"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		ended := false
		for n := int64(0); !ended; n += 1 + n/2 {
			var left atomic.Int64
			left.Store(n)
			err := Write(counting{context.Background(), &left}, s, m, f, p)
			if ended = err == nil; ended {
				break
			}
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("%s after %d: %v", f, n, err)
			}
			checkLeft(t, dir, old)
		}
		if list, _ := os.ReadDir(dir); len(list) != 1 {
			t.Errorf("%s: %d entries beside the result", f, len(list)-1)
		}
	}
}

// checkLeft fails unless dir holds nothing but, maybe, the old file.
func checkLeft(t *testing.T, dir string, old bool) {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !old && len(list) == 0 {
		return
	}
	b, err := os.ReadFile(filepath.Join(dir, "out"))
	if !old || len(list) != 1 || err != nil || string(b) != "old" {
		t.Fatalf("left: %v, %v", list, err)
	}
}

// TestKilled looks at what an export has in the folder while it is written: what
// a process that is killed then would leave. A file has no name; the folder of a
// layout is removed by the next export, but not while its maker is at work.
func TestKilled(t *testing.T) {
	s, m := built(t)
	for _, f := range formats() {
		dir := t.TempDir()
		most := 0
		look := looking{context.Background(), func() {
			list, _ := os.ReadDir(dir)
			most = max(most, len(list))
		}}
		if err := Write(look, s, m, f, filepath.Join(dir, "out")); err != nil {
			t.Fatal(err)
		}
		if want := map[bool]int{true: 1, false: 0}[f == OCI]; most != want {
			t.Errorf("%s: %d entries while it is written, want %d", f, most, want)
		}
	}
}

// looking calls look each time somebody asks for the context's end.
type looking struct {
	context.Context
	look func()
}

func (l looking) Err() error {
	l.look()
	return l.Context.Err()
}

func TestPlace(t *testing.T) {
	for name, place := range map[string]func(string, func(*os.File) error) error{"without a name": place, "named": placeNamed} {
		dir := t.TempDir()
		path := filepath.Join(dir, "out")
		stale, other := filepath.Join(dir, partName(path)+"1"), filepath.Join(dir, partName(path)+"2")
		for _, d := range []string{stale, other} {
			if err := os.MkdirAll(filepath.Join(d, "part"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		lock, err := lockFolder(other)
		if err != nil {
			t.Fatal(err)
		}
		for _, content := range []string{"first", "second"} {
			err := place(path, func(f *os.File) error {
				_, err := f.WriteString(content)
				return err
			})
			if got, _ := os.ReadFile(path); err != nil || string(got) != content {
				t.Errorf("%s: %q, %v", name, got, err)
			}
		}
		bad := errors.New("bad")
		if err := place(path, func(*os.File) error { return bad }); !errors.Is(err, bad) {
			t.Errorf("%s: %v", name, err)
		}
		if list, _ := os.ReadDir(dir); len(list) != 2 {
			t.Errorf("%s: left: %v", name, list)
		}
		if _, err := os.Stat(other); err != nil {
			t.Errorf("%s: what somebody works on: %v", name, err)
		}
		if err := lock.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestRefused(t *testing.T) {
	s, m := built(t)
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]Target{
		"file over a folder":        {Format: Tar, Path: full},
		"layout over a full folder": {Format: OCI, Path: full},
		"layout over a file":        {Format: OCI, Path: filepath.Join(full, "f")},
		"no such folder":            {Format: Tar, Path: filepath.Join(full, "no", "x")},
		"no format":                 {Path: filepath.Join(full, "x.tar")},
		"too small":                 {Format: Ext4, Path: filepath.Join(full, "x"), Size: 1 << 20},
		"name in a vmdk":            {Format: VMDK, Path: filepath.Join(full, "a\"b")},
	} {
		if err := target.Write(context.Background(), s, m); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if list, _ := os.ReadDir(full); len(list) != 1 {
			t.Errorf("%s: left %v", name, list)
		}
	}
}

// TestRottenLayer damages a layer in the store.
func TestRottenLayer(t *testing.T) {
	s, m := built(t)
	p, err := s.Path(m.Layers[1].Digest)
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(p)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.Remove(p); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, b, 0o444); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := Write(context.Background(), s, m, Tar, filepath.Join(dir, "x.tar")); !errors.Is(err, image.ErrRotten) {
		t.Errorf("got %v", err)
	}
	checkLeft(t, dir, false)
}
