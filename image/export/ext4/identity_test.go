package ext4

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// buffer is a file in memory.
type buffer []byte

// WriteAt implements io.WriterAt.
func (b buffer) WriteAt(p []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(p)) > int64(len(b)) {
		return 0, io.ErrShortWrite
	}
	return copy(b[at:], p), nil
}

// What is used, and an identity, make a whole file system of a disk that has
// anything elsewhere; without the head it is none.
func TestUsedAndIdentity(t *testing.T) {
	const size = 300 << 20
	from, err := os.ReadFile(written(t, Options{Size: size}, folder("."), folder("a"), regular("a/b", 9<<20, io.LimitReader(&marked{}, 9<<20))))
	if err != nil {
		t.Fatal(err)
	}
	l, err := Plan([]Entry{folder("."), folder("a"), regular("a/b", 9<<20, nil)}, Options{Size: size})
	if err != nil {
		t.Fatal(err)
	}
	disk := bytes.Repeat([]byte{0xa5}, size)
	used := int64(0)
	for _, r := range l.Used() {
		copy(disk[max(r.From, HeadSize):r.To], from[max(r.From, HeadSize):r.To])
		used += r.To - r.From
	}
	if used > 48<<20 {
		t.Errorf("%d MiB are in use", used>>20)
	}
	p := filepath.Join(t.TempDir(), "fs")
	if err := os.WriteFile(p, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	if disk[superAt+atMagic] != 0xa5 {
		t.Fatal("the head was copied")
	}
	id := [16]byte{0xde, 0xad, 0xbe, 0xef, 0, 0, 0x80, 0, 0x80, 0, 0, 0, 0, 0, 0, 1}
	f, err := os.OpenFile(p, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Identify(f, bytes.Clone(from[:HeadSize]), Identity{ID: id, Label: "mine"}); err != nil {
		t.Fatal(err)
	}
	run(t, "e2fsck", "-fn", p)
	for _, from := range [][]string{{"dumpe2fs", "-h"}, {"dumpe2fs", "-h", "-o", "superblock=32768", "-o", "blocksize=4096"}} {
		out := run(t, append(from, p)...)
		if !strings.Contains(out, "deadbeef-0000-8000-8000-000000000001") || !strings.Contains(out, "Filesystem volume name:   mine\n") {
			t.Errorf("%v: %s", from, out)
		}
	}
}

func TestIdentityIsRefused(t *testing.T) {
	l, err := Plan([]Entry{folder(".")}, Options{Size: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	good := make(buffer, 16<<20)
	if err := l.Write(t.Context(), good); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		summary string
		change  func(head []byte) ([]byte, Identity)
	}{
		{"half a head", func(h []byte) ([]byte, Identity) { return h[:2048], Identity{} }},
		{"no head", func(h []byte) ([]byte, Identity) { return make([]byte, HeadSize), Identity{} }},
		{"a long label", func(h []byte) ([]byte, Identity) { return h, Identity{Label: strings.Repeat("x", 17)} }},
		{"checksums", func(h []byte) ([]byte, Identity) { h[superAt+atReadOnly+1] |= 4; return h, Identity{} }},
	} {
		head, id := c.change(bytes.Clone(good[:HeadSize]))
		to := make(buffer, 16<<20)
		if err := Identify(to, head, id); err == nil {
			t.Errorf("%s is taken", c.summary)
		}
		if !isZero(to) {
			t.Errorf("%s: something was written", c.summary)
		}
	}
}

func FuzzIdentify(f *testing.F) {
	l, err := Plan([]Entry{folder(".")}, Options{Size: 16 << 20})
	if err != nil {
		f.Fatal(err)
	}
	good := make(buffer, 16<<20)
	if err := l.Write(f.Context(), good); err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(good[:HeadSize]))
	f.Fuzz(func(t *testing.T, head []byte) {
		to := make(buffer, 1<<20)
		err := Identify(to, head, Identity{ID: [16]byte{1}})
		if err == nil && !bytes.Equal(to[superAt+atID:][:16], append([]byte{1}, make([]byte, 15)...)) {
			t.Error("the identity is not there")
		}
	})
}
