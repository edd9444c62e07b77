// Package seccomp decides what becomes of the system calls of a thread and of
// all that it starts: some are answered without being done, some are handed to
// a supervisor (seccomp(2), seccomp_unotify(2)).
package seccomp

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

// Rule says what becomes of a system call; with a mask, of those calls only
// in which an argument's bits under the mask are the ones wanted.
type Rule struct {
	Number int
	Action uint32 // Succeed or Notify

	Arg  int
	Mask uint32 // 0: the arguments do not matter
	Want uint32 // argument&Mask == Want
	Any  bool   // argument&Mask != 0, instead
}

// The actions of rules. What no rule is about is allowed.
const (
	Succeed uint32 = unix.SECCOMP_RET_ERRNO      // answer with 0 and do nothing
	Notify  uint32 = unix.SECCOMP_RET_USER_NOTIF // hand the call to the supervisor
)

// assemble makes a program of classic BPF from rules: the first that fits a
// system call decides, all others pass. The kernel remembers which calls pass
// whatever their arguments (Linux 5.11), so those cost nothing.
func assemble(rules []Rule) []unix.SockFilter {
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
		n := uint32(r.Number)
		switch {
		case r.Mask == 0:
			p = append(p,
				unix.SockFilter{Code: equal, K: n, Jf: 1},
				unix.SockFilter{Code: ret, K: r.Action})
		case r.Any:
			p = append(p,
				unix.SockFilter{Code: equal, K: n, Jf: 4},
				unix.SockFilter{Code: load, K: uint32(offsetArgs + 8*r.Arg)},
				unix.SockFilter{Code: set, K: r.Mask, Jf: 1},
				unix.SockFilter{Code: ret, K: r.Action},
				unix.SockFilter{Code: load, K: offsetNumber})
		default:
			p = append(p,
				unix.SockFilter{Code: equal, K: n, Jf: 5},
				unix.SockFilter{Code: load, K: uint32(offsetArgs + 8*r.Arg)},
				unix.SockFilter{Code: and, K: r.Mask},
				unix.SockFilter{Code: equal, K: r.Want, Jf: 1},
				unix.SockFilter{Code: ret, K: r.Action},
				unix.SockFilter{Code: load, K: offsetNumber})
		}
	}
	return append(p, unix.SockFilter{Code: ret, K: unix.SECCOMP_RET_ALLOW})
}

// Install puts the filter on the calling thread, from where every process that
// it starts inherits it. With listen it returns the descriptor on which calls
// under Notify are heard.
func Install(rules []Rule, listen bool) (int, error) {
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
