package shelf_test

import (
	"debug/elf"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ore/deb/shelf"
	"ore/deb/shelf/shelftest"
)

// nobody is an ordinary user that every Debian system has.
const nobody = 65534

// asNobody makes c run as an ordinary user, if this is root.
func asNobody(c *exec.Cmd) {
	if os.Getuid() == 0 {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
}

// publicDir is a folder that an ordinary user may enter.
func publicDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func open(t *testing.T, dir string) *shelf.Shelf {
	t.Helper()
	s, err := shelf.Open(dir, shelftest.Source(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// interp returns the path of the loader that the kernel takes for a program.
func interp(t *testing.T, program string) string {
	t.Helper()
	f, err := elf.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			b, err := io.ReadAll(p.Open())
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
	}
	t.Fatalf("%s has no loader", program)
	return ""
}

// TestPrograms runs the programs that the project takes from the shelf, as an
// ordinary user in a folder of no meaning, and sees that the loader takes
// nothing from outside the shelf.
func TestPrograms(t *testing.T) {
	dir := publicDir(t)
	s := open(t, dir)
	for _, c := range []struct{ pkg, path, arg, want string }{
		{"user-mode-linux", "usr/bin/linux.uml", "--version", "6."},
		{"xz-utils", "usr/bin/xz", "--version", "liblzma"},
		{"e2fsprogs", "usr/sbin/mke2fs", "-V", "EXT2FS Library"},
	} {
		p, err := s.Program(t.Context(), c.pkg, c.path)
		if err != nil {
			t.Errorf("%s: %v", c.pkg, err)
			continue
		}
		cmd := p.Command(t.Context(), c.arg)
		cmd.Dir = "/"
		asNobody(cmd)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s %s: %v: %s", p.Path, c.arg, err, out)
		}
		// ld.so(8): with this the loader lists what it maps, and ends.
		cmd = p.Command(t.Context())
		cmd.Env = append(cmd.Env, "LD_TRACE_LOADED_OBJECTS=1")
		out, err = cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "libc.so.6") {
			t.Errorf("list of libraries of %s: %v: %s", c.path, err, out)
		}
		for line := range strings.Lines(string(out)) {
			_, file, ok := strings.Cut(line, " => ")
			if ok && !strings.HasPrefix(file, dir) {
				t.Errorf("%s maps %s", c.path, file)
			}
		}
		if loader := interp(t, p.Path); !strings.HasPrefix(loader, dir) {
			t.Errorf("%s is loaded by %s", c.path, loader)
		}
	}
}
