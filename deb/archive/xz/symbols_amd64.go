package xz

// haveSymbols tells that symbols exists on this architecture.
const haveSymbols = true

// symbols decodes the symbols of a chunk to w.buf[w.pos:w.end], as
// [lzma.portable] does, in assembly. w.pos is before w.end, and a state after a
// match implies that rep[0] lies within the dictionary.
//
//go:noescape
func symbols(l *lzma, r *rangeDecoder, w *window) bool
