package sandbox

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offsets into struct seccomp_data (seccomp(2)).
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16
)

// rule says what becomes of a system call. With a mask, it is only for calls
// in which one of the argument's bits under the mask, compared with want, fits.
type rule struct {
	number int
	action uint32

	arg  int
	mask uint32 // 0: the arguments do not matter
	want uint32 // argument&mask == want
	any  bool   // argument&mask != 0, instead
}

// succeed answers a system call with 0 without doing it.
const succeed = unix.SECCOMP_RET_ERRNO

// syncRules make the fsync family do nothing (fsync(2), sync(2), msync(2)).
func syncRules() []rule {
	var r []rule
	for _, n := range []int{
		unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNC, unix.SYS_SYNCFS,
		unix.SYS_SYNC_FILE_RANGE, unix.SYS_MSYNC,
	} {
		r = append(r, rule{number: n, action: succeed})
	}
	return r
}

// assemble makes a program of classic BPF from rules: the first that fits a
// system call decides, all others pass. The kernel remembers which calls pass
// whatever their arguments (Linux 5.11), so those cost nothing.
func assemble(rules []rule) []unix.SockFilter {
	const (
		load  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		set   = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
		and   = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
		ret   = unix.BPF_RET | unix.BPF_K
	)
	p := []unix.SockFilter{
		{Code: load, K: offsetArch},
		{Code: equal, K: unix.AUDIT_ARCH_X86_64, Jt: 1},
		{Code: ret, K: unix.SECCOMP_RET_ALLOW},
		{Code: load, K: offsetNumber},
	}
	for _, r := range rules {
		n := uint32(r.number)
		switch {
		case r.mask == 0:
			p = append(p,
				unix.SockFilter{Code: equal, K: n, Jf: 1},
				unix.SockFilter{Code: ret, K: r.action})
		case r.any:
			p = append(p,
				unix.SockFilter{Code: equal, K: n, Jf: 4},
				unix.SockFilter{Code: load, K: uint32(offsetArgs + 8*r.arg)},
				unix.SockFilter{Code: set, K: r.mask, Jf: 1},
				unix.SockFilter{Code: ret, K: r.action},
				unix.SockFilter{Code: load, K: offsetNumber})
		default:
			p = append(p,
				unix.SockFilter{Code: equal, K: n, Jf: 5},
				unix.SockFilter{Code: load, K: uint32(offsetArgs + 8*r.arg)},
				unix.SockFilter{Code: and, K: r.mask},
				unix.SockFilter{Code: equal, K: r.want, Jf: 1},
				unix.SockFilter{Code: ret, K: r.action},
				unix.SockFilter{Code: load, K: offsetNumber})
		}
	}
	return append(p, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
}

// install puts the filter on the calling thread, from where every process that
// it starts inherits it. With listen it returns the descriptor on which calls
// marked SECCOMP_RET_USER_NOTIF are heard.
func install(rules []rule, listen bool) (int, error) {
	p := assemble(rules)
	prog := unix.SockFprog{Len: uint16(len(p)), Filter: &p[0]}
	if !listen {
		return seccomp(0, &prog)
	}
	// From Linux 5.19 only a fatal signal interrupts a call that the
	// supervisor has taken up, so that none is ever taken up twice.
	fd, err := seccomp(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &prog)
	if errors.Is(err, unix.EINVAL) {
		fd, err = seccomp(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, &prog)
	}
	return fd, err
}

func seccomp(flags uintptr, prog *unix.SockFprog) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(prog)))
	if errno != 0 {
		return -1, fmt.Errorf("seccomp filter: %w", errno)
	}
	return int(fd), nil
}
