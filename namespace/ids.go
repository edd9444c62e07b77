package namespace

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	subid "github.com/moby/sys/user"
	"golang.org/x/sys/unix"
)

// IDs says which identities exist in a new user namespace.
type IDs int

// The ways to fill a user namespace with identities.
const (
	Keep   IDs = iota // the own user and group under their own numbers, without privileges
	AsRoot            // the own user and group as root; nobody else
	Ranges            // the own user and group as root, subordinate ids as 1 and up
)

// minRange is how many subordinate ids make Ranges useful: Debian's policy
// (9.2.2) uses ids up to 65534, nobody.
const minRange = 65534

// prepare sets up attr for what the kernel does by itself between clone and
// exec. A process that execs while its user has no number, or one other than
// 0, in the namespace loses its privileges there, unless they are ambient
// (capabilities(7)).
func (ids IDs) prepare(attr *syscall.SysProcAttr) error {
	if attr.Cloneflags&unix.CLONE_NEWUSER == 0 {
		return nil
	}
	uid, gid := os.Geteuid(), os.Getegid()
	switch ids {
	case AsRoot:
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
		return nil
	case Keep:
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
	}
	last, err := lastCapability()
	if err != nil {
		return err
	}
	for c := range last + 1 {
		attr.AmbientCaps = append(attr.AmbientCaps, uintptr(c))
	}
	return nil
}

// lastCapability returns the highest capability that this kernel knows.
func lastCapability() (int, error) {
	b, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// writeRanges gives the user namespace of process pid its identities.
func writeRanges(ctx context.Context, pid int) error {
	uids, gids, err := ranges()
	if err != nil {
		return err
	}
	if err := writeMap(ctx, "newuidmap", pid, os.Geteuid(), uids); err != nil {
		return err
	}
	return writeMap(ctx, "newgidmap", pid, os.Getegid(), gids)
}

func writeMap(ctx context.Context, program string, pid, own int, r []subid.SubID) error {
	args := []string{strconv.Itoa(pid), "0", strconv.Itoa(own), "1"}
	next := int64(1)
	for _, s := range r {
		args = append(args, strconv.FormatInt(next, 10), strconv.FormatInt(s.SubID, 10), strconv.FormatInt(s.Count, 10))
		next += s.Count
	}
	cmd := exec.CommandContext(ctx, program, args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			return fmt.Errorf("%s: not found: install the package uidmap", program)
		}
		return fmt.Errorf("%s: %s: %w", program, strings.TrimSpace(said.String()), err)
	}
	return nil
}

// ranges returns the subordinate ids of this user. Entries may name the user
// or give the number (subuid(5)).
func ranges() (uids, gids []subid.SubID, err error) {
	number := strconv.Itoa(os.Geteuid())
	name := number
	if u, err := user.LookupId(number); err == nil {
		name = u.Username
	}
	if uids, err = rangesIn("/etc/subuid", name, number); err != nil {
		return nil, nil, err
	}
	gids, err = rangesIn("/etc/subgid", name, number)
	return uids, gids, err
}

func rangesIn(file, name, number string) ([]subid.SubID, error) {
	r, err := subid.ParseSubIDFileFilter(file, func(s subid.SubID) bool {
		return s.Name == name || s.Name == number
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var sum int64
	for _, s := range r {
		sum += s.Count
	}
	if sum < minRange {
		return nil, fmt.Errorf("%s: %d subordinate ids for %s, %d are needed: let the administrator run usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s, with a range that is free",
			file, sum, name, minRange, name)
	}
	return r, nil
}
