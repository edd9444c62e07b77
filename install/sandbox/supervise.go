package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"ore/install/sandbox/seccomp"

	"golang.org/x/sys/unix"
)

// Requests on a listener and its flags (linux/seccomp.h).
const (
	notifyReceive  = 0xc0502100
	notifySend     = 0xc0182101
	notifyAddFile  = 0x40182103
	notifySetFlags = 0x40082104

	flagContinue   = 1 // let the kernel do the call after all
	flagSyncWakeUp = 1 // the caller and the supervisor take turns on one CPU (Linux 6.6)
)

// call is a system call that the filter caught: struct seccomp_notif.
type call struct {
	id     uint64
	pid    uint32
	flags  uint32
	number int32
	arch   uint32
	ip     uint64
	args   [6]uint64
}

// answer is what its caller gets: struct seccomp_notif_resp.
type answer struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

// errPass is returned by a handler that leaves the call to the kernel.
var errPass = errors.New("left to the kernel")

// supervisor answers the calls that are caught in one Run. It is the only
// process that is not under the filter, lives in the same mount and PID
// namespaces as the others, has the same root folder, and /proc as its working
// folder, so that a path of any process is a short path for it too.
type supervisor struct {
	listener int
	tier     Tier
	records  records

	changed bool // some process became another user than root
	nested  bool // some process changed its root folder

	chunk  [chunk]byte     // what was read from a caller
	list   [listLimit]byte // names of attributes
	opened int             // a descriptor that the present call needs, or -1
}

// rules returns what the tier's filter catches.
func (t Tier) rules() []seccomp.Rule {
	r := syncRules()
	switch t {
	case SubIDs:
		return append(r, deviceRules()...)
	case Single:
		return append(r, singleRules()...)
	}
	return r
}

// syncRules make the fsync family do nothing (fsync(2), sync(2), msync(2)).
func syncRules() []seccomp.Rule {
	var r []seccomp.Rule
	for _, n := range []int{
		unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNC, unix.SYS_SYNCFS,
		unix.SYS_SYNC_FILE_RANGE, unix.SYS_MSYNC,
	} {
		r = append(r, seccomp.Rule{Number: n, Action: seccomp.Succeed})
	}
	return r
}

// deviceRules catch the making of devices.
func deviceRules() []seccomp.Rule {
	var r []seccomp.Rule
	for _, kind := range []uint32{unix.S_IFCHR, unix.S_IFBLK} {
		r = append(r,
			seccomp.Rule{Number: unix.SYS_MKNOD, Action: seccomp.Notify, Arg: 1, Mask: unix.S_IFMT, Want: kind},
			seccomp.Rule{Number: unix.SYS_MKNODAT, Action: seccomp.Notify, Arg: 2, Mask: unix.S_IFMT, Want: kind})
	}
	return r
}

// singleRules catch all that sets or shows an owner, a user or a device.
func singleRules() []seccomp.Rule {
	r := []seccomp.Rule{
		{Number: unix.SYS_SETGROUPS, Action: seccomp.Succeed},
		{Number: unix.SYS_GETGROUPS, Action: seccomp.Succeed}, // no supplementary groups
		{Number: unix.SYS_OPEN, Action: seccomp.Notify, Arg: 1, Mask: unix.O_CREAT, Any: true},
		{Number: unix.SYS_OPENAT, Action: seccomp.Notify, Arg: 2, Mask: unix.O_CREAT, Any: true},
		{Number: unix.SYS_PRCTL, Action: seccomp.Notify, Mask: 0xffff_ffff, Want: unix.PR_SET_KEEPCAPS},
	}
	for n := range handlers() {
		if n != unix.SYS_OPEN && n != unix.SYS_OPENAT && n != unix.SYS_PRCTL {
			r = append(r, seccomp.Rule{Number: int(n), Action: seccomp.Notify})
		}
	}
	return r
}

// handler answers a call with a value or an error.
type handler func(s *supervisor, c *call) (int64, error)

// handlers says who answers what.
func handlers() map[int32]handler {
	return map[int32]handler{
		unix.SYS_STAT: (*supervisor).stat, unix.SYS_LSTAT: (*supervisor).stat,
		unix.SYS_FSTAT: (*supervisor).stat, unix.SYS_NEWFSTATAT: (*supervisor).stat,
		unix.SYS_STATX: (*supervisor).statx,

		unix.SYS_CHOWN: (*supervisor).chown, unix.SYS_LCHOWN: (*supervisor).chown,
		unix.SYS_FCHOWN: (*supervisor).chown, unix.SYS_FCHOWNAT: (*supervisor).chown,

		unix.SYS_LISTXATTR: (*supervisor).listxattr, unix.SYS_LLISTXATTR: (*supervisor).listxattr,
		unix.SYS_FLISTXATTR: (*supervisor).listxattr,

		unix.SYS_OPEN: (*supervisor).open, unix.SYS_OPENAT: (*supervisor).open,
		unix.SYS_OPENAT2: (*supervisor).open, unix.SYS_CREAT: (*supervisor).open,
		unix.SYS_MKDIR: (*supervisor).mkdir, unix.SYS_MKDIRAT: (*supervisor).mkdir,
		unix.SYS_SYMLINK: (*supervisor).symlink, unix.SYS_SYMLINKAT: (*supervisor).symlink,
		unix.SYS_MKNOD: (*supervisor).mknod, unix.SYS_MKNODAT: (*supervisor).mknod,
		unix.SYS_CHROOT: (*supervisor).chroot,

		unix.SYS_SETUID: (*supervisor).setID, unix.SYS_SETGID: (*supervisor).setID,
		unix.SYS_SETREUID: (*supervisor).setID, unix.SYS_SETREGID: (*supervisor).setID,
		unix.SYS_SETRESUID: (*supervisor).setID, unix.SYS_SETRESGID: (*supervisor).setID,
		unix.SYS_SETFSUID: (*supervisor).getID, unix.SYS_SETFSGID: (*supervisor).getID,
		unix.SYS_GETUID: (*supervisor).getID, unix.SYS_GETGID: (*supervisor).getID,
		unix.SYS_GETEUID: (*supervisor).getID, unix.SYS_GETEGID: (*supervisor).getID,
		unix.SYS_PRCTL:     (*supervisor).keep,
		unix.SYS_GETRESUID: (*supervisor).getIDs, unix.SYS_GETRESGID: (*supervisor).getIDs,
	}
}

// supervise puts the filter of the tier on the calling thread, and returns a
// function that begins to answer what the filter catches.
func (o order) supervise() (begin func() error, err error) {
	if o.Tier == Root {
		_, err := seccomp.Install(o.Tier.rules(), false)
		return func() error { return nil }, err
	}
	listener, err := seccomp.Install(o.Tier.rules(), true)
	if err != nil {
		return nil, err
	}
	s := &supervisor{listener: listener, tier: o.Tier, opened: -1}
	if o.Tier == Single {
		s.records.table = newTable(os.NewFile(tableFile, "owners"))
	}
	return func() error {
		if err := os.Chdir("/proc"); err != nil {
			return err
		}
		// Modes are right as they come: the umask of the caller is applied
		// by us where the kernel does not.
		unix.Umask(0)
		// Without it, before Linux 6.6, all is only slower.
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(listener), notifySetFlags, flagSyncWakeUp)
		go s.serve()
		return nil
	}, nil
}

// collectEvery is after how many calls the supervisor collects its garbage, a
// few hundred bytes a call and never more than some thousand.
const collectEvery = 1 << 13

// stageRuntime is the environment that the Go runtime of a stage needs: while
// the supervisor waits for a call it keeps its place in the scheduler, which is
// a good part faster than to give it back each time. So others need a place of
// their own, it must not be asked to pause, and it collects the garbage itself.
func stageRuntime() []string {
	return []string{"GOMAXPROCS=2", "GOGC=off", "GODEBUG=asyncpreemptoff=1"}
}

// serve answers calls until the process ends, to which it belongs.
func (s *supervisor) serve() {
	runtime.LockOSThread()
	answers := handlers()
	for n := 1; ; n++ {
		if n%collectEvery == 0 {
			runtime.GC()
		}
		var c call
		if err := s.ioctl(notifyReceive, unsafe.Pointer(&c)); err != nil {
			if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) {
				continue // the caller was killed
			}
			fmt.Fprintln(os.Stderr, "sandbox: supervisor:", err)
			os.Exit(exitUnready)
		}
		a := answer{id: c.id}
		value, err := answers[c.number](s, &c)
		switch {
		case err == nil:
			a.value = value
		case errors.Is(err, errPass):
			a.flags = flagContinue
		default:
			a.errno = -int32(errnoOf(err))
		}
		if s.opened >= 0 {
			unix.Close(s.opened)
			s.opened = -1
		}
		// The caller may have been killed meanwhile: then nobody waits.
		_ = s.ioctl(notifySend, unsafe.Pointer(&a))
	}
}

// ioctl waits without telling the Go scheduler: see stageRuntime.
func (s *supervisor) ioctl(request uintptr, arg unsafe.Pointer) error {
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, uintptr(s.listener), request, uintptr(arg))
	if errno != 0 {
		return errno
	}
	return nil
}

func errnoOf(err error) unix.Errno {
	var e unix.Errno
	if errors.As(err, &e) {
		return e
	}
	return unix.EIO
}
