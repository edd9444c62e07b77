package xz

import "golang.org/x/sys/cpu"

// haveSymbols tells that symbols exists on this architecture.
const haveSymbols = true

// symbols decodes the symbols of a chunk to w.buf[w.pos:w.end], as
// [lzma.portable] does, in assembly. A state after a match implies that rep[0]
// lies within the dictionary.
//
//go:noescape
func symbols(l *lzma, r *rangeDecoder, w *window) bool

// haveFold tells whether the processor has what fold needs.
func haveFold() bool { return cpu.X86.HasPCLMULQDQ }

// fold sets v to 16 bytes which have the same CRC, from a register of zero, as
// the n bytes at p have from crc, inverted. n is a multiple of 64, and not 0.
//
//go:noescape
func fold(v *[16]byte, crc uint64, p *byte, n int)
