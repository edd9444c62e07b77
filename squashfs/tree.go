package squashfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
)

// Limits of a walk through an image's tree, in relation to the image's size.
// Metadata can be compressed by a factor of several hundred and can be referred
// to again and again, so that without them a small hostile image could occupy
// its reader for hours. An entry of a real image takes at least some 4 bytes
// compressed; of the block sizes of a sparse file, which are all the same, 2048
// make a metadata block of 13 bytes.
const (
	entriesPerByte = 4
	wordsPerByte   = metaSize/4/13 + 1
	limitBase      = 1 << 14 // for images that are almost empty
	maxDepth       = 4096    // of folders: PATH_MAX bytes of path hold fewer
)

// walker reads an image's tree.
type walker struct {
	r       *Reader
	dirs    map[uint64]bool  // positions of the folders seen
	seen    map[int64]bool   // beginnings of the data blocks seen
	entries int64            // still allowed
	words   int64            // still allowed
	linked  map[uint64]*item // files with several names, by position
	stack   []folder
}

// folder is a folder that is still to be listed.
type folder struct {
	path  string
	depth int
	at    cursor
	size  int // of the listing
}

var (
	errTooMany = errors.New("more entries or blocks than an image of this size can have")
	errListing = errors.New("damaged folder listing")
	errInode   = errors.New("damaged inode")
)

// readTree fills r.items and r.blocks.
func (r *Reader) readTree() error {
	size := int64(r.super.BytesUsed)
	w := &walker{
		r: r, dirs: map[uint64]bool{}, seen: map[int64]bool{}, linked: map[uint64]*item{},
		entries: limitBase + entriesPerByte*size, words: limitBase + wordsPerByte*size,
	}
	if err := w.add(".", 0, r.super.Root); err != nil {
		return fmt.Errorf("root folder: %w", err)
	}
	if len(r.items) != 1 || !r.items[0].Mode.IsDir() {
		return fmt.Errorf("root folder: %w", errInode)
	}
	for len(w.stack) > 0 {
		d := w.stack[len(w.stack)-1]
		w.stack = w.stack[:len(w.stack)-1]
		if err := w.list(d); err != nil {
			return fmt.Errorf("%s: %w", d.path, err)
		}
	}
	for i := range r.frags {
		w.block(r.frags[i].start, r.frags[i].word)
	}
	slices.SortFunc(r.items, func(a, b *item) int { return comparePaths(a.Path, b.Path) })
	slices.SortFunc(r.blocks, func(a, b Range) int { return int(a.Offset - b.Offset) })
	r.link()
	return nil
}

// link makes hard links of all names of a file but the first.
func (r *Reader) link() {
	first := map[uint64]*item{}
	for _, i := range r.items {
		if i.links < 2 || i.Mode.IsDir() {
			continue
		}
		if f := first[i.ref]; f != nil {
			i.Hardlink = f.Path
		} else {
			first[i.ref] = i
		}
	}
}

// list reads a folder's listing (see tables.listing for its form).
func (w *walker) list(d folder) error {
	var head [dirHeaderSize]byte
	last := ""
	for left := d.size; left > 0; {
		if left < dirHeaderSize {
			return errListing
		}
		if err := w.r.read(head[:], &d.at); err != nil {
			return err
		}
		left -= dirHeaderSize
		count := binary.LittleEndian.Uint32(head[:])
		block := binary.LittleEndian.Uint32(head[4:])
		if count >= maxDirRun {
			return errListing
		}
		for range count + 1 {
			name, offset, err := w.entry(&d.at)
			if err != nil {
				return err
			}
			// The kernel's search wants names sorted, too.
			if left -= dirEntrySize + len(name); left < 0 || name <= last {
				return errListing
			}
			last = name
			if err := w.add(path.Join(d.path, name), d.depth+1, uint64(block)<<16|uint64(offset)); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}

// entry reads an entry of a folder's listing.
func (w *walker) entry(c *cursor) (name string, offset uint16, err error) {
	var b [dirEntrySize]byte
	if err := w.r.read(b[:], c); err != nil {
		return "", 0, err
	}
	n := int(binary.LittleEndian.Uint16(b[6:])) + 1
	if n > maxName {
		return "", 0, errListing
	}
	var text [maxName]byte
	if err := w.r.read(text[:n], c); err != nil {
		return "", 0, err
	}
	name = string(text[:n])
	if name == "." || strings.IndexByte(name, '/') >= 0 || checkPath(name) != nil {
		return "", 0, errListing
	}
	return name, binary.LittleEndian.Uint16(b[:]), nil
}

// add reads the inode at ref and records it under the path p.
func (w *walker) add(p string, depth int, ref uint64) error {
	if w.entries--; w.entries < 0 {
		return errTooMany
	}
	if old := w.linked[ref]; old != nil {
		i := *old
		i.Path = p
		w.r.items = append(w.r.items, &i)
		return nil
	}
	i, err := w.inode(p, depth, ref)
	if err != nil {
		return err
	}
	if i.links > 1 && !i.Mode.IsDir() {
		w.linked[ref] = i
	}
	w.r.items = append(w.r.items, i)
	return nil
}

// inode reads the inode at ref, which the path p names.
func (w *walker) inode(p string, depth int, ref uint64) (*item, error) {
	c, err := w.r.inodeCursor(ref)
	if err != nil {
		return nil, err
	}
	var head [16]byte
	if err := w.r.read(head[:], &c); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	kind := le.Uint16(head[:])
	basic := kind
	if kind > extended {
		basic -= extended
	}
	uid, gid := int(le.Uint16(head[4:])), int(le.Uint16(head[6:]))
	if kind == 0 || basic > typeSocket || uid >= len(w.r.ids) || gid >= len(w.r.ids) {
		return nil, errInode
	}
	i := &item{ref: ref, frag: noFragment, links: 1, Entry: Entry{
		Path: p, Mode: goMode(basic, le.Uint16(head[2:])),
		UID: w.r.ids[uid], GID: w.r.ids[gid], ModTime: int64(le.Uint32(head[8:])),
	}}
	switch basic {
	case typeDir:
		err = w.dir(i, kind != basic, depth, &c)
	case typeFile:
		err = w.file(i, kind != basic, &c)
	default:
		err = w.special(i, basic, &c)
	}
	return i, err
}

// inodeCursor returns the place of the inode at ref.
func (r *Reader) inodeCursor(ref uint64) (cursor, error) {
	block := ref >> 16
	offset := int(ref & 0xffff)
	if block >= r.super.DirTable-r.super.InodeTable || offset >= metaSize {
		return cursor{}, errInode
	}
	return cursor{int64(r.super.InodeTable + block), offset}, nil
}

func (w *walker) dir(i *item, ext bool, depth int, c *cursor) error {
	if w.dirs[i.ref] {
		return errors.New("folder has two parents")
	}
	w.dirs[i.ref] = true
	if depth > maxDepth {
		return errors.New("folders are nested too deeply")
	}
	le := binary.LittleEndian
	var b [24]byte
	var block uint32
	var size int
	var offset uint16
	if ext {
		if err := w.r.read(b[:], c); err != nil {
			return err
		}
		size, block, offset = int(le.Uint32(b[4:])), le.Uint32(b[8:]), le.Uint16(b[18:])
	} else {
		if err := w.r.read(b[:16], c); err != nil {
			return err
		}
		block, size, offset = le.Uint32(b[:]), int(le.Uint16(b[8:])), le.Uint16(b[10:])
	}
	if size > emptyDirSize {
		at := cursor{int64(w.r.super.DirTable) + int64(block), int(offset)}
		w.stack = append(w.stack, folder{i.Path, depth, at, size - emptyDirSize})
	}
	return nil
}

func (w *walker) file(i *item, ext bool, c *cursor) error {
	le := binary.LittleEndian
	var b [40]byte
	var start, size uint64
	if ext {
		if err := w.r.read(b[:], c); err != nil {
			return err
		}
		start, size = le.Uint64(b[:]), le.Uint64(b[8:])
		i.links, i.frag, i.offset = le.Uint32(b[24:]), le.Uint32(b[28:]), le.Uint32(b[32:])
	} else {
		if err := w.r.read(b[:16], c); err != nil {
			return err
		}
		start, size = uint64(le.Uint32(b[:])), uint64(le.Uint32(b[12:]))
		i.frag, i.offset = le.Uint32(b[4:]), le.Uint32(b[8:])
	}
	if size > math.MaxInt64/2 || start > w.r.super.BytesUsed {
		return errInode
	}
	i.Size, i.start, i.list = int64(size), int64(start), *c
	if i.frag != noFragment {
		tail := uint32(i.Size % int64(w.r.super.BlockSize))
		if int64(i.frag) >= int64(len(w.r.frags)) || tail == 0 || i.offset > w.r.super.BlockSize-tail {
			return errInode
		}
	}
	return w.scan(i)
}

// scan checks a file's data blocks and records where they are.
func (w *walker) scan(i *item) error {
	n := w.r.blockCount(i)
	if n > w.words || n > maxBlocks {
		return errTooMany
	}
	w.words -= n
	at, c := i.start, i.list
	return w.r.eachWord(n, &c, func(word uint32) error {
		if word == 0 {
			return nil
		}
		if err := w.r.checkBlock(at, word); err != nil {
			return err
		}
		w.block(at, word)
		at += int64(word &^ blockRaw)
		return nil
	})
}

func (w *walker) block(start int64, word uint32) {
	n := int64(word &^ blockRaw)
	if n > 0 && !w.seen[start] {
		w.seen[start] = true
		w.r.blocks = append(w.r.blocks, Range{start, n})
	}
}

// blockCount returns how many blocks of its own a file has.
func (r *Reader) blockCount(i *item) int64 {
	size := int64(r.super.BlockSize)
	n := i.Size / size
	if i.frag == noFragment && i.Size%size > 0 {
		n++
	}
	return n
}

// eachWord calls f with the n block sizes at c.
func (r *Reader) eachWord(n int64, c *cursor, f func(uint32) error) error {
	var b [1024]byte
	for n > 0 {
		part := b[:4*min(n, int64(len(b)/4))]
		if err := r.read(part, c); err != nil {
			return err
		}
		n -= int64(len(part) / 4)
		for ; len(part) > 0; part = part[4:] {
			if err := f(binary.LittleEndian.Uint32(part)); err != nil {
				return err
			}
		}
	}
	return nil
}

// blockList returns the sizes of a file's blocks.
func (r *Reader) blockList(i *item) ([]uint32, error) {
	n, c := r.blockCount(i), i.list
	words := make([]uint32, 0, n)
	err := r.eachWord(n, &c, func(word uint32) error {
		words = append(words, word)
		return nil
	})
	return words, err
}

func (w *walker) special(i *item, kind uint16, c *cursor) error {
	le := binary.LittleEndian
	var b [8]byte
	n := 4
	if kind == typeSymlink || kind == typeBlockDev || kind == typeCharDev {
		n = 8
	}
	if err := w.r.read(b[:n], c); err != nil {
		return err
	}
	i.links = le.Uint32(b[:])
	switch kind {
	case typeBlockDev, typeCharDev:
		i.Major, i.Minor = decodeDevice(le.Uint32(b[4:]))
	case typeSymlink:
		size := le.Uint32(b[4:])
		if size == 0 || size > maxLink {
			return errInode
		}
		text := make([]byte, size)
		if err := w.r.read(text, c); err != nil {
			return err
		}
		i.Link = string(text)
	}
	return nil
}
