package sandbox

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pageSize is the unit of a caller's memory: a read that ends with the page
// never meets memory that is not there.
const pageSize = 4096

// chunk is how much of a string is read at a time: most paths are shorter.
const chunk = 256

// readText reads a string from the caller's memory.
func (s *supervisor) readText(c *call, address uint64) (string, error) {
	var text []byte
	for len(text) < unix.PathMax {
		b := s.chunk[:min(chunk, pageSize-address%pageSize)]
		n, err := peek(c, address, b)
		if err != nil {
			return "", err
		}
		if i := bytes.IndexByte(b[:n], 0); i >= 0 {
			return string(append(text, b[:i]...)), nil
		}
		text = append(text, b[:n]...)
		address += uint64(n)
	}
	return "", unix.ENAMETOOLONG
}

// peek copies the caller's memory (process_vm_readv(2)).
func peek(c *call, address uint64, b []byte) (int, error) {
	local := [1]unix.Iovec{{Base: &b[0], Len: uint64(len(b))}}
	remote := [1]unix.RemoteIovec{{Base: uintptr(address), Len: len(b)}}
	return unix.ProcessVMReadv(int(c.pid), local[:], remote[:], 0)
}

// poke writes the size bytes at p into the caller's memory.
func poke(c *call, address uint64, p unsafe.Pointer, size uintptr) error {
	local := [1]unix.Iovec{{Base: (*byte)(p), Len: uint64(size)}}
	remote := [1]unix.RemoteIovec{{Base: uintptr(address), Len: int(size)}}
	n, err := unix.ProcessVMWritev(int(c.pid), local[:], remote[:], 0)
	if err == nil && uintptr(n) != size {
		err = unix.EFAULT
	}
	return err
}

// place is where a call looks for a file.
type place struct {
	folder  uint64 // a descriptor of the caller, or AT_FDCWD
	address uint64 // of the path
	follow  bool   // a symbolic link at the end
	empty   bool   // an empty path stands for the descriptor itself
}

// cwd is AT_FDCWD as an argument register has it.
const cwd = uint64(uint32(0xffffff9c))

// find names, for the supervisor, the file that a call names.
func (s *supervisor) find(c *call, p place) (target, error) {
	if p.empty && p.address == 0 {
		return descriptor(c, p.folder), nil
	}
	path, err := s.readText(c, p.address)
	switch {
	case err != nil:
		return target{}, err
	case path == "" && p.empty:
		return descriptor(c, p.folder), nil
	case path == "":
		return target{}, unix.ENOENT
	case path[0] != '/':
		return target{path: descriptor(c, p.folder).path + "/" + path, follow: p.follow}, nil
	}
	if s.nested {
		if t, err := s.findNested(c, path, p.follow); err != errPass {
			return t, err
		}
	}
	return target{path: itself(c, path), follow: p.follow}, nil
}

// descriptor names the file behind a descriptor of the caller, relative to
// /proc.
func descriptor(c *call, fd uint64) target {
	b := strconv.AppendUint(make([]byte, 0, recordSize), uint64(c.pid), 10)
	if uint32(fd) == uint32(cwd) {
		return target{path: string(append(b, "/cwd"...)), follow: true}
	}
	b = append(b, "/fd/"...)
	return target{path: string(strconv.AppendInt(b, int64(int32(fd)), 10)), follow: true}
}

// itself replaces the names by which a process calls itself, which would mean
// the supervisor here.
func itself(c *call, path string) string {
	for name, stands := range map[string]string{
		"/proc/self/": "/", "/proc/thread-self/": "/", "/dev/fd/": "/fd/",
	} {
		if rest, ok := strings.CutPrefix(path, name); ok {
			return strconv.Itoa(int(c.pid)) + stands + rest
		}
	}
	switch path {
	case "/dev/stdin":
		return strconv.Itoa(int(c.pid)) + "/fd/0"
	case "/dev/stdout":
		return strconv.Itoa(int(c.pid)) + "/fd/1"
	case "/dev/stderr":
		return strconv.Itoa(int(c.pid)) + "/fd/2"
	}
	return path
}

// findNested finds an absolute path of a caller that has another root folder.
func (s *supervisor) findNested(c *call, path string, follow bool) (target, error) {
	root := strconv.Itoa(int(c.pid)) + "/root"
	if to, err := os.Readlink(root); err != nil || to == "/" {
		return target{}, errPass
	}
	fd, err := unix.Open(root, unix.O_PATH|unix.O_CLOEXEC|unix.O_DIRECTORY, 0)
	if err != nil {
		return target{}, err
	}
	defer unix.Close(fd)
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT}
	if follow {
		if s.opened, err = unix.Openat2(fd, path, &how); err == nil {
			return target{path: "self/fd/" + strconv.Itoa(s.opened), follow: true}, nil
		}
	}
	folder, name := splitPath(path)
	if s.opened, err = unix.Openat2(fd, folder, &how); err != nil {
		s.opened = -1
		return target{}, err
	}
	return target{path: "self/fd/" + strconv.Itoa(s.opened) + "/" + name, follow: follow}, nil
}

// splitPath splits a path before its last name.
func splitPath(path string) (folder, name string) {
	path = strings.TrimRight(path, "/")
	i := strings.LastIndexByte(path, '/')
	switch {
	case i < 0:
		return ".", path
	case i == 0:
		return "/", path[1:]
	}
	return path[:i], path[i+1:]
}

// umask returns the caller's (proc(5), /proc/PID/status).
func (s *supervisor) umask(c *call) (uint32, error) {
	b, err := os.ReadFile(strconv.Itoa(int(c.pid)) + "/status")
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(b) {
		if v, ok := bytes.CutPrefix(line, []byte("Umask:")); ok {
			n, err := strconv.ParseUint(string(bytes.TrimSpace(v)), 8, 32)
			return uint32(n), err
		}
	}
	return 0, unix.EIO
}
