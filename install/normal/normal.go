// Package normal takes away what would make one build of an environment differ
// from another: logs, backups, caches with times in them, and identities that
// each machine must make for itself.
package normal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
)

// forgotten are the files that scripts leave and that no two builds would have
// alike or that only remember the build: patterns of [path.Match], relative to
// the tree, of which any part may have wildcards. Each is taken away after
// configuring, in every phase.
var forgotten = [...]string{
	// Logs of the build.
	"var/log/dpkg.log", "var/log/alternatives.log", "var/log/bootstrap.log",
	"var/log/apt/*", "var/log/fontconfig.log",
	// Backups that tools make before they write.
	"var/lib/dpkg/*-old", "var/cache/debconf/*-old", "var/lib/dpkg/info/*.ore-aside",
	"etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-", "etc/subuid-", "etc/subgid-",
	// Caches that hold times or inode numbers.
	"var/cache/ldconfig/aux-cache", "var/cache/apt/*.bin", "var/cache/man/index.db", "var/cache/man/*/index.db",
	// Identities: each machine makes its own.
	"var/lib/dbus/machine-id", "var/lib/systemd/random-seed", "var/lib/urandom/random-seed",
	"etc/ssh/ssh_host_*_key", "etc/ssh/ssh_host_*_key.pub",
	"etc/munge/munge.key",
	"etc/ssl/private/ssl-cert-snakeoil.key", "etc/ssl/certs/ssl-cert-snakeoil.pem",
}

// emptied are the folders whose content does not survive a boot anyway. The
// value is a name in them that stays: base-files has /run/lock, to which
// /var/lock leads (Policy 9.1.4).
var emptied = [...]struct{ dir, keep string }{{"tmp", ""}, {"run", "lock"}, {"var/tmp", ""}}

// unordered are the files to which programs append lines in the order in which
// packages are unpacked or configured, and whose meaning does not depend on it.
var unordered = [...]string{
	"etc/shells", "var/lib/dpkg/triggers/*", statoverride, "var/lib/ucf/hashfile", "var/lib/ucf/registry",
}

// statoverride is there only while it has lines: dpkg-statoverride(1) leaves an
// empty one when it removes the last.
const statoverride = "var/lib/dpkg/statoverride"

// machineID is emptied, not removed: an empty file makes systemd write a new
// one at boot (machine-id(5)).
const machineID = "etc/machine-id"

// certificates is where each certificate has a link named by a hash of its
// subject. Those of the certificate that is forgotten go with it.
const (
	certificates = "etc/ssl/certs/*.[0-9]"
	forgottenPEM = "ssl-cert-snakeoil.pem"
)

// Normalise takes away what makes one build differ from another from the tree in
// the folder dir.
func Normalise(dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("normalise: %w", err)
	}
	defer root.Close()
	for _, pattern := range forgotten {
		if err := forget(root, pattern); err != nil {
			return fmt.Errorf("normalise: %w", err)
		}
	}
	if err := forgetLinks(root); err != nil {
		return fmt.Errorf("normalise: %w", err)
	}
	for _, pattern := range unordered {
		if err := order(root, pattern); err != nil {
			return fmt.Errorf("normalise: %w", err)
		}
	}
	for _, e := range emptied {
		if err := empty(root, e.dir, e.keep); err != nil {
			return fmt.Errorf("normalise: %w", err)
		}
	}
	if _, err := root.Lstat(machineID); err == nil {
		if err := root.WriteFile(machineID, nil, 0o644); err != nil {
			return fmt.Errorf("normalise: %w", err)
		}
	}
	return nil
}

// Remove removes files and empty folders from the tree in the folder dir; their
// names are absolute there.
func Remove(dir string, names []string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	defer root.Close()
	for _, name := range names {
		if err := gone(root.Remove(strings.TrimPrefix(name, "/"))); err != nil {
			return fmt.Errorf("remove: %w", err)
		}
	}
	return nil
}

// forget removes what matches the pattern.
func forget(root *os.Root, pattern string) error {
	matches, err := fs.Glob(root.FS(), pattern)
	if err != nil {
		return err
	}
	for _, name := range matches {
		if err := gone(root.RemoveAll(name)); err != nil {
			return err
		}
	}
	return nil
}

// order sorts the lines of the files that match the pattern.
func order(root *os.Root, pattern string) error {
	matches, err := fs.Glob(root.FS(), pattern)
	if err != nil {
		return err
	}
	for _, name := range matches {
		st, err := root.Lstat(name)
		if err != nil {
			return err
		}
		if !st.Mode().IsRegular() {
			continue
		}
		b, err := root.ReadFile(name)
		if err != nil {
			return err
		}
		lines := slices.Sorted(strings.Lines(string(b)))
		if len(b) == 0 && name == statoverride {
			if err := root.Remove(name); err != nil {
				return err
			}
			continue
		}
		if sorted := strings.Join(lines, ""); sorted != string(b) {
			if err := root.WriteFile(name, []byte(sorted), st.Mode().Perm()); err != nil {
				return err
			}
		}
	}
	return nil
}

// forgetLinks removes the links to the certificate that is forgotten.
func forgetLinks(root *os.Root) error {
	links, err := fs.Glob(root.FS(), certificates)
	if err != nil {
		return err
	}
	for _, name := range links {
		target, err := root.Readlink(name)
		if err == nil && target == forgottenPEM {
			if err := gone(root.Remove(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func empty(root *os.Root, dir, keep string) error {
	st, err := root.Lstat(dir)
	if err != nil || !st.IsDir() {
		return gone(err)
	}
	list, err := fs.ReadDir(root.FS(), dir)
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.Name() != keep {
			if err := root.RemoveAll(path.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// gone is err unless it says that there is nothing.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
