package squashfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
)

// memFile is an image in memory, which several may write at once.
type memFile struct {
	mu sync.Mutex // guards b while it is written
	b  []byte
}

func (m *memFile) WriteAt(b []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if end := off + int64(len(b)); end > int64(len(m.b)) {
		m.b = append(m.b, make([]byte, end-int64(len(m.b)))...)
	}
	return copy(m.b[off:], b), nil
}

// sample is an entry with its content.
type sample struct {
	Entry
	content []byte
}

func dir(p string) sample { return sample{Entry: Entry{Path: p, Mode: fs.ModeDir | 0o755}} }

func file(p string, content []byte) sample {
	return sample{Entry{Path: p, Mode: 0o644, Size: int64(len(content))}, content}
}

// noise returns n bytes that do not compress, text n bytes that do.
func noise(seed uint64, n int) []byte {
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(key).Read(b) // never gives an error
	return b
}

func text(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	words := strings.Fields("a text of some words that come again and again like those of people")
	b := make([]byte, 0, n+100)
	for len(b) < n {
		b = append(append(b, words[r.IntN(len(words))]...), " \n"[r.IntN(2)], byte('a'+r.IntN(26)))
	}
	return b[:n]
}

// write makes an image of the samples.
func write(t testing.TB, o Options, all ...sample) []byte {
	t.Helper()
	var m memFile
	w, err := NewWriter(&m, o)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for _, s := range all {
		if err := w.Add(s.Entry, bytes.NewReader(s.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if w.Size() != int64(len(m.b)) {
		t.Fatalf("Size() = %d, image has %d bytes", w.Size(), len(m.b))
	}
	return m.b
}

func openImage(t testing.TB, image []byte) *Reader {
	t.Helper()
	r, err := NewReader(bytes.NewReader(image), int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// everything holds one of each kind, and contents around the block size.
func everything(block int) []sample {
	n := func(p string, mode fs.FileMode, e Entry) sample {
		e.Path, e.Mode = p, mode
		return sample{Entry: e}
	}
	all := []sample{
		{Entry: Entry{Path: ".", Mode: fs.ModeDir | 0o755, ModTime: 1}},
		dir("etc"), dir("empty"), dir("a"), dir("a/b"), dir("a/b/c"), dir("dev"), dir("a-b"),
		n("tmp", fs.ModeDir|fs.ModeSticky|0o777, Entry{UID: 1000, GID: 4294967294}),
		n("dev/null", fs.ModeDevice|fs.ModeCharDevice|0o666, Entry{Major: 1, Minor: 3}),
		n("dev/sda", fs.ModeDevice|0o660, Entry{GID: 6, Major: 259, Minor: 70000}),
		n("dev/max", fs.ModeDevice|0o660, Entry{Major: maxMajor, Minor: maxMinor}),
		n("gone", fs.ModeDevice|fs.ModeCharDevice, Entry{}),
		n("pipe", fs.ModeNamedPipe|0o600, Entry{UID: 7}),
		n("sock", fs.ModeSocket|0o700, Entry{UID: 8}),
		n("link", fs.ModeSymlink|0o777, Entry{Link: "a/b/../c", ModTime: 1<<32 - 1}),
		n("long", fs.ModeSymlink|0o777, Entry{Link: strings.Repeat("x/", maxLink/2) + "x"}),
		file("zero", nil),
		file("a/one", []byte("x")),
		file("a/b/noise", noise(1, 3*block+17)),
		file("a/b/text", text(2, 2*block+block/2)),
		file("a/b/c/holes", append(append(make([]byte, 2*block), noise(3, 100)...), make([]byte, 3*block)...)),
		file("a/b/c/nil", make([]byte, 4*block)),
		file("a/b/c/nil+1", make([]byte, 4*block+1)),
		file("\xff\xfe not text \n", text(5, 10)),
		file(strings.Repeat("n", maxName), text(6, 10)),
		n("a-b/hard", 0, Entry{Hardlink: "a/b/text"}),
		n("hard", 0, Entry{Hardlink: "a/b/text"}),
		n("softhard", 0, Entry{Hardlink: "link"}),
		n("suid", fs.ModeSetuid|fs.ModeSetgid|0o755, Entry{UID: 0, GID: 43}),
	}
	for i, size := range []int{block - 1, block, block + 1, 2 * block, 2*block - 1, 2*block + 1} {
		all = append(all, file(fmt.Sprintf("etc/text%d", i), text(uint64(i), size)),
			file(fmt.Sprintf("etc/noise%d", i), noise(uint64(i), size)))
	}
	for i := range 40 {
		all = append(all, file(fmt.Sprintf("etc/small%d", i), text(uint64(i), i*block/37)))
	}
	return all
}

// checkImage compares what r says with the samples.
func checkImage(t *testing.T, r *Reader, all []sample) {
	t.Helper()
	want := map[string]sample{}
	for _, s := range all {
		if s.Hardlink != "" {
			p := s.Path
			s = want[s.Hardlink]
			s.Path = p
		}
		want[s.Path] = s
	}
	last := ""
	for e, err := range r.Entries() {
		if err != nil {
			t.Fatal(err)
		}
		if last != "" && comparePaths(last, e.Path) >= 0 {
			t.Errorf("%q comes after %q", e.Path, last)
		}
		last = e.Path
		s, ok := want[e.Path]
		if !ok {
			t.Errorf("%q was not written", e.Path)
			continue
		}
		delete(want, e.Path)
		got := e
		got.Hardlink = ""
		if got != s.Entry {
			t.Errorf("got  %+v\nwant %+v", got, s.Entry)
		}
		if e.Mode.IsRegular() {
			f, err := r.Open(e.Path)
			if err != nil {
				t.Errorf("%q: %v", e.Path, err)
				continue
			}
			b, err := io.ReadAll(f)
			if err != nil || !bytes.Equal(b, s.content) {
				t.Errorf("%q: %d bytes, want %d, error %v", e.Path, len(b), len(s.content), err)
			}
		}
	}
	for p := range want {
		t.Errorf("%q is missing", p)
	}
}

func variants() []Options {
	return []Options{
		{BlockSize: 4096}, {BlockSize: 64 << 10, Level: 3}, {BlockSize: 8192, Level: 19}, {Compression: LZ4, BlockSize: 16 << 10},
		{Compression: LZ4, Level: 9, BlockSize: 32 << 10}, {Compression: None, BlockSize: 16 << 10},
	}
}

func (o Options) name() string {
	return fmt.Sprintf("%s-%d-%dk", o.Compression, o.Level, o.BlockSize>>10)
}

func TestRoundTrip(t *testing.T) {
	for _, o := range variants() {
		o, err := o.complete()
		if err != nil {
			t.Fatal(err)
		}
		t.Run(o.name(), func(t *testing.T) {
			all := everything(o.BlockSize)
			checkImage(t, openImage(t, write(t, o, all...)), all)
		})
	}
}

func TestAddErrors(t *testing.T) {
	d := fs.ModeDir | 0o755
	for _, c := range []struct {
		summary string
		all     []sample
		want    string
	}{
		{"duplicate", []sample{dir("."), dir("a"), dir("a")}, "added before"},
		{"no root", []sample{dir("a")}, "root folder was not added"},
		{"missing parent", []sample{dir("."), dir("a/b")}, "a/b: its parent folder was not added"},
		{"parent is a file", []sample{dir("."), file("a", nil), file("a/b", nil)}, "not a folder"},
		{"absolute", []sample{dir("/a")}, "not relative and clean"},
		{"dots", []sample{dir("a/../b")}, "not relative and clean"},
		{"NUL", []sample{dir("a\x00b")}, "NUL"},
		{"name", []sample{dir(strings.Repeat("x", 256))}, "256 bytes"},
		{"old", []sample{{Entry: Entry{Path: ".", Mode: d, ModTime: -1}}}, "modification time"},
		{"future", []sample{{Entry: Entry{Path: ".", Mode: d, ModTime: 1 << 32}}}, "modification time"},
		{"short", []sample{{Entry{Path: "a", Mode: 0o644, Size: 9}, []byte("x")}}, "unexpected EOF"},
		{"long", []sample{{Entry{Path: "a", Mode: 0o644, Size: 1}, []byte("xx")}}, "longer than"},
		{"empty but not", []sample{{Entry{Path: "a", Mode: 0o644}, []byte("xx")}}, "longer than"},
		{"short block", []sample{{Entry{Path: "a", Mode: 0o644, Size: 9 << 20}, make([]byte, 8<<20)}}, "unexpected EOF"},
		{"hard link first", []sample{{Entry: Entry{Path: "a", Hardlink: "b"}}, file("b", nil)}, "not added before"},
		{"hard link to folder", []sample{dir("b"), {Entry: Entry{Path: "a", Hardlink: "b"}}}, "is a folder"},
		{"no target", []sample{{Entry: Entry{Path: "a", Mode: fs.ModeSymlink}}}, "symbolic link"},
		{"device", []sample{{Entry: Entry{Path: "a", Mode: fs.ModeDevice, Major: 4096}}}, "device 4096:0"},
		{"type", []sample{{Entry: Entry{Path: "a", Mode: fs.ModeIrregular}}}, "no such type"},
		{"root is a file", []sample{file(".", nil)}, "root is not a folder"},
	} {
		t.Run(c.summary, func(t *testing.T) {
			var m memFile
			w, err := NewWriter(&m, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range c.all {
				if err = w.Add(s.Entry, bytes.NewReader(s.content)); err != nil {
					break
				}
			}
			end := w.Close()
			if err == nil {
				err = end
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v: should contain %q", err, c.want)
			}
			if err != end {
				t.Errorf("Close gives %v, not the first error %v", end, err)
			}
			if len(m.b) > 0 && bytes.HasPrefix(m.b, []byte("hsqs")) {
				t.Error("a superblock was written after an error")
			}
		})
	}
}

func TestOptionErrors(t *testing.T) {
	for _, o := range []Options{
		{BlockSize: 1000}, {BlockSize: 2 << 20}, {BlockSize: 2048}, {Compression: "gzip"},
		{Level: 23}, {Compression: LZ4, Level: 10}, {Jobs: -1}, {Compression: None, Level: 1},
	} {
		if w, err := NewWriter(&memFile{}, o); err == nil {
			w.Abort()
			t.Errorf("%+v was accepted", o)
		}
	}
}

// fullDisk refuses to write beyond a limit.
type fullDisk struct {
	memFile
	limit int64
}

var errFull = errors.New("no space left")

func (d *fullDisk) WriteAt(b []byte, off int64) (int, error) {
	if off+int64(len(b)) > d.limit {
		return 0, errFull
	}
	return d.memFile.WriteAt(b, off)
}

func TestFullDisk(t *testing.T) {
	d := &fullDisk{limit: 1 << 20}
	w, err := NewWriter(d, Options{Jobs: 3})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(dir(".").Entry, nil); err != nil {
		t.Fatal(err)
	}
	const big = 64 << 20
	err = w.Add(Entry{Path: "a", Size: big}, io.LimitReader(rand.NewChaCha8([32]byte{}), big))
	if err == nil {
		err = w.Add(Entry{Path: "b"}, nil)
	}
	if !errors.Is(err, errFull) || !errors.Is(w.Close(), errFull) {
		t.Errorf("Add: %v, Close: %v", err, w.Close())
	}
}

func TestAfterClose(t *testing.T) {
	var m memFile
	w, err := NewWriter(&m, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(dir(".").Entry, nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w.Abort()
	if err := w.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if err := w.Add(dir("a").Entry, nil); err == nil {
		t.Error("Add after Close gave no error")
	}
}

func TestSameBytes(t *testing.T) {
	for _, o := range variants() {
		o, _ := o.complete()
		all := everything(o.BlockSize)
		var first []byte
		for _, jobs := range []int{1, 4, 2, 1} {
			o.Jobs = jobs
			b := write(t, o, all...)
			if first == nil {
				first = b
			}
			if !bytes.Equal(first, b) {
				t.Errorf("%s: %d jobs give other bytes than 1", o.name(), jobs)
			}
		}
	}
}
