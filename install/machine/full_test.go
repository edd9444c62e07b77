package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ore/deb/fetch"
	"ore/image"
	"ore/install/recipe"
)

// filled are three file systems: / with what is kept for root left, /var with nothing,
// and /var/lib empty.
func filled(t *testing.T) *mounts {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting needs root")
	}
	device, _ := loop(t, 32*mib)
	sh(t, "mkfs.ext4", "-q", "-O", "^has_journal", "-m", "40", device)
	m := &mounts{target: t.TempDir()}
	mount := func(from, kind, at, data string) string {
		at = filepath.Join(m.target, at)
		if err := errors.Join(os.MkdirAll(at, 0o755), unix.Mount(from, at, kind, 0, data)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(at, unix.MNT_DETACH) })
		m.done, m.from = append(m.done, at), append(m.from, from)
		return at
	}
	fill := func(at string, bytes int) error {
		return os.WriteFile(filepath.Join(at, "large"), make([]byte, bytes), 0o600)
	}
	if err := fill(mount(device, "ext4", "", ""), 21*mib); err != nil {
		t.Fatal(err)
	}
	if err := fill(mount("b", "tmpfs", "var", "size=1m"), 2*mib); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	mount("c", "tmpfs", "var/lib", "size=1m")
	var st unix.Statfs_t
	if err := unix.Statfs(m.done[0], &st); err != nil || st.Bavail > 0 || st.Bfree == 0 {
		t.Fatalf("%d of %d blocks are left, %d for others than root: %v", st.Bfree, st.Blocks, st.Bavail, err)
	}
	return m
}

// Only a file system that had no room is called full, and no other one.
func TestWhichIsFull(t *testing.T) {
	m := filled(t)
	at := func(name string) error {
		return &fs.PathError{Op: "write", Path: filepath.Join(m.target, name), Err: unix.ENOSPC}
	}
	server := &fetch.StatusError{URL: "http://192.0.2.1/x.deb", Code: 507, Said: "write /var/cache/x.deb: no space left on device: " + image.ErrFull.Error()}
	for _, c := range []struct {
		summary string
		err     error
		want    string // "" for none
	}{
		{"a write of ours, and it is gone", image.Full(at("var/lib/x")), "/var/lib on c"},
		{"a write of ours on /", fmt.Errorf("install packages in %s: stage usr/bin/x: %w", m.target, unix.ENOSPC), "/ on "},
		{"a name that begins alike", at("variable"), "/ on "},
		{"a write that names the machine's path", fmt.Errorf("write /var/x: %w", unix.ENOSPC), "/var on b"},
		{"such a one, and it is not full", fmt.Errorf("write /var/lib/x: %w", unix.ENOSPC), "/var on b"},
		{"a program's words", errors.New("dpkg: cannot copy './x' to '/var/x.dpkg-new': No space left on device"), "/var on b"},
		{"such without a path", errors.New("tar: x: Cannot write: No space left on device\nexit code 2"), "/var on b"},
		{"a server's", fmt.Errorf("install packages: %w", server), ""},
		{"other words", errors.New("tar: x: Cannot open: No such file or directory"), ""},
	} {
		got := m.full(c.err)
		var fault recipe.Fault
		switch {
		case c.want == "" && got != c.err:
			t.Errorf("%s: %v", c.summary, got)
		case c.want != "" && (!errors.As(got, &fault) || !errors.Is(got, c.err) || !strings.Contains(got.Error(), ": "+c.want) || strings.Contains(got.Error(), "prune")):
			t.Errorf("%s: %v, want %s", c.summary, got, c.want)
		}
	}
	if err := os.Remove(filepath.Join(m.target, "var/large")); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		errors.New("inotify_add_watch: No space left on device"),
		&fs.PathError{Op: "fork/exec", Path: filepath.Join(m.target, "var/x"), Err: unix.ENOSPC},
		&fs.PathError{Op: "write", Path: "/run/x", Err: unix.ENOSPC},
	} {
		if got := m.full(err); got != err {
			t.Errorf("nothing is full: %v", got)
		}
	}
}
