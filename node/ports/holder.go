package ports

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
)

// holder names who listens where nobody else can, as far as this process may
// know: " by nginx (process 123) of www-data", or "".
func holder(at netip.AddrPort) string {
	for _, file := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(file)
		if err != nil {
			continue
		}
		s, found := find(f, at)
		f.Close()
		if found {
			return " by " + s.program() + s.owner()
		}
	}
	return ""
}

// socket is a line of /proc/net/tcp (proc_net(5)).
type socket struct {
	uid, inode string
}

// listening is the state of a socket that listens, TCP_LISTEN of the kernel's
// include/net/tcp_states.h.
const listening = "0A"

// find reads a table of sockets for the one that listens at an address which
// excludes at.
func find(table io.Reader, at netip.AddrPort) (socket, bool) {
	for lines := bufio.NewScanner(table); lines.Scan(); {
		// sl local_address rem_address st tx:rx tr:tm->when retrnsmt uid timeout inode
		f := strings.Fields(lines.Text())
		if len(f) < 10 || f[3] != listening {
			continue
		}
		local, ok := address(f[1])
		if ok && local.Port() == at.Port() && meet(local.Addr(), at.Addr()) {
			return socket{uid: f[7], inode: f[9]}, true
		}
	}
	return socket{}, false
}

// meet says whether sockets at a and b exclude each other: they are the same, or
// one is all of its kind. The one at :: may have the IPv4 addresses too (ipv6(7)).
func meet(a, b netip.Addr) bool {
	a, b = a.Unmap(), b.Unmap()
	return a == b || a.IsUnspecified() || b.IsUnspecified()
}

// address reads "0100007F:1F90": words of an address as this host's numbers, and
// the port.
func address(s string) (netip.AddrPort, bool) {
	words, port, ok := strings.Cut(s, ":")
	p, err := strconv.ParseUint(port, 16, 16)
	b, err2 := hex.DecodeString(words)
	if !ok || err != nil || err2 != nil || len(b) != 4 && len(b) != 16 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a, uint16(p)), true
}

// owner names the socket's user.
func (s socket) owner() string {
	u, err := user.LookupId(s.uid)
	if err != nil {
		return " of user " + s.uid
	}
	return " of " + u.Username
}

// program names the process that has the socket, where this one may look.
func (s socket) program() string {
	files, err := filepath.Glob("/proc/[0-9]*/fd/*")
	if err != nil {
		return "a program"
	}
	for _, f := range files {
		if to, err := os.Readlink(f); err != nil || to != "socket:["+s.inode+"]" {
			continue
		}
		process := filepath.Dir(filepath.Dir(f))
		if line, err := os.ReadFile(filepath.Join(process, "cmdline")); err == nil {
			return fmt.Sprintf("%s (process %s)", called(line), filepath.Base(process))
		}
	}
	return "a program"
}

// called is the name of a program by its command line: /usr/sbin/nginx, and also
// "nginx: master process", is nginx.
func called(line []byte) string {
	words := strings.FieldsFunc(string(line), func(r rune) bool { return r == 0 || r == ' ' })
	if len(words) == 0 {
		return "a program"
	}
	return strings.TrimSuffix(filepath.Base(words[0]), ":")
}
