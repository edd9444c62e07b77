package sandbox

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Which user and group a process believes to be must be inherited by its
// children and kept over execve, exactly like the real thing. The kernel keeps
// it for us in two resource limits of the process that mean nothing: the
// number of file locks, which Linux has not looked at since 2.4, and the time
// of real-time scheduling, which no process of an ordinary user has
// (getrlimit(2)). A limit that is not ours means root.
const (
	uidSlot = unix.RLIMIT_LOCKS
	gidSlot = unix.RLIMIT_RTTIME
)

// slotMark is set in a limit that holds ids; three of 16 bits each lie below.
// In the limit for users slotKeeps is set in addition, until the process used
// it, if it asked to keep its capabilities (PR_SET_KEEPCAPS, prctl(2)): setpriv
// gives up being root first and then, still allowed to, root's group.
const (
	slotMark  = 0xbfff_0000_0000_0000
	slotKeeps = 0x4000_0000_0000_0000
)

// unlimited is RLIM_INFINITY.
const unlimited = ^uint64(0)

// The ids that a process has of each kind (credentials(7)).
const (
	actual = iota
	effective
	saved
)

// credentials are the users and groups that a process believes to be.
type credentials struct {
	uid, gid [3]int
	keeps    bool
}

func packIDs(id [3]int, keeps bool) uint64 {
	v := slotMark | uint64(id[saved])<<32 | uint64(id[effective])<<16 | uint64(id[actual])
	switch {
	case keeps:
		return v | slotKeeps
	case id == [3]int{}:
		return unlimited
	}
	return v
}

func unpackIDs(v uint64) (id [3]int, keeps bool) {
	if v == unlimited || v&slotMark != slotMark {
		return [3]int{}, false
	}
	return [3]int{int(v & 0xffff), int(v >> 16 & 0xffff), int(v >> 32 & 0xffff)}, v&slotKeeps != 0
}

// identity returns the credentials of a caller.
func identity(c *call) (credentials, error) {
	var u, g unix.Rlimit
	if err := unix.Prlimit(int(c.pid), uidSlot, nil, &u); err != nil {
		return credentials{}, err
	}
	if err := unix.Prlimit(int(c.pid), gidSlot, nil, &g); err != nil {
		return credentials{}, err
	}
	var who credentials
	who.uid, who.keeps = unpackIDs(u.Cur)
	who.gid, _ = unpackIDs(g.Cur)
	return who, nil
}

// become gives a caller the credentials that it is to believe in.
func (s *supervisor) become(c *call, who credentials) error {
	u := unix.Rlimit{Cur: packIDs(who.uid, who.keeps), Max: unlimited}
	if err := unix.Prlimit(int(c.pid), uidSlot, &u, nil); err != nil {
		return err
	}
	g := unix.Rlimit{Cur: packIDs(who.gid, false), Max: unlimited}
	if err := unix.Prlimit(int(c.pid), gidSlot, &g, nil); err != nil {
		return err
	}
	s.changed = s.changed || who != credentials{}
	return nil
}

// keep answers prctl(PR_SET_KEEPCAPS).
func (s *supervisor) keep(c *call) (int64, error) {
	who, err := identity(c)
	if err != nil {
		return 0, err
	}
	who.keeps = c.args[1] == 1
	if err := s.become(c, who); err != nil {
		return 0, err
	}
	return 0, errPass
}

// setID answers setuid, setreuid, setresuid and the same for groups.
func (s *supervisor) setID(c *call) (int64, error) {
	who, err := identity(c)
	if err != nil {
		return 0, err
	}
	want := [3]int{int(int32(c.args[0])), int(int32(c.args[1])), int(int32(c.args[2]))}
	root := who.uid[effective] == 0
	switch c.number {
	case unix.SYS_SETGID, unix.SYS_SETREGID, unix.SYS_SETRESGID:
		who.gid, err = change(c.number, who.gid, want, root || who.keeps)
		who.keeps = who.keeps && root
	default:
		who.uid, err = change(c.number, who.uid, want, root)
	}
	if err != nil {
		return 0, err
	}
	return 0, s.become(c, who)
}

// change computes what a call makes of the ids that a process has; -1 leaves
// one as it is. The rules are those of setuid(2), setreuid(2), setresuid(2).
func change(number int32, have, want [3]int, root bool) ([3]int, error) {
	next := have
	switch number {
	case unix.SYS_SETUID, unix.SYS_SETGID:
		next[effective] = want[actual]
		if root {
			next[actual], next[saved] = want[actual], want[actual]
		}
	case unix.SYS_SETREUID, unix.SYS_SETREGID:
		next = merge(have, [3]int{want[0], want[1], unset})
		if want[0] != unset || want[1] != unset && want[1] != have[actual] {
			next[saved] = next[effective]
		}
	default:
		next = merge(have, want)
	}
	for _, id := range next {
		if id < 0 || id >= 0xffff {
			return have, unix.EINVAL
		}
		if !root && id != have[actual] && id != have[effective] && id != have[saved] {
			return have, unix.EPERM
		}
	}
	return next, nil
}

func merge(have, want [3]int) [3]int {
	for i, id := range want {
		if id != unset {
			have[i] = id
		}
	}
	return have
}

// getID answers getuid, geteuid and the same for groups. Setting the ids for
// file access alone (setfsuid(2)) changes nothing and tells the present ones.
func (s *supervisor) getID(c *call) (int64, error) {
	if !s.changed {
		return 0, nil
	}
	who, err := identity(c)
	if err != nil {
		return 0, err
	}
	switch c.number {
	case unix.SYS_GETUID:
		return int64(who.uid[actual]), nil
	case unix.SYS_GETGID:
		return int64(who.gid[actual]), nil
	case unix.SYS_GETEGID, unix.SYS_SETFSGID:
		return int64(who.gid[effective]), nil
	}
	return int64(who.uid[effective]), nil
}

// getIDs answers getresuid and getresgid.
func (s *supervisor) getIDs(c *call) (int64, error) {
	who, err := identity(c)
	if err != nil {
		return 0, err
	}
	ids := who.uid
	if c.number == unix.SYS_GETRESGID {
		ids = who.gid
	}
	for i, id := range ids {
		v := uint32(id)
		if err := poke(c, c.args[i], unsafe.Pointer(&v), unsafe.Sizeof(v)); err != nil {
			return 0, err
		}
	}
	return 0, nil
}
