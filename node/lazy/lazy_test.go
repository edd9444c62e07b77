package lazy_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"ore/namespace"
	"ore/node/lazy"
)

// uidOrdinary is a user that need not exist.
const uidOrdinary = 54325

// TestMain lets the test's program be a supervisor with a folder, and an ordinary
// user's starter of one.
func TestMain(m *testing.M) {
	err := namespace.Enter()
	switch {
	case err != nil:
	case len(os.Args) == 3 && os.Args[1] == "supervise":
		err = supervise(os.Args[2])
	case len(os.Args) == 3 && os.Args[1] == "person":
		err = comeAndGo(context.Background(), os.Args[2])
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// supervise has a child read a file, as a hypervisor does, and says what it read.
func supervise(path string) error {
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil { // ends when the file is there
		return err
	}
	cmd := exec.Command("dd", "if="+path, "bs=64k", "skip=8", "status=none")
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	fmt.Printf("%x\n", sha256.Sum256(out))
	return nil
}

func content(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// started is a supervisor with its folder.
type started struct {
	*namespace.Process
	folder *lazy.Folder
	out    *os.File
	begin  *os.File // its end has the reader begin
}

func start(ctx context.Context, dir, role string) (started, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return started{}, err
	}
	defer w.Close()
	in, begin, err := os.Pipe()
	if err != nil {
		return started{}, err
	}
	defer in.Close()
	o := namespace.Options{
		Kinds: namespace.Mount | namespace.PID, Args: []string{role, filepath.Join(dir, "layer")}, Lazy: dir,
		Stdin: in, Stdout: w, Stderr: os.Stderr,
	}
	if os.Geteuid() != 0 {
		o.Kinds |= namespace.User
	}
	p, err := namespace.Start(ctx, o)
	if err != nil {
		return started{}, err
	}
	if p.Device() == nil {
		p.Kill()
		return started{}, errors.Join(errors.New("there is no folder"), p.Wait())
	}
	f, err := lazy.Serve(p.Device())
	return started{p, f, r, begin}, err
}

// comeAndGo has a file read of which the end comes only once the reader waits for it.
func comeAndGo(ctx context.Context, dir string) error {
	want := content(3 << 20)
	waits, there := make(chan bool, 100), make(chan bool)
	file := lazy.File{Name: "layer", Size: int64(len(want)), ReadAt: func(ctx context.Context, b []byte, off int64) (int, error) {
		if off+int64(len(b)) > 2<<20 {
			waits <- true
			select {
			case <-there:
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}
		return copy(b, want[off:]), nil
	}}
	s, err := start(ctx, dir, "supervise")
	if err != nil {
		return err
	}
	s.folder.Add(file)
	s.begin.Close()
	<-waits
	close(there)
	said, err := io.ReadAll(s.out)
	if err = errors.Join(err, s.Wait()); err != nil {
		return err
	}
	if got := fmt.Sprintf("%x\n", sha256.Sum256(want[512<<10:])); got != string(said) {
		return fmt.Errorf("the reader saw %q, want %q", said, got)
	}
	t, ok := s.folder.Touched("layer")
	if !ok || len(t.Ranges) == 0 || t.Ranges[0].Offset > 512<<10 || t.Bytes < int64(len(want))-512<<10 || t.Took == 0 {
		return fmt.Errorf("what was read is noted as %+v", t)
	}
	return s.folder.Close()
}

func folder(t *testing.T) string {
	t.Helper()
	if f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0); err != nil {
		t.Skipf("this host has no FUSE: %v", err)
	} else {
		f.Close()
	}
	dir, err := os.MkdirTemp("", "ore-lazy-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestReadersWait(t *testing.T) {
	if err := comeAndGo(t.Context(), folder(t)); err != nil {
		t.Fatal(err)
	}
}

// The same without root.
func TestReadersOfAnOrdinaryUserWait(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("this test becomes another user: run it as root")
	}
	if info, err := os.Stat("/dev/fuse"); err == nil && info.Mode().Perm()&0o006 != 0o006 {
		t.Skip("/dev/fuse is not for all users: chmod 666 /dev/fuse, as Debian's udev has it")
	}
	dir := folder(t)
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	program, mount := filepath.Join(dir, "test"), filepath.Join(dir, "mount")
	err = errors.Join(os.WriteFile(program, b, 0o755), os.Chmod(dir, 0o755), os.Mkdir(mount, 0o755), os.Chown(mount, uidOrdinary, uidOrdinary))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "person", mount)
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uidOrdinary, Gid: uidOrdinary}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// A reader that waits for what never comes can be killed, and nothing is left.
func TestKilledWhileItWaits(t *testing.T) {
	dir := folder(t)
	s, err := start(t.Context(), dir, "supervise")
	if err != nil {
		t.Fatal(err)
	}
	waits := make(chan bool, 100)
	s.folder.Add(lazy.File{Name: "layer", Size: 3 << 20, ReadAt: func(ctx context.Context, _ []byte, _ int64) (int, error) {
		waits <- true
		<-ctx.Done()
		return 0, ctx.Err()
	}})
	s.begin.Close()
	<-waits
	gone := make(chan error, 1)
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	go func() { gone <- s.Wait() }()
	select {
	case <-gone:
	case <-time.After(2 * time.Minute):
		t.Fatal("the reader cannot be killed")
	}
	if err := s.folder.Close(); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || bytes.Contains(b, []byte(dir)) {
		t.Errorf("the folder is mounted outside: %v", err)
	}
}

// What reading through the folder costs, over reading the plain file, in shares of
// what its server notes as its own time: "weight".
func BenchmarkRead(b *testing.B) {
	dir, err := os.MkdirTemp("", "ore-lazy-")
	if err != nil {
		b.Fatal(err)
	}
	defer os.RemoveAll(dir)
	const size = 64 << 20
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, content(size), 0o600); err != nil {
		b.Fatal(err)
	}
	f, err := os.Open(plain)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	var through, straight, served time.Duration
	for b.Loop() {
		mount := filepath.Join(dir, "mount")
		if err := os.Mkdir(mount, 0o700); err != nil {
			b.Fatal(err)
		}
		s, err := start(b.Context(), mount, "supervise")
		if err != nil {
			b.Fatal(err)
		}
		s.folder.Add(lazy.File{Name: "layer", Size: size, ReadAt: func(_ context.Context, p []byte, off int64) (int, error) {
			n, err := f.ReadAt(p, off)
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return n, err
		}})
		seen := fmt.Sprintf("/proc/%d/root%s/layer", s.Pid(), mount)
		for path, sum := range map[string]*time.Duration{seen: &through, plain: &straight} {
			begun := time.Now()
			if out, err := exec.Command("dd", "if="+path, "of=/dev/null", "bs=64k", "status=none").CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, out)
			}
			*sum += time.Since(begun)
		}
		t, _ := s.folder.Touched("layer")
		served += t.Took
		s.begin.Close()
		s.out.Close()
		_ = s.Wait()
		if err := errors.Join(s.folder.Close(), os.Remove(mount)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(size)*float64(b.N)/1e6/through.Seconds(), "MB/s")
	b.ReportMetric((through-straight).Seconds()/served.Seconds(), "weight")
}
