package index

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sort"
	"sync"

	"golang.org/x/sys/unix"

	"ore"
)

// ErrDamaged is returned for bytes that Build did not make.
var ErrDamaged = errors.New("damaged index")

// Index is a file that was opened.
type Index struct {
	sec [sections][]byte
}

// maxFile bounds a file: ten million images of a thousand packages each.
const maxFile = 8 << 30

// Open maps the file at path. The map ends when the Index is no longer used. A
// goroutine of beside has the kernel map it ahead of questions, in less than a
// millisecond: whoever waits for beside owns it.
func Open(path string, beside *sync.WaitGroup) (*Index, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	if info.Size() < int64(headerSize) || info.Size() > maxFile {
		return nil, fmt.Errorf("open index %s: %d bytes: %w", path, info.Size(), ErrDamaged)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("open index %s: %w", path, err)
	}
	x, err := Parse(b)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open index %s: %w", path, err), unix.Munmap(b))
	}
	beside.Go(func() { x.ahead(b) })
	runtime.AddCleanup(x, func(b []byte) { _ = unix.Munmap(b) }, b)
	return x, nil
}

// maxAhead bounds what is mapped ahead of the first question: that of ten thousand
// images takes 4 MB, and of what is much larger a question needs little.
const maxAhead = 16 << 20

// ahead has the kernel map what a question reads of x, the file b, beside whoever
// asks: that is some hundred lists and then as many names, all over the place, and
// mapping these takes longer than the rest of the question. It ends by itself, in
// less than a millisecond; what it was too late for is mapped when it is read, as
// is all where the kernel cannot do it at once (before Linux 5.14).
func (x *Index) ahead(b []byte) {
	defer runtime.KeepAlive(x) // the map ends with x
	page := uint64(os.Getpagesize())
	at := func(section int) uint64 { return binary.LittleEndian.Uint64(b[len(magic)+8+8*section:]) }
	from := at(secLists) / page * page
	if at(secNotes)-from > maxAhead {
		return
	}
	for _, to := range []uint64{at(secByID), at(secNotes)} {
		_ = unix.Madvise(b[from:to], unix.MADV_POPULATE_READ)
		from = max(from, to/page*page)
	}
}

// Parse reads a file from b, which must not change while the Index is used.
// Damage of lists and names is seen by who reads them.
func Parse(b []byte) (*Index, error) {
	if len(b) < headerSize || string(b[:len(magic)]) != magic {
		return nil, ErrDamaged
	}
	x := &Index{}
	last := uint64(headerSize)
	for i := range sections {
		from := binary.LittleEndian.Uint64(b[len(magic)+8+8*i:])
		to := binary.LittleEndian.Uint64(b[len(magic)+16+8*i:])
		if from < last || to < from || to > uint64(len(b)) {
			return nil, ErrDamaged
		}
		x.sec[i], last = b[from:to], from
	}
	lists := binary.LittleEndian.Uint64(b[len(magic)+8+8*secLists:])
	if uint64(sum(b[:lists])) != binary.LittleEndian.Uint64(b[len(magic):]) {
		return nil, ErrDamaged
	}
	return x, nil
}

func (x *Index) u32(section, i int) uint32 {
	return binary.LittleEndian.Uint32(x.sec[section][4*i:])
}

// ID returns the id of the package with this hash, or 0.
func (x *Index) ID(hash uint64) uint32 {
	defer runtime.KeepAlive(x)
	hashes := x.sec[secHashes]
	n := len(hashes) / 8
	// Hashes are spread evenly, so that the place is nearly known: the search
	// begins there, in steps that double.
	at := func(i int) uint64 { return binary.LittleEndian.Uint64(hashes[8*i:]) }
	if n == 0 {
		return 0
	}
	guess := int(float64(hash) / (1 << 64) * float64(n))
	low, high := max(0, min(guess, n-1)), max(0, min(guess, n-1))
	for step := 16; low > 0 && at(low) > hash; step *= 2 {
		low = max(0, low-step)
	}
	for step := 16; high < n-1 && at(high) < hash; step *= 2 {
		high = min(n-1, high+step)
	}
	i := low + sort.Search(high-low, func(i int) bool { return at(low+i) >= hash })
	if at(i) != hash {
		return 0
	}
	return x.u32(secIDs, i)
}

// Package returns the package with this id.
func (x *Index) Package(id uint32) (ore.Package, error) {
	defer runtime.KeepAlive(x)
	table := x.sec[secByID]
	n := len(table) / byIDSize
	at := func(i int) uint32 { return binary.LittleEndian.Uint32(table[byIDSize*i:]) }
	i := int(id) - 1 // its place if no id was ever given up
	if i < 0 || i >= n || at(i) != id {
		i = sort.Search(n, func(i int) bool { return at(i) >= id })
	}
	if i == n || at(i) != id {
		return ore.Package{}, fmt.Errorf("package %d: not in the index", id)
	}
	body, ok := summed(x.sec[secNames], id, binary.LittleEndian.Uint32(table[byIDSize*i+4:]))
	var p ore.Package
	if ok {
		p, ok = parseName(body)
	}
	if !ok {
		return p, fmt.Errorf("package %d: %w", id, ErrDamaged)
	}
	return p, nil
}

// summed returns what appendSummed wrote of a number, false if it is damaged.
func summed(b []byte, number, at uint32) ([]byte, bool) {
	if uint64(at)+4 > uint64(len(b)) {
		return nil, false
	}
	want := binary.LittleEndian.Uint32(b[at:])
	b = b[at+4:]
	length, n := binary.Uvarint(b)
	if n <= 0 || length > uint64(len(b)-n) {
		return nil, false
	}
	b = b[n : n+int(length)]
	return b, bodySum(number, b) == want
}

// digestPrefix stands before the sum of a digest.
const digestPrefix = "sha256:"

func parseName(b []byte) (ore.Package, bool) {
	size, n := binary.Uvarint(b)
	if n <= 0 {
		return ore.Package{}, false
	}
	b = b[n:]
	var room [256]byte
	text, ends := room[:0], [3]int{}
	for i := range ends {
		length, n := binary.Uvarint(b)
		if n <= 0 || length > uint64(len(b)-n) {
			return ore.Package{}, false
		}
		text, b = append(text, b[n:n+int(length)]...), b[n+int(length):]
		ends[i] = len(text)
	}
	if len(b) == 1+sha256.Size && b[0] == digestSum {
		text = hex.AppendEncode(append(text, digestPrefix...), b[1:])
	} else if len(b) > 0 && b[0] == digestText {
		text = append(text, b[1:]...)
	} else {
		return ore.Package{}, false
	}
	all := string(text) // one copy for all four
	return ore.Package{
		Name: all[:ends[0]], Version: all[ends[0]:ends[1]], Arch: all[ends[1]:ends[2]], Digest: ore.Digest(all[ends[2]:]), Size: int64(size),
	}, true
}

// Named returns the places of the images with this name.
func (x *Index) Named(name uint64) []int {
	defer runtime.KeepAlive(x)
	table := x.sec[secNamed]
	n := len(table) / namedSize
	at := func(i int) uint64 { return binary.LittleEndian.Uint64(table[namedSize*i:]) }
	var places []int
	for i := sort.Search(n, func(i int) bool { return at(i) >= name }); i < n && at(i) == name; i++ {
		places = append(places, int(binary.LittleEndian.Uint32(table[namedSize*i+8:])))
	}
	return places
}

// Of returns the places of the images of a kind: so many from the first on.
func (x *Index) Of(kind uint64) (first, count int) {
	defer runtime.KeepAlive(x)
	part, ok := x.find(kind)
	if !ok {
		return 0, 0
	}
	return part.first, len(part.images) / imageSize
}

// Image returns the image at a place, but for its kind and name.
func (x *Index) Image(place int) (Image, error) {
	defer runtime.KeepAlive(x)
	if place < 0 || place >= len(x.sec[secImages])/imageSize {
		return Image{}, fmt.Errorf("image at %d: %w", place, ErrDamaged)
	}
	entry := x.sec[secImages][imageSize*place:]
	m := Image{ID: int64(binary.LittleEndian.Uint64(entry))}
	body, ok := summed(x.sec[secNotes], uint32(place), binary.LittleEndian.Uint32(entry[12:]))
	if ok {
		length, n := binary.Uvarint(body)
		if ok = n > 0 && length <= uint64(len(body)-max(n, 0)); ok {
			body = body[n:]
			m.Set, ok = ParseSet(body[:length])
			m.Note = slices.Clone(body[length:]) // the map ends with x
		}
	}
	if !ok {
		return m, fmt.Errorf("image at %d: %w", place, ErrDamaged)
	}
	return m, nil
}

// Size returns how many images and packages the file has.
func (x *Index) Size() (images, packages int) {
	return len(x.sec[secImages]) / imageSize, len(x.sec[secByID]) / byIDSize
}
