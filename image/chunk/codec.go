package chunk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"ore/squashfs/expand"
)

// maxBlock is the largest block of a squashfs image.
const maxBlock = 1 << 20

// expander expands stored blocks.
type expander struct {
	unpack expand.Block
	room   []byte
}

func newExpander() (*expander, error) {
	u, err := expand.New(expand.Zstd, maxBlock)
	if err != nil {
		return nil, fmt.Errorf("expand blocks: %w", err)
	}
	return &expander{unpack: u, room: make([]byte, maxBlock)}, nil
}

// zstdMagic is what a frame begins with (RFC 8878, 3.1.1).
var zstdMagic = []byte{0x28, 0xB5, 0x2F, 0xFD}

// content returns what a segment's bytes hold expanded, and whether they were
// compressed at all. The result is valid until the next call.
func (x *expander) content(k kind, stored []byte) ([]byte, bool) {
	limit := maxBlock
	if k == metaBlock {
		if len(stored) > 2 && binary.LittleEndian.Uint16(stored)&metaRaw != 0 {
			return stored[2:], true
		}
		stored, limit = stored[min(2, len(stored)):], metaSize
	}
	if k == literal || !bytes.HasPrefix(stored, zstdMagic) {
		return stored, false
	}
	n, err := x.unpack(x.room[:limit], stored)
	if err != nil || n == 0 {
		return stored, false
	}
	return x.room[:n], true
}

// packer compresses blocks as the writer of layers does (package squashfs,
// newCompressor). A test holds the two together; if they ever differ, patches
// become larger, not wrong.
type packer struct {
	z    *zstd.Encoder
	room []byte
}

func newPacker(blockSize, level int) (*packer, error) {
	z, err := zstd.NewWriter(nil,
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderCRC(false),
		zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)),
		zstd.WithWindowSize(max(blockSize, metaSize)))
	if err != nil {
		return nil, fmt.Errorf("compress blocks: %w", err)
	}
	return &packer{z: z}, nil
}

// block returns content as a stored block, or nil if it would be stored as it
// is.
func (p *packer) block(content []byte) []byte {
	p.room = p.z.EncodeAll(content, p.room[:0])
	if len(p.room) >= len(content) {
		return nil
	}
	return p.room
}

// meta appends content, of at most metaSize bytes, as a metadata block.
func (p *packer) meta(out, content []byte) []byte {
	if b := p.block(content); b != nil {
		out = binary.LittleEndian.AppendUint16(out, uint16(len(b)))
		return append(out, b...)
	}
	out = binary.LittleEndian.AppendUint16(out, uint16(len(content))|metaRaw)
	return append(out, content...)
}

// readSegment reads a segment of r into buf's memory.
func readSegment(r io.ReaderAt, s segment, buf []byte) ([]byte, error) {
	if int64(cap(buf)) < s.length {
		buf = make([]byte, s.length)
	}
	buf = buf[:s.length]
	n, err := r.ReadAt(buf, s.offset)
	if int64(n) == s.length {
		return buf, nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return nil, err
}
