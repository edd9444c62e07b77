package accounts

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"ore/install/tree"
)

// capability is the attribute that is lost when a file changes its owner.
const capability = "security.capability"

// names are the account files in the order of files.
var names = [...]string{"etc/passwd", "etc/group", "etc/shadow", "etc/gshadow"}

func (f *files) all() [len(names)]*[]byte {
	return [...]*[]byte{&f.Passwd, &f.Group, &f.Shadow, &f.Gshadow}
}

// read reads the account files of a tree.
func read(v *tree.View) (files, error) {
	var f files
	for i, b := range f.all() {
		var err error
		if *b, err = v.ReadFile(names[i]); err != nil {
			return f, err
		}
	}
	return f, nil
}

// Change is what [Order] wants done to a tree.
type Change struct {
	now, want     files
	users, groups numbers
}

// Owners tells whether files must change their owners.
func (c *Change) Owners() bool { return len(c.users)+len(c.groups) > 0 }

// Write writes the account files to the tree that appears in the folder root,
// in place, so that their own owners and modes stay.
func (c *Change) Write(root string) error {
	now := c.now.all()
	for i, b := range c.want.all() {
		if string(*b) == string(*now[i]) {
			continue
		}
		if err := os.WriteFile(root+"/"+names[i], *b, 0o644); err != nil {
			return fmt.Errorf("order accounts: %w", err)
		}
	}
	return nil
}

// Concerns tells whether a file with these owners gets others.
func (c *Change) Concerns(uid, gid uint32) bool {
	_, u := c.users[uid]
	_, g := c.groups[gid]
	return u || g
}

// Own gives the file at the host's path its new owners, if it gets others.
func (c *Change) Own(o tree.Owners, host string) error {
	st, err := o.Owner(host)
	if err != nil || !c.Concerns(st.UID, st.GID) {
		return err
	}
	uid, gid := st.UID, st.GID
	if n, ok := c.users[uid]; ok {
		uid = n
	}
	if n, ok := c.groups[gid]; ok {
		gid = n
	}
	if err := o.Chown(host, int(uid), int(gid)); err != nil {
		return err
	}
	if st.Mode.Type() == fs.ModeSymlink {
		return nil
	}
	if err := unix.Chmod(host, tree.UnixMode(st.Mode)); err != nil {
		return fmt.Errorf("order accounts: chmod %s: %w", host, err)
	}
	if st.Capability == nil {
		return nil
	}
	if err := unix.Lsetxattr(host, capability, st.Capability, 0); err != nil {
		return fmt.Errorf("order accounts: capability of %s: %w", host, err)
	}
	return nil
}

// OwnAll gives files of the tree that appears in the folder root their new owners:
// those of its upper folder, which may be other than nodes say, and those of nodes, by
// name, that get others.
func (c *Change) OwnAll(o tree.Owners, root, upper string, nodes map[string]*tree.Node) error {
	names := map[string]bool{}
	found, err := tree.Scan(upper, false)
	if err != nil {
		return err
	}
	for i := range found {
		names[found[i].Path] = true
	}
	for name, n := range nodes {
		if c.Concerns(n.UID, n.GID) {
			names[name] = true
		}
	}
	for name := range names {
		host := root + "/" + name
		if _, err := os.Lstat(host); errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
			continue // it was removed
		}
		if err := c.Own(o, host); err != nil {
			return err
		}
	}
	return nil
}
