// Package host remembers which sandbox worked on this host. Trying takes a tenth of a
// second, and comes out the same until something changes that decides what a process
// may do: namespaces, capabilities, filters, limits and identities of others. All of
// that is summed up beside what worked.
package host

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"ore"
)

// files are those whose content decides, with all of it: the host's start, what the
// kernel grants, and identities of others (subuid(5)).
func files() []string {
	return []string{
		"/proc/sys/kernel/random/boot_id", "/proc/sys/kernel/seccomp/actions_avail",
		"/proc/sys/kernel/unprivileged_userns_clone", "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
		"/proc/sys/user/max_user_namespaces", "/proc/sys/user/max_mnt_namespaces", "/proc/sys/user/max_pid_namespaces",
		"/proc/self/attr/current", "/proc/self/uid_map", "/proc/self/gid_map", "/etc/subuid", "/etc/subgid",
	}
}

func place(dir string) string { return filepath.Join(dir, "tier") }

// Note remembers in the folder dir what worked there.
func Note(dir, what string) error {
	f, err := os.CreateTemp(dir, "tier-*")
	if err != nil {
		return fmt.Errorf("note what works: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(what + "\n" + string(state(dir)))
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), place(dir))
	}
	if err != nil {
		return fmt.Errorf("note what works: %w", err)
	}
	return nil
}

// Noted returns what was noted in dir if nothing that decides has changed, else "".
func Noted(dir string) string {
	b, err := os.ReadFile(place(dir))
	if err != nil {
		return ""
	}
	what, was, _ := strings.Cut(string(b), "\n")
	if was != string(state(dir)) {
		return ""
	}
	return what
}

// Doubt forgets what was noted: it did not work after all.
func Doubt(dir string) { _ = os.Remove(place(dir)) } // there may be none

// state sums up what decides what this process may do in the folder dir.
func state(dir string) ore.Digest {
	var b strings.Builder
	fmt.Fprintln(&b, os.Getuid(), os.Geteuid(), os.Getgid(), os.Getegid())
	for _, name := range files() {
		content, err := os.ReadFile(name)
		fmt.Fprintf(&b, "%s: %q %t\n", name, content, err == nil)
	}
	status, _ := os.ReadFile("/proc/self/status") // without it, the others have to do
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, "Cap") || strings.HasPrefix(line, "Seccomp:") || strings.HasPrefix(line, "NoNewPrivs:") {
			b.WriteString(line)
		}
	}
	for _, space := range []string{"user", "mnt", "pid"} {
		place, err := os.Readlink("/proc/self/ns/" + space)
		fmt.Fprintln(&b, place, err == nil)
	}
	for _, program := range []string{"newuidmap", "newgidmap"} {
		path, _ := exec.LookPath(program)
		fmt.Fprintln(&b, program, identity(path))
	}
	fmt.Fprintln(&b, identity("/proc/self/exe"))
	var processes unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NPROC, &processes)
	fmt.Fprintln(&b, processes, err == nil)
	var kind unix.Statfs_t
	err = unix.Statfs(dir, &kind)
	fmt.Fprintln(&b, identity(dir), kind.Type, kind.Flags, err == nil)
	return ore.DigestOf([]byte(b.String()))
}

// identity tells files apart, and of folders where they lie and whose they are.
func identity(path string) string {
	var st unix.Stat_t
	if path == "" || unix.Stat(path, &st) != nil {
		return "none"
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return fmt.Sprint(st.Dev, st.Mode, st.Uid)
	}
	return fmt.Sprint(path, st.Dev, st.Ino, st.Mode, st.Uid, st.Size, st.Mtim, st.Ctim)
}
