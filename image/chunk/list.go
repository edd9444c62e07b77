package chunk

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"ore"
)

// Limits of lists.
const (
	// MaxChunk bounds a chunk: it is held in memory to be verified.
	MaxChunk = 4 << 20
	// MaxChunks bounds the memory that a list takes: with chunks of the usual 80
	// KiB it is a blob of 80 GiB.
	MaxChunks = 1 << 20
	// MaxSize bounds a blob: 16 TiB, the most that an ext4 file can have.
	MaxSize = 16 << 40
	// MaxEncoded is the longest that the bytes of a list can be.
	MaxEncoded = 9 + sha256.Size + 2*binary.MaxVarintLen64 + MaxChunks*(4+sha256.Size)
)

// ErrList is what errors of lists match.
var ErrList = errors.New("damaged chunk list")

// Chunk is one piece of a blob.
type Chunk struct {
	Offset, Size int64
	Digest       ore.Digest
}

// List is a blob in pieces, which follow each other without gaps.
type List struct {
	Blob   ore.Digest
	Size   int64
	Chunks []Chunk
}

const listMagic = "orechunk\x01"

// Encode returns the list's canonical bytes.
func (l List) Encode() []byte {
	b := make([]byte, 0, 64+len(l.Chunks)*(4+sha256.Size))
	b = append(b, listMagic...)
	b = appendDigest(b, l.Blob)
	b = binary.AppendUvarint(b, uint64(l.Size))
	b = binary.AppendUvarint(b, uint64(len(l.Chunks)))
	for _, c := range l.Chunks {
		b = binary.AppendUvarint(b, uint64(c.Size))
		b = appendDigest(b, c.Digest)
	}
	return b
}

// appendDigest appends the 32 bytes that d names.
func appendDigest(b []byte, d ore.Digest) []byte {
	sum, err := hex.DecodeString(d.Hex())
	if err != nil || len(sum) != sha256.Size {
		return append(b, make([]byte, sha256.Size)...) // names nothing, and so matches nothing
	}
	return append(b, sum...)
}

// Decode reads and checks what Encode made.
func Decode(b []byte) (List, error) {
	var l List
	p := parser{b: b}
	p.magic(listMagic)
	l.Blob = p.digest()
	l.Size = p.number(MaxSize)
	n := p.number(int64(min(MaxChunks, len(p.b)/(1+sha256.Size))))
	if p.err == nil {
		l.Chunks = make([]Chunk, n)
	}
	at := int64(0)
	for i := range l.Chunks {
		size := p.number(MaxChunk)
		if p.err == nil && size == 0 {
			p.err = errors.New("a chunk of no bytes")
		}
		l.Chunks[i] = Chunk{Offset: at, Size: size, Digest: p.digest()}
		at += size
	}
	if p.err == nil && (len(p.b) > 0 || at != l.Size) {
		p.err = fmt.Errorf("chunks of %d bytes for a blob of %d", at, l.Size)
	}
	if p.err != nil {
		return List{}, fmt.Errorf("%w: %w", ErrList, p.err)
	}
	return l, nil
}

// parser takes bytes apart. After its first error it gives zeros.
type parser struct {
	b   []byte
	err error
}

func (p *parser) magic(want string) {
	if p.err == nil && !bytes.HasPrefix(p.b, []byte(want)) {
		p.err = errors.New("of another kind or version")
		return
	}
	if p.err == nil {
		p.b = p.b[len(want):]
	}
}

func (p *parser) number(limit int64) int64 {
	v, n := binary.Uvarint(p.b)
	if p.err == nil && (n <= 0 || v > uint64(max(0, limit))) {
		p.err = fmt.Errorf("a number is missing or more than %d", limit)
	}
	if p.err != nil {
		return 0
	}
	p.b = p.b[n:]
	return int64(v)
}

// signed reads a signed varint of at most limit either way.
func (p *parser) signed(limit int64) int64 {
	v, n := binary.Varint(p.b)
	if p.err == nil && (n <= 0 || v > limit || v < -limit) {
		p.err = fmt.Errorf("a number is missing or beyond %d", limit)
	}
	if p.err != nil {
		return 0
	}
	p.b = p.b[n:]
	return v
}

func (p *parser) digest() ore.Digest {
	if p.err == nil && len(p.b) < sha256.Size {
		p.err = errors.New("truncated")
	}
	if p.err != nil {
		return ""
	}
	d := ore.NewDigest([sha256.Size]byte(p.b))
	p.b = p.b[sha256.Size:]
	return d
}

// Shared returns how many bytes of l are in chunks that other has, too.
func (l List) Shared(other List) int64 {
	have := make(map[ore.Digest]bool, len(other.Chunks))
	for _, c := range other.Chunks {
		have[c.Digest] = true
	}
	var n int64
	for _, c := range l.Chunks {
		if have[c.Digest] {
			n += c.Size
		}
	}
	return n
}
