//go:build !amd64

package xz

// haveSymbols tells that symbols exists on this architecture.
const haveSymbols = false

// symbols is for architectures that have it in assembly.
func symbols(*lzma, *rangeDecoder, *window) bool { panic("xz: no assembly here") }
