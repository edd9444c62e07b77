package tree

import (
	"ore/install/sandbox"
)

// Owners gives entries their owners and device numbers and tells them again.
// Where the host allows it they are the file's own; else they are recorded
// beside it. Paths are the host's; a symbolic link at their end is not followed.
type Owners interface {
	Chown(path string, uid, gid int) error
	Mknod(path string, mode uint32, major, minor uint32) error
	// Owner tells what the file is meant to be.
	Owner(path string) (sandbox.Stat, error)
}

var _ Owners = (*sandbox.Sandbox)(nil)
