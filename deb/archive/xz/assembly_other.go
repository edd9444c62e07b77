//go:build !amd64

package xz

// haveSymbols tells that symbols exists on this architecture.
const haveSymbols = false

// symbols is for architectures that have it in assembly.
func symbols(*lzma, *rangeDecoder, *window) bool { panic("xz: no assembly here") }

func haveFold() bool { return false }

// fold is likewise.
func fold(*[16]byte, uint64, *byte, int) { panic("xz: no assembly here") }
