package kit

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"ore"
	"ore/image"
	"ore/node"
)

// sparse makes a file of 64 MiB with a few bytes at some places.
func sparse(t testing.TB, dir string) string {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "sparse"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	for _, at := range []int64{0, 5 << 20, 64<<20 - 4096} {
		if _, err := f.WriteAt(bytes.Repeat([]byte{7}, 4096), at); err != nil {
			t.Fatal(err)
		}
	}
	return f.Name()
}

// place is a host with a store of its own and nothing else.
func newLayout(t *testing.T) Layout {
	t.Helper()
	store, err := image.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return Layout{Store: store, Dir: t.TempDir()}
}

// send copies the blobs of a kit.
func send(t *testing.T, l Layout, paths map[ore.Digest]string) {
	t.Helper()
	for d, p := range paths {
		f, err := os.Open(p)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Store.PutStream(t.Context(), d, f); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
}

// boot is what machines here could be started with: a program of this host
// stands for the hypervisor.
func boot(t *testing.T) node.Boot {
	t.Helper()
	program, err := exec.LookPath("ls")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	b := node.Boot{Hypervisor: "uml", Program: []string{program, "--version"}, Disk: sparse(t, dir), Release: "6.1"}
	for _, p := range []*string{&b.Initrd, &b.Modules} {
		f, err := os.CreateTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(f.Name()); err != nil {
			t.Fatal(err)
		}
		f.Close()
		*p = f.Name()
	}
	return b
}

// A program runs where it was laid out with its own loader and libraries, and
// the disk is as sparse as it was.
func TestKitRunsElsewhere(t *testing.T) {
	p, err := OpenPacker(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := boot(t)
	k, paths, err := p.Pack(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	l := newLayout(t)
	if _, err := l.Lay(t.Context(), k); !errors.Is(err, image.ErrMissing) {
		t.Fatalf("without its blobs: %v", err)
	}
	send(t, l, paths)
	got, err := l.Lay(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(got.Program[0], got.Program[1:]...)
	cmd.Env = append(got.Env, "LD_DEBUG=files")
	var trace bytes.Buffer
	cmd.Stderr = &trace
	out, err := cmd.Output()
	if err != nil || !bytes.Contains(out, []byte("coreutils")) {
		t.Errorf("the program says %q, %v: %s", out, err, trace.Bytes())
	}
	if dir := filepath.Dir(got.Program[0]); !bytes.Contains(trace.Bytes(), []byte(dir+"/libc.so.6")) {
		t.Errorf("it did not run with the libraries in %s: %s", dir, trace.Bytes())
	}
	same(t, got.Disk, b.Disk)
	same(t, got.Initrd, b.Initrd)
	if info, err := os.Stat(filepath.Join(p.store.Dir(), "blobs/sha256", k.Disk.Hex())); err != nil || info.Size() > 64<<10 {
		t.Errorf("an empty disk is sent as %v, %v", info, err)
	}
	again, _, err := p.Pack(t.Context(), b)
	if err != nil || again.Program != k.Program {
		t.Errorf("packed again it is %+v, %v", again, err)
	}
}

func same(t *testing.T, got, want string) {
	t.Helper()
	a, b := open(t, got), open(t, want)
	x, y := make([]byte, 1<<20), make([]byte, 1<<20)
	for {
		n, err := io.ReadFull(a, x)
		m, err2 := io.ReadFull(b, y)
		if n != m || !bytes.Equal(x[:n], y[:m]) {
			t.Fatalf("%s differs from %s", got, want)
		}
		if err != nil || err2 != nil {
			return
		}
	}
}

func open(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// What is the same for two users whose folders differ has the same digest, so
// that it is sent once.
func TestProgramWithoutItsHost(t *testing.T) {
	program, err := exec.LookPath("ls")
	if err != nil {
		t.Fatal(err)
	}
	original, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var archives [][]byte
	for _, loader := range []string{"/lib64/ld-linux-x86-64.so.2", "/lib64/../lib64/ld-linux-x86-64.so.2"} {
		bound, err := bind(bytes.Clone(original), loader)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "ls")
		if err := os.WriteFile(path, bound, 0o755); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := PackProgram(&b, path, nil); err != nil {
			t.Fatal(err)
		}
		archives = append(archives, b.Bytes())
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the same program with its loader elsewhere is sent as something else")
	}
}

// What somebody wrote to is not started: it is laid out again from its blob.
func TestChangedFilesAreLaidOutAgain(t *testing.T) {
	p, err := OpenPacker(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	k, paths, err := p.Pack(t.Context(), boot(t))
	if err != nil {
		t.Fatal(err)
	}
	l := newLayout(t)
	send(t, l, paths)
	first, err := l.Lay(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(first.Program[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(first.Program[0], 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(first.Program[0], []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	second, err := l.Lay(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	if now, err := os.ReadFile(second.Program[0]); err != nil || !bytes.Equal(now, good) {
		t.Errorf("a program that somebody wrote to was taken, %v", err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(second.Program[0]), "libevil.so"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Lay(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(second.Program[0]), "libevil.so")); err == nil {
		t.Error("a library that somebody added was left there")
	}
}

// QEMU is the host's own, or there is none.
func TestProgramOfTheHost(t *testing.T) {
	p, err := OpenPacker(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b := boot(t)
	b.Hypervisor = "qemu"
	k, paths, err := p.Pack(t.Context(), b)
	if err != nil || k.Own != "ls" || k.Program != "" {
		t.Fatalf("packed %+v, %v", k, err)
	}
	l := newLayout(t)
	send(t, l, paths)
	got, err := l.Lay(t.Context(), k)
	if err != nil || got.Program[0] != b.Program[0] || got.Env != nil {
		t.Errorf("laid out %+v, %v; want the host's %s", got, err, b.Program[0])
	}
	for _, own := range []string{"no-such-program", "/bin/sh", "../bin/sh"} {
		k.Own = own
		if _, err := l.Lay(t.Context(), k); err == nil || !strings.Contains(err.Error(), "use hypervisor: uml") {
			t.Errorf("%s: %v", own, err)
		}
	}
}

// archive makes a tar archive of files with these names.
func archive(t testing.TB, names ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	program, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		content := program[:512]
		if n == programName {
			content = program
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: n, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestBadArchives(t *testing.T) {
	for _, names := range [][]string{
		{}, {"loader", "program"}, {"program", "lib.so"}, {"program", "loader", "../x"}, {"program", "loader", "a/b"},
		{"program", "loader", "/etc/passwd"}, {"program", "loader", ".."}, {"program", "loader", "program"},
	} {
		dir := t.TempDir()
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Unpack(bytes.NewReader(archive(t, names...)), root, dir); !errors.Is(err, ErrFormat) {
			t.Errorf("%v: %v", names, err)
		}
		root.Close()
	}
}

func TestBadDisks(t *testing.T) {
	good := append([]byte(sparseMagic), 0, 0, 0, 0, 0, 0, 16, 0)
	piece := func(at, n byte) []byte { return append(make([]byte, 7), at, 0, 0, 0, 0, 0, 0, 0, n) }
	for what, b := range map[string][]byte{
		"nothing": nil, "no magic": bytes.Repeat([]byte{1}, 16),
		"too large":           append([]byte(sparseMagic), bytes.Repeat([]byte{255}, 8)...),
		"a short piece":       append(append(bytes.Clone(good), piece(0, 9)...), 1, 2),
		"half a header":       append(bytes.Clone(good), 1, 2, 3),
		"beyond the end":      append(append(bytes.Clone(good), 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 1), 9),
		"pieces that overlap": append(append(append(append(bytes.Clone(good), piece(0, 2)...), 1, 2), piece(1, 2)...), 1, 2),
	} {
		f, err := os.Create(filepath.Join(t.TempDir(), "disk"))
		if err != nil {
			t.Fatal(err)
		}
		if err := UnpackSparse(bytes.NewReader(b), f); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", what, err)
		}
		f.Close()
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, "program", "loader"))
	f.Add([]byte("no archive"))
	f.Fuzz(func(t *testing.T, b []byte) {
		dir := t.TempDir()
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		if path, err := Unpack(bytes.NewReader(b), root, dir); err == nil {
			if _, err := os.Stat(path); err != nil {
				t.Errorf("taken, but there is no program: %v", err)
			}
		}
	})
}

func FuzzUnpackSparse(f *testing.F) {
	var b bytes.Buffer
	s, err := os.Open(sparse(f, f.TempDir()))
	if err != nil {
		f.Fatal(err)
	}
	defer s.Close()
	if err := PackSparse(&b, s); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		to, err := os.Create(filepath.Join(t.TempDir(), "disk"))
		if err != nil {
			t.Fatal(err)
		}
		defer to.Close()
		if UnpackSparse(bytes.NewReader(b), to) == nil {
			var again bytes.Buffer
			if err := PackSparse(&again, to); err != nil {
				t.Errorf("a disk that was made cannot be sent on: %v", err)
			}
		}
	})
}
