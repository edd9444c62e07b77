package ext4

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ore/squashfs"
)

func folder(p string) Entry {
	return Entry{Entry: squashfs.Entry{Path: p, Mode: fs.ModeDir | 0o755, ModTime: 1_700_000_000}}
}

func regular(p string, size int64, content io.Reader) Entry {
	e := Entry{Entry: squashfs.Entry{Path: p, Mode: 0o644, Size: size}}
	e.Open = func() (io.ReadCloser, error) { return io.NopCloser(content), nil }
	return e
}

// written writes a file system to a file.
func written(t *testing.T, o Options, entries ...Entry) string {
	t.Helper()
	l, err := Plan(entries, o)
	if err != nil {
		t.Fatal(err)
	}
	p := filepath.Join(t.TempDir(), "fs")
	f, err := os.Create(p)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(l.Size()); err != nil {
		t.Fatal(err)
	}
	if err := l.Write(context.Background(), f); err != nil {
		t.Fatal(err)
	}
	return p
}

func run(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	return string(out)
}

// marked is zeros but for a line at every step.
type marked struct{ at int64 }

const markStep = 50 << 20

func mark(at int64) string { return fmt.Sprintf("mark at %12d\n", at) }

func (m *marked) Read(b []byte) (int, error) {
	clear(b)
	if m.at%markStep == 0 {
		copy(b, mark(m.at))
	}
	m.at += int64(len(b))
	return len(b), nil
}

// TestLongFile has more extents than an inode can hold, and gives them back in
// the kernel's reading.
func TestLongFile(t *testing.T) {
	const size = 14 * markStep
	p := written(t, Options{}, folder("."), regular("long", size, io.LimitReader(&marked{}, size)), regular("after", 5, strings.NewReader("after")))
	run(t, "e2fsck", "-fn", p)
	if out := run(t, "debugfs", "-R", "stat /long", p); !strings.Contains(out, "ETB0") {
		t.Errorf("the file has no block of extents, so the test shows nothing: %s", out)
	}
	if os.Getuid() != 0 {
		t.Skip("only root may mount")
	}
	at := t.TempDir()
	run(t, "mount", "-t", "ext4", "-o", "loop,ro", p, at)
	defer run(t, "umount", at)
	f, err := os.Open(filepath.Join(at, "long"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for off := int64(0); off < size; off += markStep {
		b := make([]byte, 64)
		want := make([]byte, 64)
		copy(want, mark(off))
		if _, err := f.ReadAt(b, off); err != nil || !bytes.Equal(b, want) {
			t.Errorf("at %d: %q, %v", off, b, err)
		}
	}
	if b, err := os.ReadFile(filepath.Join(at, "after")); string(b) != "after" {
		t.Errorf("the file after it: %q, %v", b, err)
	}
}

// TestSizes asks for sizes around those at which a group begins, at which a
// journal comes, and one whose descriptors take more than a block.
func TestSizes(t *testing.T) {
	const group = groupBlocks * blockSize
	for _, size := range []int64{
		1 << 20, 7 << 20, 8 << 20, 100<<20 + 12345, group - 65536, group, group + 65536, group + 4<<20,
		group + 9<<20, 3*group + 1<<20, 17 << 30,
	} {
		p := written(t, Options{Size: size}, folder("."), regular("f", 3, strings.NewReader("abc")))
		info, err := os.Stat(p)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Size(); got > size || got%(64<<10) != 0 || got < size-10<<20 {
			t.Errorf("asked for %d, got %d", size, got)
		}
		run(t, "e2fsck", "-fn", p)
		if out := run(t, "debugfs", "-R", "cat /f", p); !strings.HasSuffix(out, "abc") {
			t.Errorf("size %d: %s", size, out)
		}
		if size == 17<<30 {
			run(t, "e2fsck", "-fn", "-b", fmt.Sprint(49*groupBlocks), "-B", "4096", p)
		}
	}
}

// TestRoom plans trees of many shapes: all must fit what was planned for them.
func TestRoom(t *testing.T) {
	for _, files := range []int{0, 1, 1000, 40_000} {
		for _, size := range []int64{0, 1, 4096, 4097, 100_000} {
			entries := []Entry{folder(".")}
			for i := range files {
				entries = append(entries, regular(fmt.Sprintf("f%d", i), size, nil))
			}
			l, err := Plan(entries, Options{})
			if err != nil {
				t.Fatal(err)
			}
			free := int64(0)
			for i := range l.groups {
				free += int64(l.groupEnd(i)-i*groupBlocks-l.used(i)) * blockSize
			}
			if free < 64<<20 || free > 64<<20+int64(files)*(size+8192)/2+130<<20 {
				t.Errorf("%d files of %d bytes: %d bytes free of %d", files, size, free, l.Size())
			}
		}
	}
}

// TestManyFolders has more folders in one than links can be counted.
func TestManyFolders(t *testing.T) {
	entries := []Entry{folder("."), folder("d")}
	for i := range maxLinks + 10 {
		entries = append(entries, folder(fmt.Sprintf("d/%d", i)))
	}
	run(t, "e2fsck", "-fn", written(t, Options{}, entries...))
}

func TestOwnLostFound(t *testing.T) {
	p := written(t, Options{Label: "exactly sixteen.", ID: [16]byte{1, 2, 3}}, folder("."), folder(lostFound), regular("lost+found/x", 1, strings.NewReader("x")))
	run(t, "e2fsck", "-fn", p)
	if out := run(t, "debugfs", "-R", "ls /lost+found", p); !strings.Contains(out, "x") {
		t.Errorf("%s", out)
	}
	out := run(t, "dumpe2fs", "-h", p)
	if !strings.Contains(out, "exactly sixteen.\n") || !strings.Contains(out, "01020300-0000-0000-0000-000000000000") {
		t.Errorf("%s", out)
	}
}

func TestRefused(t *testing.T) {
	link := Entry{Entry: squashfs.Entry{Path: "l", Mode: fs.ModeSymlink, Link: strings.Repeat("x", 4096)}}
	other := Entry{Entry: squashfs.Entry{Path: "h", Hardlink: "none"}}
	caps := regular("c", 0, nil)
	caps.Capability = make([]byte, maxCapability+1)
	for name, entries := range map[string][]Entry{
		"nothing":          {},
		"no root":          {folder("a")},
		"no folder":        {folder("."), folder("a/b")},
		"file as folder":   {folder("."), regular("a", 0, nil), folder("a/b")},
		"twice":            {folder("."), folder("a"), folder("a")},
		"long name":        {folder("."), folder(strings.Repeat("n", 256))},
		"long link":        {folder("."), link},
		"no such name":     {folder("."), other},
		"too large":        {folder("."), regular("f", maxFile+1, nil)},
		"large capability": {folder("."), caps},
	} {
		if _, err := Plan(entries, Options{}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := Plan([]Entry{folder("."), regular("f", 10<<20, nil)}, Options{Size: 10 << 20}); err == nil || !strings.Contains(err.Error(), "at least") {
		t.Errorf("too small: %v", err)
	}
}

// TestLeastSize takes the size that the refusal of a smaller one names.
func TestLeastSize(t *testing.T) {
	entries := []Entry{folder("."), regular("f", 300<<20, &marked{})}
	_, err := Plan(entries, Options{Size: 1})
	if err == nil {
		t.Fatal("accepted")
	}
	var least int64
	_, after, _ := strings.Cut(err.Error(), "at least ")
	if _, err := fmt.Sscan(after, &least); err != nil {
		t.Fatal(err)
	}
	if l, err := Plan(entries, Options{Size: least}); err != nil || l.Size() != least {
		t.Errorf("size %d: %v", least, err)
	}
}

// TestContentOfOtherLength has content that ends too early and too late.
func TestContentOfOtherLength(t *testing.T) {
	for _, content := range []string{"ab", "abcd"} {
		l, err := Plan([]Entry{folder("."), regular("f", 3, strings.NewReader(content))}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(t.TempDir(), "fs"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		err = l.Write(context.Background(), f)
		if err == nil || len(content) < 3 && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q for 3 bytes: %v", content, err)
		}
	}
}
