package vmtest

import (
	"bytes"
	"fmt"
	"io/fs"
)

// member is one entry of an initramfs.
type member struct {
	path         string
	mode         uint32 // as in stat(2)
	major, minor int    // of a device
	data         []byte
}

// archive writes members as a newc cpio archive
// (Documentation/driver-api/early-userspace/buffer-format.rst).
func archive(members ...member) []byte {
	var b bytes.Buffer
	for i, m := range append(members, member{path: "TRAILER!!!"}) {
		fmt.Fprintf(&b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", i+1, m.mode, 0, 0, 1, 0,
			len(m.data), 0, 0, m.major, m.minor, len(m.path)+1, 0)
		b.WriteString(m.path + "\x00")
		align(&b)
		b.Write(m.data)
		align(&b)
	}
	return b.Bytes()
}

func align(b *bytes.Buffer) { b.Write(make([]byte, -b.Len()&3)) }

// File modes as in stat(2).
const (
	folderMode = 0o040755
	deviceMode = 0o020600
	fileMode   = 0o100644
	execMode   = 0o100755
)

// Initramfs returns an initramfs whose init is the program given, and which
// loads the kernel modules given, in their order, before it opens home.
func Initramfs(init []byte, modules fs.FS, names ...string) ([]byte, error) {
	ms := []member{
		{path: "dev", mode: folderMode}, {path: "dev/console", mode: deviceMode, major: 5, minor: 1},
		{path: "modules", mode: folderMode}, {path: "init", mode: execMode, data: init},
	}
	for i, n := range names {
		b, err := fs.ReadFile(modules, n)
		if err != nil {
			return nil, err
		}
		ms = append(ms, member{path: fmt.Sprintf("modules/%03d.ko", i), mode: fileMode, data: b})
	}
	return archive(ms...), nil
}
