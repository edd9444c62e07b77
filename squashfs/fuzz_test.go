package squashfs

import (
	"bytes"
	"encoding/binary"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// visit reads all of an image, up to a limit.
func visit(b []byte) error {
	r, err := NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		return err
	}
	for e, err := range r.Entries() {
		if err != nil {
			return err
		}
		if _, err := r.Lookup(e.Path); err != nil {
			return err
		}
		if !e.Mode.IsRegular() {
			continue
		}
		f, err := r.Open(e.Path)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, io.LimitReader(f, 1<<20)); err != nil {
			return err
		}
	}
	return nil
}

// tiny has one of each kind in little space.
func tiny() []sample {
	all := []sample{
		dir("."), dir("d"), dir("d/e"), file("f", []byte("content")), file("g", make([]byte, 9000)),
		file("d/h", text(1, 4100)), file("d/e/i", noise(1, 30)),
		{Entry: Entry{Path: "l", Mode: fs.ModeSymlink, Link: "f"}},
		{Entry: Entry{Path: "w", Mode: fs.ModeDevice | fs.ModeCharDevice}},
		{Entry: Entry{Path: "p", Mode: fs.ModeNamedPipe}},
		{Entry: Entry{Path: "x", Hardlink: "f"}},
	}
	for i := range 300 { // more than a header has room for
		all = append(all, sample{Entry: Entry{Path: "d/e/name" + string(rune('a'+i/26)) + string(rune('a'+i%26)), Mode: 1}})
	}
	return all
}

// FuzzReader wants errors, not panics, hangs or much memory, from any bytes.
func FuzzReader(f *testing.F) {
	for _, o := range []Options{
		{Compression: None, BlockSize: 4096}, {Compression: Zstd, BlockSize: 4096}, {Compression: LZ4, BlockSize: 8192},
	} {
		f.Add(write(f, o, tiny()...))
	}
	images, err := filepath.Glob("testdata/*.sqfs")
	if err != nil || len(images) == 0 {
		f.Fatalf("no images in testdata: %v", err)
	}
	for _, p := range images {
		b, err := os.ReadFile(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		_ = visit(b) // any error will do
	})
}

// FuzzRoundTrip writes a file of any content and wants it back.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte("content"), 3, uint8(0))
	f.Add([]byte{0}, 9000, uint8(1))
	f.Add(noise(1, 100), 41, uint8(2))
	f.Fuzz(func(t *testing.T, b []byte, repeat int, kind uint8) {
		b = bytes.Repeat(b, max(0, repeat)%1000)
		if len(b) > 1<<20 {
			b = b[:1<<20]
		}
		o := Options{BlockSize: 4096, Compression: []Compression{Zstd, LZ4, None}[kind%3], Jobs: 2}
		all := []sample{dir("."), file("a", b), file("b", b[:len(b)/2])}
		checkImage(t, openImage(t, write(t, o, all...)), all)
	})
}

// TestDamage changes bytes of a small image's superblock and tables in turn, and cuts the image short. Nothing but an error or a tree may come of it.
func TestDamage(t *testing.T) {
	for _, o := range []Options{{Compression: None, BlockSize: 4096}, {BlockSize: 4096}} {
		image := write(t, o, tiny()...)
		r := openImage(t, image)
		refused := 0
		for i := range image {
			if i >= superblockSize && (i < int(r.super.InodeTable) || i%3 > 0) {
				continue // content can be anything, and a third of the tables takes long enough
			}
			b := bytes.Clone(image)
			b[i] ^= 1 << (i % 8)
			if visit(b) != nil {
				refused++
			}
		}
		if refused == 0 {
			t.Errorf("%+v: no damage was ever seen", o)
		}
		for n := 0; n < int(r.super.BytesUsed); n += 41 {
			if visit(image[:n]) == nil {
				t.Errorf("%+v: %d of %d bytes were accepted", o, n, len(image))
			}
		}
	}
}

// edit returns a copy of an image with a changed superblock.
func edit(t *testing.T, image []byte, f func(*superblock)) []byte {
	t.Helper()
	s, err := decodeSuperblock(image[:superblockSize], int64(len(image)))
	if err != nil {
		t.Fatal(err)
	}
	f(&s)
	head, err := s.encode()
	if err != nil {
		t.Fatal(err)
	}
	return append(head, image[superblockSize:]...)
}

// TestHostile has images whose tables lead nowhere or in circles.
func TestHostile(t *testing.T) {
	image := write(t, Options{Compression: None, BlockSize: 4096}, dir("."), dir("a"), dir("a/b"), file("a/f", text(1, 5000)))
	r := openImage(t, image)
	inodes := int(r.super.InodeTable) + 2 // behind the block's header
	find := func(path string) int {
		i, err := r.find(path)
		if err != nil {
			t.Fatal(err)
		}
		return inodes + int(i.ref&0xffff)
	}
	put := func(at int, b ...byte) []byte {
		x := bytes.Clone(image)
		copy(x[at:], b)
		return x
	}
	root := image[find("."):][:32]
	for summary, b := range map[string][]byte{
		"folder within itself":      put(find("a/b"), root...),
		"file of 2^31 bytes":        put(find("a/f")+28, 0xff, 0xff, 0xff, 0x7f),
		"fragment beyond the table": put(find("a/f")+20, 7, 0, 0, 0),
		"data beyond the image":     put(find("a/f")+16, 0xff, 0xff, 0xff, 0),
		"type 99":                   put(find("a/b"), 99, 0),
		"owner beyond the table":    put(find("a/b")+4, 9, 0),
		"listing beyond the table":  put(find("a")+16, 0xff, 0xff, 0xff),
		"root in nowhere":           edit(t, image, func(s *superblock) { s.Root = 1 << 40 }),
		"root is a file":            edit(t, image, func(s *superblock) { s.Root = uint64(find("a/f") - inodes) }),
		"2^32 fragments":            edit(t, image, func(s *superblock) { s.Fragments = 1<<32 - 1 }),
		"fragment table at the end": edit(t, image, func(s *superblock) { s.FragTable, s.Fragments = s.BytesUsed, 1 }),
		"id table at the end":       edit(t, image, func(s *superblock) { s.IDTable = s.BytesUsed - 1 }),
		"tables in disorder":        edit(t, image, func(s *superblock) { s.InodeTable = s.DirTable }),
		"longer than it is":         edit(t, image, func(s *superblock) { s.BytesUsed = 1 << 40 }),
		"version 3":                 edit(t, image, func(s *superblock) { s.Major = 3 }),
		"lzo":                       edit(t, image, func(s *superblock) { s.Compressor = 3 }),
		"blocks of 3000 bytes":      edit(t, image, func(s *superblock) { s.BlockSize = 3000 }),
		"blocks of 2 GiB":           edit(t, image, func(s *superblock) { s.BlockSize, s.BlockLog = 1<<31, 31 }),
		"log of 300":                edit(t, image, func(s *superblock) { s.BlockLog = 300 }),
		"nothing":                   nil,
	} {
		if err := visit(b); err == nil {
			t.Errorf("%s: accepted", summary)
		}
	}
}

func TestDevices(t *testing.T) {
	for _, d := range [][2]uint32{{0, 0}, {1, 3}, {259, 255}, {8, 256}, {maxMajor, maxMinor}} {
		if ma, mi := decodeDevice(encodeDevice(d[0], d[1])); ma != d[0] || mi != d[1] {
			t.Errorf("%v becomes %d:%d", d, ma, mi)
		}
	}
	if got := binary.LittleEndian.Uint32([]byte{3, 1, 0, 0}); encodeDevice(1, 3) != got {
		t.Errorf("1:3 is %#x, want %#x", encodeDevice(1, 3), got)
	}
}
