package expand

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
)

// Parts of the .xz format (The .xz File Format, version 1.2.1, sections 2.1
// and 3.1).
const (
	xzMagic        = "\xfd7zXZ\x00"
	xzStreamHeader = 12   // magic, flags, CRC32
	xzManyFilters  = 0x03 // in the block flags: number of filters beyond one
	xzPackedSize   = 0x40 // the packed size is present
	xzContentSize  = 0x80 // the content's size is present
	xzFilterLZMA2  = 0x21
)

var errXZ = errors.New("damaged xz block, or one with a filter other than LZMA2")

// xzBlock finds the LZMA2 data in an xz stream, and the size of the dictionary
// that it wants. A block of squashfs is a stream of one block. The checksums
// are left alone: images are verified as a whole.
func xzBlock(b []byte) (dict int, body []byte, err error) {
	if !bytes.HasPrefix(b, []byte(xzMagic)) || len(b) <= xzStreamHeader {
		return 0, nil, errXZ
	}
	b = b[xzStreamHeader:]
	size := (int(b[0]) + 1) * 4
	if b[0] == 0 || size > len(b) {
		return 0, nil, errXZ
	}
	flags, head := b[1], b[2:size]
	if flags&xzManyFilters != 0 {
		return 0, nil, errXZ
	}
	for _, bit := range []byte{xzPackedSize, xzContentSize} {
		if flags&bit != 0 {
			_, n := binary.Uvarint(head)
			if n <= 0 {
				return 0, nil, errXZ
			}
			head = head[n:]
		}
	}
	if len(head) < 3 || head[0] != xzFilterLZMA2 || head[1] != 1 {
		return 0, nil, errXZ
	}
	dict, err = lzma2Dictionary(head[2])
	return dict, b[size:], err
}

// lzma2Dictionary decodes a dictionary's size (section 5.3.1).
func lzma2Dictionary(bits byte) (int, error) {
	const largest = 40
	switch {
	case bits > largest:
		return 0, errXZ
	case bits == largest:
		return math.MaxUint32, nil
	}
	return (2 | int(bits&1)) << (bits/2 + 11), nil
}
