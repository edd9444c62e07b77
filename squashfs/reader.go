package squashfs

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"ore/squashfs/expand"
	"slices"
	"strings"
	"sync"
)

// Reader reads an image. Its methods may be called concurrently.
type Reader struct {
	r           io.ReaderAt
	super       superblock
	compression Compression // the Writer's name for the image's compression, "" if it has none
	unpack      expand.Block
	ids         []uint32
	frags       []fragment
	items       []*item // sorted by path, the root first
	blocks      []Range
	meta        metaCache

	mu     sync.Mutex
	recent [recentFragments]expanded // guarded by mu
	next   int                       // the one of recent to be replaced next; guarded by mu
}

// item is an entry and where its content is.
type item struct {
	Entry
	ref    uint64 // position of the inode
	links  uint32
	start  int64  // of the first data block
	frag   uint32 // noFragment if there is none
	offset uint32 // in the fragment block
	list   cursor // where the block sizes stand
}

// Range is a range of bytes of an image.
type Range struct {
	Offset, Length int64
}

// recentFragments is how many expanded fragment blocks a Reader keeps: files
// that are read in the order of their paths change between few of them.
const recentFragments = 4

// expanded is a fragment block's content.
type expanded struct {
	index uint32
	data  []byte // nil if this holds nothing
}

// NewReader opens the image of size bytes in r, and checks all of its tables.
func NewReader(r io.ReaderAt, size int64) (*Reader, error) {
	x, err := open(r, size)
	if err != nil {
		return nil, fmt.Errorf("read squashfs: %w", err)
	}
	return x, nil
}

func open(f io.ReaderAt, size int64) (*Reader, error) {
	r := &Reader{r: f}
	head := make([]byte, superblockSize)
	if size < superblockSize {
		return nil, errNotSquashfs
	}
	err := r.readAt(head, 0)
	if err != nil {
		return nil, err
	}
	if r.super, err = decodeSuperblock(head, size); err != nil {
		return nil, err
	}
	if r.unpack, err = expand.New(r.super.Compressor, max(int(r.super.BlockSize), metaSize)); err != nil {
		return nil, err
	}
	switch raw := uint16(flagRawData | flagRawFragments); {
	case r.super.Flags&raw == raw:
		r.compression = None
	case r.super.Compressor == expand.Zstd:
		r.compression = Zstd
	case r.super.Compressor == expand.LZ4:
		r.compression = LZ4
	}
	if err := r.readIDs(); err != nil {
		return nil, fmt.Errorf("id table: %w", err)
	}
	if err := r.readFragments(); err != nil {
		return nil, fmt.Errorf("fragment table: %w", err)
	}
	if err := r.readTree(); err != nil {
		return nil, err
	}
	r.meta.forget() // most of it is not needed again
	return r, nil
}

// readAt fills b from off or gives an error.
func (r *Reader) readAt(b []byte, off int64) error {
	n, err := r.r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// table reads a table of n bytes, the positions of whose metadata blocks stand
// at list.
func (r *Reader) table(list uint64, n int) ([]byte, error) {
	blocks := (n + metaSize - 1) / metaSize
	if uint64(blocks)*8 > r.super.BytesUsed-list {
		return nil, io.ErrUnexpectedEOF
	}
	where := make([]byte, blocks*8)
	if err := r.readAt(where, int64(list)); err != nil {
		return nil, err
	}
	out := make([]byte, 0, n)
	for i := range blocks {
		b, _, err := r.metaBlock(int64(binary.LittleEndian.Uint64(where[i*8:])))
		if err != nil {
			return nil, err
		}
		want := min(metaSize, n-len(out))
		if len(b) < want {
			return nil, io.ErrUnexpectedEOF
		}
		out = append(out, b[:want]...)
	}
	return out, nil
}

func (r *Reader) readIDs() error {
	b, err := r.table(r.super.IDTable, int(r.super.IDs)*4)
	for i := 0; i < len(b); i += 4 {
		r.ids = append(r.ids, binary.LittleEndian.Uint32(b[i:]))
	}
	return err
}

func (r *Reader) readFragments() error {
	n := int64(r.super.Fragments)
	if n == 0 {
		return nil
	}
	if n > int64(r.super.BytesUsed) {
		return errors.New("more fragment blocks than bytes")
	}
	b, err := r.table(r.super.FragTable, int(n)*fragmentSize)
	if err != nil {
		return err
	}
	r.frags = make([]fragment, n)
	for i := range r.frags {
		e := b[i*fragmentSize:]
		f := &r.frags[i]
		f.index, f.word = uint32(i), binary.LittleEndian.Uint32(e[8:])
		f.start = int64(binary.LittleEndian.Uint64(e))
		if err := r.checkBlock(f.start, f.word); err != nil {
			return err
		}
	}
	return nil
}

var errBlock = errors.New("data block outside of the image or longer than the block size")

// checkBlock checks that a stored block lies where data can be.
func (r *Reader) checkBlock(start int64, word uint32) error {
	n := int64(word &^ blockRaw)
	if n > int64(r.super.BlockSize) || start < superblockSize || start > int64(r.super.InodeTable)-n {
		return errBlock
	}
	return nil
}

// Entries returns all entries, sorted by path; the root is first. Of several
// names of one file all but the first are hard links to the first.
func (r *Reader) Entries() iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for i := range r.items {
			if !yield(r.items[i].Entry, nil) {
				return
			}
		}
	}
}

// Lookup returns the entry of path. A path that does not exist gives an error
// for which errors.Is(err, fs.ErrNotExist) holds.
func (r *Reader) Lookup(path string) (Entry, error) {
	i, err := r.find(path)
	if err != nil {
		return Entry{}, err
	}
	return i.Entry, nil
}

func (r *Reader) find(path string) (*item, error) {
	i, ok := slices.BinarySearchFunc(r.items, path, func(i *item, p string) int { return comparePaths(i.Path, p) })
	if !ok {
		return nil, fmt.Errorf("read squashfs: %s: %w", path, fs.ErrNotExist)
	}
	return r.items[i], nil
}

// comparePaths orders paths by their bytes, but the root before all.
func comparePaths(a, b string) int {
	if a == "." || b == "." {
		return cmp.Compare(len(strings.TrimPrefix(a, ".")), len(strings.TrimPrefix(b, ".")))
	}
	return strings.Compare(a, b)
}

// file returns the regular file at path, the first name's if it is a hard link.
func (r *Reader) file(path string) (*item, error) {
	i, err := r.find(path)
	if err == nil && i.Hardlink != "" {
		i, err = r.find(i.Hardlink)
	}
	if err != nil {
		return nil, err
	}
	if !i.Mode.IsRegular() {
		return nil, fmt.Errorf("read squashfs: %s: not a regular file", path)
	}
	return i, nil
}

// Blocks returns where the image's data and fragment blocks are, sorted, each
// once. These are the places at which an image is best cut into chunks: equal
// content gives equal blocks.
func (r *Reader) Blocks() []Range { return slices.Clone(r.blocks) }
