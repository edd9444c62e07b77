package system

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// busIdentity is where D-Bus looks for what machine-id(5) has
// (dbus-uuidgen(1)).
const busIdentity = "/var/lib/dbus/machine-id"

// writeOwn writes the files that only this machine has, below root: each where
// its folder is, which its package made, and nothing of that name, which the
// image's maker wanted.
func (b *Machine) writeOwn(root string) error {
	for _, f := range b.Identity.Own {
		file := filepath.Join(root, f.Path)
		if _, err := os.Stat(filepath.Dir(file)); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		w, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, os.FileMode(f.Mode))
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("own file: %w", err)
		}
		_, err = w.Write(f.Content)
		err = errors.Join(err, w.Chown(idOf(filepath.Join(root, "/etc/passwd"), f.Owner), idOf(filepath.Join(root, "/etc/group"), f.Group)))
		// After the owner, and whatever the umask is.
		err = errors.Join(err, w.Chmod(os.FileMode(f.Mode)), w.Close())
		if err != nil {
			return fmt.Errorf("own file %s: %w", f.Path, err)
		}
	}
	// A link fails where there is no D-Bus, or a link already.
	err := os.Symlink("/etc/machine-id", filepath.Join(root, busIdentity))
	if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// idOf looks the number of a user up in a file of passwd(5), or of a group in
// one of group(5). What is not there is root's.
func idOf(file, name string) int {
	f, err := os.Open(file)
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if fields := strings.Split(s.Text(), ":"); len(fields) >= 3 && fields[0] == name {
			if id, err := strconv.Atoi(fields[2]); err == nil {
				return id
			}
		}
	}
	return 0
}
