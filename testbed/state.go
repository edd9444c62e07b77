package testbed

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// root is where the folders of all beds are.
const root = "/var/lib/ore-testbed"

// Names of files in a bed's folder.
const (
	stateFile = "bed.json"
	ownerFile = "owner" // locked as long as the bed's owner lives
	hostsFile = "hosts" // what its hosts have as /etc/hosts
	diskDir   = "disk"  // what is private to a host, by host
)

// state is all that is known of a bed, as its file has it.
type state struct {
	Name    string            `json:"name"`
	Boot    string            `json:"boot"` // this host's boot: nothing of a bed outlives it
	Subnet  netip.Prefix      `json:"subnet"`
	Link    int64             `json:"link,omitempty"`
	Delay   time.Duration     `json:"delay,omitempty"`
	Private []string          `json:"private,omitempty"`
	Join    bool              `json:"join,omitempty"`
	Keep    bool              `json:"keep,omitempty"`
	Ready   bool              `json:"ready,omitempty"` // all of it is there
	Env     map[string]string `json:"env,omitempty"`
	Hosts   []hostState       `json:"hosts"`
}

// hostState is one host.
type hostState struct {
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"`
	PID     int        `json:"pid,omitempty"`   // of its first process, 0 before its first boot
	Start   uint64     `json:"start,omitempty"` // when that began (proc(5), starttime), since numbers are used again
	AtBoot  [][]string `json:"at_boot,omitempty"`
}

func (s *state) host(name string) (*hostState, error) {
	for i := range s.Hosts {
		if s.Hosts[i].Name == name {
			return &s.Hosts[i], nil
		}
	}
	return nil, fmt.Errorf("bed %s: there is no host %q: see 'ore testbed ls'", s.Name, name)
}

// alive says whether the host's first process runs.
func (h *hostState) alive() bool {
	start, err := startOf(h.PID)
	return h.PID > 0 && err == nil && start == h.Start
}

// startOf returns when a living process began, in ticks since the host's boot.
func startOf(pid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is a name in parentheses that may have any bytes in it.
	_, rest, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
	f := strings.Fields(rest)
	if len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return 0, fmt.Errorf("process %d: it has ended", pid)
	}
	return strconv.ParseUint(f[19], 10, 64)
}

// bootID names this host's boot.
func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(b)), err
}

func read(dir string) (state, error) {
	var s state
	b, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return s, err
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("read %s: %w", filepath.Join(dir, stateFile), err)
	}
	return s, nil
}

func (s state) write(dir string) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return put(filepath.Join(dir, stateFile), b)
}

// put makes a file that appears whole.
func put(path string, b []byte) error {
	if err := os.WriteFile(path+".new", b, 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// lock locks a folder or file until the returned file is closed; with try it
// does not wait, and the error is then EWOULDBLOCK.
func lock(path string, try bool) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	how := unix.LOCK_EX
	if try {
		how |= unix.LOCK_NB
	}
	for {
		err = unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, &fs.PathError{Op: "lock", Path: path, Err: err}
	}
	return f, nil
}

// lockAll locks the folder of all beds, which it makes: nobody else then makes
// or removes one.
func lockAll() (*os.File, error) {
	for {
		if err := os.MkdirAll(root, 0o755); err != nil {
			return nil, err
		}
		f, err := lock(root, false)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		// Who had the lock before may have removed the folder as its last one.
		mine, err := f.Stat()
		if err != nil {
			f.Close()
			return nil, err
		}
		if there, err := os.Stat(root); err == nil && os.SameFile(mine, there) {
			return f, nil
		}
		f.Close()
	}
}

// names returns the names of all beds. The caller holds the lock of all.
func names() ([]string, error) {
	all, err := os.ReadDir(root)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range all {
		if e.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// abandoned says whether nobody will ever remove the bed in dir. The caller
// holds the lock of all.
func abandoned(dir string) bool {
	f, err := lock(filepath.Join(dir, ownerFile), true)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if f != nil {
		defer f.Close()
	}
	s, err := read(dir)
	boot, _ := bootID()
	return err != nil || s.Boot != boot || !s.Keep || !s.Ready
}

// sweep removes the beds that nobody else will remove. The caller holds the
// lock of all.
func sweep() error {
	all, err := names()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range all {
		if dir := filepath.Join(root, name); abandoned(dir) {
			errs = append(errs, remove(dir))
		}
	}
	return errors.Join(errs...)
}

// remove ends a bed's hosts and removes all that it is made of. The caller
// holds the lock of all.
func remove(dir string) error {
	s, err := read(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s = state{} // an unreadable state names no processes; the rest goes by the name
	}
	var errs []error
	for i := range s.Hosts {
		errs = append(errs, s.Hosts[i].kill())
	}
	errs = append(errs, removeSpaces(filepath.Base(dir)))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove bed %s: %w", filepath.Base(dir), err)
	}
	return os.RemoveAll(dir)
}
