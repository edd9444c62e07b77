package system

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"ore/guest"
)

// setUpSystem makes what Debian's programs expect of a running system, as far
// as it differs from machine to machine or lives in memory.
func (b *Machine) setUpSystem() error {
	err := mountAll([]mount{
		{source: "devpts", target: "/dev/pts", kind: "devpts", flags: nosuid | noexec, options: "gid=5,mode=620,ptmxmode=666"},
		{source: "tmpfs", target: "/dev/shm", kind: "tmpfs", flags: nosuid | nodev, options: "mode=1777"},
		{source: "mqueue", target: "/dev/mqueue", kind: "mqueue", flags: nosuid | noexec | nodev, optional: true},
		{source: "tmpfs", target: "/run/lock", kind: "tmpfs", flags: nosuid | noexec | nodev, options: "mode=1777,size=5m"},
		{source: "cgroup2", target: "/sys/fs/cgroup", kind: "cgroup2", flags: nosuid | noexec | nodev, optional: true},
	})
	if err != nil {
		return err
	}
	for link, target := range map[string]string{
		"/dev/fd": "/proc/self/fd", "/dev/stdin": "fd/0", "/dev/stdout": "fd/1", "/dev/stderr": "fd/2",
		"/dev/core": "/proc/kcore",
	} {
		if err := symlink(target, link); err != nil {
			return fmt.Errorf("link %s: %w", link, err)
		}
	}
	setFileLimit()
	if err := b.writeNames(); err != nil {
		return err
	}
	if err := b.writeOwn("/"); err != nil {
		return err
	}
	return b.restoreCapabilities()
}

// Limits of open files: the soft one is what programs that use select(2) can
// bear, the hard one what databases ask for. Both are systemd's.
const (
	softFiles = 1024
	hardFiles = 524288
)

func setFileLimit() {
	unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: softFiles, Max: hardFiles})
}

// writeNames writes the files in which machines differ. They are written to
// the private disk only.
func (b *Machine) writeNames() error {
	id := b.Identity
	if err := unix.Sethostname([]byte(id.Name)); err != nil {
		return fmt.Errorf("host name: %w", err)
	}
	if id.Network != nil && id.Network.Search != "" {
		unix.Setdomainname([]byte(id.Network.Search))
	}
	var random [16]byte
	rand.Read(random[:]) // never fails (crypto/rand)
	for _, f := range []struct{ path, text string }{
		{"/etc/hostname", id.Name + "\n"},
		{"/etc/hosts", b.hosts()},
		{"/etc/machine-id", hex.EncodeToString(random[:]) + "\n"}, // machine-id(5)
		{"/etc/resolv.conf", b.resolver()},
	} {
		err := writeFile(f.path, f.text)
		if errors.Is(err, unix.ELOOP) {
			// An image may have links here, to files of services that do not run.
			if err = unlink(f.path); err == nil {
				err = writeFile(f.path, f.text)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// hosts is hosts(5): the machine itself by its address in the job's network,
// so that what it tells others about itself is true for them.
func (b *Machine) hosts() string {
	var t strings.Builder
	t.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	domain := ""
	if n := b.Identity.Network; n != nil {
		domain = n.Search
	}
	known := false
	for _, h := range b.Identity.Hosts {
		known = known || h.Name == b.Identity.Name
		t.WriteString(h.IP + "\t")
		if domain != "" {
			t.WriteString(h.Name + "." + domain + " ")
		}
		t.WriteString(h.Name + "\n")
	}
	if !known {
		t.WriteString("127.0.1.1\t" + b.Identity.Name + "\n")
	}
	return t.String()
}

// Meet puts all machines of the job into hosts(5). What the job has added there
// stays; where the job has a list of its own, that is left alone.
func (b *Machine) Meet(all []guest.Host) error {
	const file = "/etc/hosts"
	now, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before := b.hosts()
	b.Identity.Hosts = all
	rest, ours := strings.CutPrefix(string(now), before)
	if !ours {
		return nil
	}
	if err := os.WriteFile(file+".new", []byte(b.hosts()+rest), 0o644); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// resolver is resolv.conf(5).
func (b *Machine) resolver() string {
	var t strings.Builder
	if n := b.Identity.Network; n != nil {
		if n.Search != "" {
			t.WriteString("search " + n.Search + "\n")
		}
		for _, a := range n.DNS {
			t.WriteString("nameserver " + a + "\n")
		}
	}
	return t.String()
}

// restoreCapabilities sets the attributes that layers cannot carry, on the
// private disk. Each one copies its file there, so that they should be few.
func (b *Machine) restoreCapabilities() error {
	for _, c := range b.Identity.Capabilities {
		err := unix.Lsetxattr(c.Path, "security.capability", c.Value, 0)
		if err != nil && !errors.Is(err, unix.ENOENT) { // a job's layer may have removed it
			return fmt.Errorf("capability of %s: %w", c.Path, err)
		}
	}
	return nil
}
