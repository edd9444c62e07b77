package xz

import (
	"syscall"
	"unsafe"
)

// hugePage is the size of a huge page on nearly all machines; where it is
// another, the advice below is for less than could be had.
const hugePage = 2 << 20

// hugePages asks the kernel to back b by huge pages. Matches are copied from
// anywhere in the dictionary, and with small pages most of them miss the TLB:
// decoding takes a tenth longer, more in a virtual machine. It is advice only,
// so what the kernel answers does not matter.
func hugePages(b []byte) {
	first := int(-uintptr(unsafe.Pointer(unsafe.SliceData(b))) & (hugePage - 1))
	if n := (len(b) - first) &^ (hugePage - 1); n > 0 {
		_ = syscall.Madvise(b[first:first+n], syscall.MADV_HUGEPAGE)
	}
}
