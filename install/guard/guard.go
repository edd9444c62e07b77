// Package guard keeps services from being started in a tree while packages are
// configured there.
package guard

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// The guard's files. policy-rc.d is asked by invoke-rc.d and deb-systemd-invoke
// before a service is started, and exit code 101 forbids it (invoke-rc.d(8));
// start-stop-daemon is what scripts that ask nobody use.
const (
	policyFile   = "usr/sbin/policy-rc.d"
	policyScript = "#!/bin/sh\nexit 101\n"
	daemonFile   = "usr/sbin/start-stop-daemon"
	daemonScript = "#!/bin/sh\nexit 0\n"
	asideSuffix  = ".ore-aside"
)

// Services runs f while no service can be started in the tree in the folder dir.
func Services(dir string, f func() error) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	defer root.Close()
	return guard(root, [][2]string{{policyFile, policyScript}, {daemon(root), daemonScript}}, f)
}

// Policy runs f while services are forbidden, but no program of the tree is
// replaced: dpkg --verify finds nothing.
func Policy(dir string, f func() error) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("guard: %w", err)
	}
	defer root.Close()
	return guard(root, [][2]string{{policyFile, policyScript}}, f)
}

// guard runs f while scripts stand in for files.
func guard(root *os.Root, list [][2]string, f func() error) (err error) {
	for _, g := range list {
		undo, err2 := standIn(root, g[0], g[1])
		if err2 != nil {
			return fmt.Errorf("guard: %w", err2)
		}
		defer func() { err = errors.Join(err, undo()) }()
	}
	return f()
}

// daemon returns where start-stop-daemon is: suites before the merge of /usr
// have it in /sbin.
func daemon(root *os.Root) string {
	const old = "sbin/start-stop-daemon"
	if st, err := root.Lstat("sbin"); err == nil && st.IsDir() {
		if _, err := root.Lstat(old); err == nil {
			return old
		}
	}
	return daemonFile
}

// standIn puts a script in the place of a file, which the returned function
// puts back.
func standIn(root *os.Root, name, script string) (undo func() error, err error) {
	err = root.Rename(name, name+asideSuffix)
	existed := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, err
	}
	if err := root.WriteFile(name, []byte(script), 0o755); err != nil {
		return nil, err
	}
	return func() error {
		if existed {
			return root.Rename(name+asideSuffix, name)
		}
		return root.Remove(name)
	}, nil
}
