package inside

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// account is a user of the machine (passwd(5)).
type account struct {
	name, home, shell string
	uid, gid          uint32
	groups            []uint32
}

// root is the account that needs no file.
func root() account { return account{name: "root", home: "/root", shell: "/bin/sh"} }

// lookup finds an account by name or number in the machine's files.
func lookup(user string) (account, error) {
	if user == "" {
		user = "root"
	}
	a, found := account{}, false
	eachLine("/etc/passwd", 7, func(f []string) bool {
		if f[0] != user && f[2] != user {
			return true
		}
		uid, err1 := strconv.ParseUint(f[2], 10, 32)
		gid, err2 := strconv.ParseUint(f[3], 10, 32)
		if err1 != nil || err2 != nil {
			return true
		}
		a = account{name: f[0], home: f[5], shell: f[6], uid: uint32(uid), gid: uint32(gid)}
		found = true
		return false
	})
	if !found {
		if user == "root" || user == "0" {
			return root(), nil
		}
		return a, fmt.Errorf("user %s: not known in the machine", user)
	}
	if a.shell == "" {
		a.shell = "/bin/sh"
	}
	a.groups = []uint32{a.gid}
	eachLine("/etc/group", 4, func(f []string) bool {
		for m := range strings.SplitSeq(f[3], ",") {
			gid, err := strconv.ParseUint(f[2], 10, 32)
			if m == a.name && err == nil && uint32(gid) != a.gid {
				a.groups = append(a.groups, uint32(gid))
			}
		}
		return true
	})
	return a, nil
}

// eachLine calls f with the fields of each line that has n of them, until it
// returns false. A file that is not there has no lines.
func eachLine(file string, n int, f func([]string) bool) {
	r, err := os.Open(file)
	if err != nil {
		return
	}
	defer r.Close()
	for s := bufio.NewScanner(r); s.Scan(); {
		if fields := strings.Split(s.Text(), ":"); len(fields) == n && !f(fields) {
			return
		}
	}
}

// credential makes a child run as a. Where this process is not root, as in
// tests, it can only be who it is.
func (a account) credential() (*syscall.Credential, error) {
	if os.Geteuid() == int(a.uid) && a.uid != 0 {
		return nil, nil
	}
	if os.Geteuid() != 0 {
		if a.uid == 0 {
			return nil, nil
		}
		return nil, fmt.Errorf("user %s: only root can change users", a.name)
	}
	return &syscall.Credential{Uid: a.uid, Gid: a.gid, Groups: a.groups}, nil
}
