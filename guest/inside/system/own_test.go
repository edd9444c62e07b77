package system

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"ore/guest"
)

// Own files appear where their packages are, and never in the place of what an
// image has.
func TestWriteOwn(t *testing.T) {
	root := t.TempDir()
	for _, d := range []string{"etc/ssh", "etc/ssl", "var/lib/dbus"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("etc/ssh/given", "the image's")
	owner := os.Getuid()
	if owner == 0 {
		owner = 7 // somebody else, as whom a file can be given away to
	}
	write("etc/passwd", fmt.Sprintf("root:x:0:0::/root:/bin/sh\nmunge:x:%d:1::/:/bin/false\n", owner))
	write("etc/group", fmt.Sprintf("root:x:0:\nssl-cert:x:%d:\n", os.Getgid()))
	m := &Machine{Identity: guest.Identity{Own: []guest.File{
		{Path: "/etc/ssh/key", Mode: 0o600, Content: []byte("new")},
		{Path: "/etc/ssh/given", Mode: 0o644, Content: []byte("new")},
		{Path: "/etc/ssl/key", Mode: 0o640, Group: "ssl-cert", Content: []byte("new")},
		{Path: "/etc/ssl/owned", Mode: 0o400, Owner: "munge", Group: "ssl-cert", Content: []byte("new")},
		{Path: "/etc/missing/key", Mode: 0o600, Content: []byte("new")},
	}}}
	for range 2 { // a machine may have been written to before
		if err := m.writeOwn(root); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"etc/ssh/key": "new -rw-------", "etc/ssh/given": "the image's -rw-------", "etc/ssl/key": "new -rw-r-----", "etc/missing/key": "",
	} {
		got := ""
		if b, err := os.ReadFile(filepath.Join(root, name)); err == nil {
			info, err := os.Stat(filepath.Join(root, name))
			if err != nil {
				t.Fatal(err)
			}
			got = string(b) + " " + info.Mode().String()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	info, err := os.Stat(filepath.Join(root, "etc/ssl/owned"))
	if err != nil {
		t.Fatal(err)
	}
	if s := info.Sys().(*syscall.Stat_t); int(s.Uid) != owner || info.Mode() != 0o400 {
		t.Errorf("an owned file is of uid %d, want %d, %v", s.Uid, owner, info.Mode())
	}
	if to, err := os.Readlink(filepath.Join(root, busIdentity)); to != "/etc/machine-id" {
		t.Errorf("D-Bus's identity: %q, %v", to, err)
	}
}
