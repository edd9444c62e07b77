package chain

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"

	"ore/chain/set"
)

// Limits of lists.
const (
	// MaxChunk bounds a chunk: a hop holds one per stream in memory to verify it.
	MaxChunk = 4 << 20
	// MaxChunks bounds what a list and a set of chunks take in memory: 36 MiB
	// and 128 KiB.
	MaxChunks = set.Max
	// MaxList is the longest that an encoded list can be.
	MaxList = len(listMagic) + binary.MaxVarintLen64 + MaxChunks*(4+sha256.Size)
	// minUniform and maxUniform bound the chunks of a blob without a list of
	// its own: below, the cost of a chunk (a hash, three system calls) shows;
	// above, the time that a chunk waits at each hop does.
	minUniform, maxUniform = 32 << 10, 1 << 20
	// entrySize is what a chunk costs in an encoded list.
	entrySize = sha256.Size + 3
)

// ErrList is what errors of damaged lists match.
var ErrList = errors.New("damaged chunk list")

// Digest is a SHA-256 sum (FIPS 180-4). Texts show it as 64 hex digits.
type Digest [sha256.Size]byte

// String returns 64 hex digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText gives the digest as 64 hex digits.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText gives.
func (d *Digest) UnmarshalText(b []byte) error {
	if hex.DecodedLen(len(b)) != len(d) {
		return fmt.Errorf("digest %q: not 64 hex digits", b)
	}
	_, err := hex.Decode(d[:], b)
	return err
}

// Chunk is one piece of a blob: the unit that is verified and forwarded.
type Chunk struct {
	Offset, Size int64
	Sum          Digest
}

// List is a blob in pieces that follow each other without gaps.
type List struct {
	Chunks []Chunk
}

// Size is that of the blob.
func (l List) Size() int64 {
	if len(l.Chunks) == 0 {
		return 0
	}
	last := l.Chunks[len(l.Chunks)-1]
	return last.Offset + last.Size
}

// Digest names the list: who knows it can verify every chunk of the blob.
func (l List) Digest() Digest { return sha256.Sum256(l.Encode()) }

// Check says what is wrong with a list that did not come from Decode.
func (l List) Check() error {
	if len(l.Chunks) > MaxChunks {
		return fmt.Errorf("%w: %d chunks, more than %d", ErrList, len(l.Chunks), MaxChunks)
	}
	var at int64
	for i, c := range l.Chunks {
		if c.Offset != at || c.Size <= 0 || c.Size > MaxChunk {
			return fmt.Errorf("%w: chunk %d is %d bytes at %d, want 1 to %d at %d", ErrList, i, c.Size, c.Offset, MaxChunk, at)
		}
		at += c.Size
	}
	return nil
}

const listMagic = "orehops\x01"

// Encode returns the list's canonical bytes: the magic, the count of chunks and
// for each its size (unsigned varints) and sum.
func (l List) Encode() []byte {
	b := make([]byte, 0, len(listMagic)+binary.MaxVarintLen64+len(l.Chunks)*entrySize)
	b = append(b, listMagic...)
	b = binary.AppendUvarint(b, uint64(len(l.Chunks)))
	for _, c := range l.Chunks {
		b = binary.AppendUvarint(b, uint64(c.Size))
		b = append(b, c.Sum[:]...)
	}
	return b
}

// DecodeList reads and checks what Encode made. It takes memory in proportion
// to b.
func DecodeList(b []byte) (List, error) {
	rest, ok := bytes.CutPrefix(b, []byte(listMagic))
	if !ok {
		return List{}, fmt.Errorf("%w: no magic", ErrList)
	}
	n, k := binary.Uvarint(rest)
	if k <= 0 || n > MaxChunks || n > uint64(len(rest)/(1+sha256.Size)) {
		return List{}, fmt.Errorf("%w: bad count", ErrList)
	}
	rest = rest[k:]
	l := List{Chunks: make([]Chunk, 0, n)}
	var at int64
	for i := range n {
		size, k := binary.Uvarint(rest)
		if k <= 0 || size == 0 || size > MaxChunk || len(rest) < k+sha256.Size {
			return List{}, fmt.Errorf("%w: bad chunk %d", ErrList, i)
		}
		c := Chunk{Offset: at, Size: int64(size)}
		copy(c.Sum[:], rest[k:])
		l.Chunks = append(l.Chunks, c)
		at += c.Size
		rest = rest[k+sha256.Size:]
	}
	if len(rest) > 0 {
		return List{}, fmt.Errorf("%w: %d bytes too many", ErrList, len(rest))
	}
	if !bytes.Equal(b, l.Encode()) {
		return List{}, fmt.Errorf("%w: not canonical", ErrList)
	}
	return l, nil
}

// UniformSize is the chunk size for a blob of size bytes that has no list of
// its own. A hop adds the time of a chunk (c) and of the list (S/c entries): the
// sum is least where both are equal.
func UniformSize(size int64) int64 {
	best := math.Sqrt(float64(size) * entrySize)
	c := int64(1) << bits.Len64(uint64(best*math.Sqrt2)/2)
	return max(min(c, maxUniform), minUniform)
}

// Cut reads a blob of size bytes and returns its list with uniform chunks, and
// the blob's own digest.
func Cut(ctx context.Context, r io.Reader, size int64) (List, Digest, error) {
	c := UniformSize(size)
	if size < 0 || (size+c-1)/c > MaxChunks {
		return List{}, Digest{}, fmt.Errorf("cut blob: %d bytes: more than %d chunks of %d", size, MaxChunks, c)
	}
	var l List
	whole, buf := sha256.New(), make([]byte, c)
	for at := int64(0); at < size; at += c {
		if err := ctx.Err(); err != nil {
			return List{}, Digest{}, err
		}
		b := buf[:min(c, size-at)]
		if _, err := io.ReadFull(r, b); err != nil {
			return List{}, Digest{}, fmt.Errorf("cut blob at %d of %d: %w", at, size, err)
		}
		whole.Write(b)
		l.Chunks = append(l.Chunks, Chunk{Offset: at, Size: int64(len(b)), Sum: sha256.Sum256(b)})
	}
	return l, Digest(whole.Sum(nil)), nil
}

// Span is a run of chunks.
type Span struct {
	From, Count int
}

// Blob is what the trusted side says of a blob. List decides which bytes are
// right; Digest is the name under which they are known.
type Blob struct {
	Digest Digest
	Size   int64  `json:",omitzero"`
	List   Digest `json:",omitzero"` // of the encoded list
	Chunks int    `json:",omitzero"`
	First  []Span `json:",omitempty"` // chunks that are sent first, in this order; then the rest
}

// NewBlob describes the blob that is called name and has this list.
func NewBlob(name Digest, l List) Blob {
	return Blob{Digest: name, Size: l.Size(), List: l.Digest(), Chunks: len(l.Chunks)}
}

// check refuses descriptions that would cost memory.
func (b Blob) check() error {
	if b.Chunks < 0 || b.Chunks > MaxChunks || b.Size < 0 || b.Size > int64(b.Chunks)*MaxChunk {
		return fmt.Errorf("blob %.12s: %d bytes in %d chunks: out of range", b.Digest, b.Size, b.Chunks)
	}
	if len(b.First) > MaxChunks {
		return fmt.Errorf("blob %.12s: %d spans to send first, more than %d", b.Digest, len(b.First), MaxChunks)
	}
	for _, s := range b.First {
		if s.From < 0 || s.Count < 0 || s.From > b.Chunks || s.Count > b.Chunks-s.From {
			return fmt.Errorf("blob %.12s: span %v lies outside of %d chunks", b.Digest, s, b.Chunks)
		}
	}
	return nil
}

// Cover returns the chunks that hold the bytes from offset on, of a blob that
// [Cut] made.
func (b Blob) Cover(offset, size int64) Span {
	c := UniformSize(b.Size)
	from := min(max(0, offset)/c, int64(b.Chunks))
	to := min((max(0, offset+size)+c-1)/c, int64(b.Chunks))
	return Span{int(from), int(max(0, to-from))}
}

// firsts returns the chunks that are sent first.
func (b Blob) firsts() set.Set {
	s := set.New(b.Chunks)
	for _, span := range b.First {
		for i := span.From; i < span.From+span.Count; i++ {
			s.Add(i)
		}
	}
	return s
}

// Lead is how many bytes of a blob that [Cut] made are sent first.
func (b Blob) Lead() int64 { return min(b.Size, int64(b.firsts().Count())*UniformSize(b.Size)) }

// Sequence returns the chunks in the order in which they are sent.
func (b Blob) Sequence() []int {
	seen := set.New(b.Chunks)
	seq := make([]int, 0, b.Chunks)
	for _, s := range append(append([]Span(nil), b.First...), Span{0, b.Chunks}) {
		for i := s.From; i < s.From+s.Count; i++ {
			if !seen.Has(i) {
				seen.Add(i)
				seq = append(seq, i)
			}
		}
	}
	return seq
}
