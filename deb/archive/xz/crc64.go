package xz

import (
	"encoding/binary"
	"hash/crc64"
)

// minFold is the least that is worth folding.
const minFold = 256

// ecma is a [hash.Hash] of the CRC-64 that nearly all xz files have, like that
// of package hash/crc64. Where the processor multiplies without carry, blocks
// of 64 bytes are folded together ("Fast CRC Computation for Generic
// Polynomials Using PCLMULQDQ Instruction", Intel, 2009) down to 16 bytes with
// the same CRC, which costs a tenth of the look-ups.
type ecma struct{ crc uint64 }

func (e *ecma) Write(p []byte) (int, error) {
	n, table := len(p), crc64.MakeTable(crc64.ECMA)
	if haveFold() && n >= minFold {
		var rest [16]byte
		whole := n &^ 63
		fold(&rest, ^e.crc, &p[0], whole)
		e.crc = crc64.Update(^uint64(0), table, rest[:])
		p = p[whole:]
	}
	e.crc = crc64.Update(e.crc, table, p)
	return n, nil
}

func (e *ecma) Sum(b []byte) []byte { return binary.BigEndian.AppendUint64(b, e.crc) }

func (e *ecma) Reset() { e.crc = 0 }

func (e *ecma) Size() int { return crc64.Size }

func (e *ecma) BlockSize() int { return 64 }
