package vmtest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ore/vm"

	"golang.org/x/sys/unix"
)

// Conformance holds h to the contract of package vm by starting about ten
// machines. base has the kernel, an initramfs whose init is testinit (see
// Initramfs and BuildInit) and the resources; the suite sets the rest.
func Conformance(t *testing.T, h vm.Hypervisor, base vm.Config) {
	s := &suite{h: h, base: base}
	t.Run("devices", s.devices)
	t.Run("full", s.full)
	t.Run("stream", s.stream)
	t.Run("network", s.network)
	t.Run("kill", s.kill)
	t.Run("cancel", s.cancel)
	t.Run("outside", s.outside)
	t.Run("panic", s.panic)
	t.Run("reboot", s.reboot)
	t.Run("refusals", s.refusals)
	t.Run("several", s.several)
}

// Sample runs a part of Conformance that starts two machines: for drivers whose
// machines take long, where the whole suite runs elsewhere.
func Sample(t *testing.T, h vm.Hypervisor, base vm.Config) {
	s := &suite{h: h, base: base}
	t.Run("devices", s.devices)
	t.Run("outside", s.outside)
}

// startTime is how long a machine may take to speak, so that a test of a
// driver that hangs ends before the test binary's own limit. An emulated
// machine on a loaded host takes tens of seconds.
const startTime = 4 * time.Minute

type suite struct {
	h    vm.Hypervisor
	base vm.Config
}

// console is a writer that can be read while it is written.
type console struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

// Write appends to the text.
func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.Write(b)
}

// String returns the text so far.
func (c *console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.buf.String()
}

// config returns a machine's Config with a folder of its own.
func (s *suite) config(t *testing.T) vm.Config {
	c := s.base
	c.Name = "m0"
	c.Dir = t.TempDir()
	c.Console = &console{}
	return c
}

// start starts a machine and waits until its init speaks. When the test ends
// the machine must be gone without a trace.
func (s *suite) start(t *testing.T, c vm.Config) *guest {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startTime)
	t.Cleanup(cancel)
	return s.startFor(ctx, t, c)
}

func (s *suite) startFor(ctx context.Context, t *testing.T, c vm.Config) *guest {
	t.Helper()
	m, err := s.h.Start(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Kill(); err != nil {
			t.Errorf("kill: %v", err)
		}
		if err := m.Home().Close(); err != nil {
			t.Errorf("close home: %v", err)
		}
		noTrace(t, c.Dir)
		if t.Failed() {
			t.Logf("console of %s:\n%s", c.Name, c.Console)
		}
	})
	return talk(t, m)
}

// noTrace fails the test if a file of the driver's or a process is left.
func noTrace(t *testing.T, dir string) {
	t.Helper()
	left, err := os.ReadDir(dir)
	if err != nil {
		t.Error(err)
	}
	for _, e := range left {
		if !strings.HasPrefix(e.Name(), "test-") {
			t.Errorf("left behind: %s", e.Name())
		}
	}
	for _, f := range []string{"cmdline", "environ"} {
		paths, err := filepath.Glob("/proc/[0-9]*/" + f)
		if err != nil {
			t.Error(err)
		}
		for _, p := range paths {
			b, err := os.ReadFile(p)
			if err == nil && bytes.Contains(b, []byte(dir+"/")) {
				t.Errorf("left behind: process %s: %q", p, b)
			}
		}
	}
}

// seeded is the stream that testinit's source makes from a seed.
func seeded(seed string) io.Reader {
	var s [32]byte
	copy(s[:], seed)
	return rand.NewChaCha8(s)
}

// devices: memory, CPUs, layers, disk and console are what was asked.
func (s *suite) devices(t *testing.T) {
	c := s.config(t)
	c.Disk = filepath.Join(c.Dir, "test-disk")
	const diskSize = 5 << 30
	sparse(t, c.Disk, diskSize)
	var sums []string
	for i := range 3 {
		b, err := io.ReadAll(io.LimitReader(seeded(fmt.Sprint("layer", i)), int64(i+1)<<16))
		if err != nil {
			t.Fatal(err)
		}
		f := filepath.Join(c.Dir, fmt.Sprintf("test-layer%d", i))
		if err := os.WriteFile(f, b, 0o444); err != nil {
			t.Fatal(err)
		}
		c.Layers = append(c.Layers, f)
		sums = append(sums, fmt.Sprintf("%x", sha256.Sum256(b)))
	}
	c.Extra = archive(member{path: "extra.txt", mode: fileMode, data: []byte("it is me")})
	c.Append = []string{"ore.test=1"}
	g := s.start(t, c)
	g.size(c)
	if len(g.facts.Disks) != 4 {
		t.Fatalf("block devices: %+v", g.facts.Disks)
	}
	for i, sum := range sums {
		d := g.facts.Disks[i]
		if !d.ReadOnly || d.Size != int64(i+1)<<16 {
			t.Errorf("layer %d: %+v", i, d)
		}
		g.ask(sum, "hash %s 0 %d", d.Path, d.Size)
	}
	d := g.facts.Disks[3]
	if d.ReadOnly || d.Size != diskSize {
		t.Errorf("disk: %+v", d)
	}
	g.ask("ok", "write %s %d %x", d.Path, diskSize-4096, strings.Repeat("end of disk.", 32))
	g.ask("ok", "print hello-console")
	g.say("off")
	if err := g.Wait(); err != nil {
		t.Errorf("after power off: %v", err)
	}
	if _, err := g.in.ReadByte(); err != io.EOF {
		t.Errorf("home after the end: %v", err)
	}
	wrote(t, c.Disk, diskSize)
	if !strings.Contains(c.Console.(*console).String(), "hello-console") {
		t.Error("the console did not say hello-console")
	}
}

// reserved is the part of a machine's memory that its kernel may keep for
// itself: its text and 1/64 for page structures, which weigh most in small
// machines.
func reserved(memory int64) int64 { return memory/32 + 48<<20 }

// size checks what was given against what was asked.
func (g *guest) size(c vm.Config) {
	g.t.Helper()
	f := g.facts
	if f.CPUs != c.CPUs {
		g.t.Errorf("%d CPUs, asked for %d", f.CPUs, c.CPUs)
	}
	if f.Memory > c.Memory || f.Memory < c.Memory-reserved(c.Memory) {
		g.t.Errorf("%d bytes of memory, asked for %d", f.Memory, c.Memory)
	}
	if f.Extra != "it is me" {
		g.t.Errorf("the appended archive holds %q", f.Extra)
	}
	if !strings.Contains(f.Cmdline, "ore.test=1") {
		g.t.Errorf("the kernel's command line is %q", f.Cmdline)
	}
	g.ask("ok", "touch %d", c.Memory/2)
}

func sparse(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
}

// wrote checks that the guest's write reached the disk's file, and that the
// rest is still sparse.
func wrote(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 12)
	if _, err := f.ReadAt(b, size-4096); err != nil || string(b) != "end of disk." {
		t.Errorf("the disk's file holds %q, %v", b, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	if used := st.Blocks * 512; used > 1<<20 {
		t.Errorf("the disk takes %d bytes on the host after a write of 384", used)
	}
}

// stream: home carries any bytes, in order, both ways, also to a slow reader.
func (s *suite) stream(t *testing.T) {
	g := s.start(t, s.config(t))
	const n = 4 << 20
	for _, rest := range []int{0, 2} {
		g.say("sink %d %d %d", n, 32<<10, rest)
		h := sha256.New()
		if err := <-g.send(io.TeeReader(seeded("down"), h), n); err != nil {
			t.Fatal(err)
		}
		if got, want := g.line(), fmt.Sprintf("%x", h.Sum(nil)); got != want {
			t.Fatalf("resting %d ms: the guest read %s, the host wrote %s", rest, got, want)
		}
	}
	g.say("source %d up", n)
	same(t, g.in, seeded("up"), n)
	g.say("echo %d", n)
	sent := g.send(seeded("echo"), n)
	same(t, g.in, seeded("echo"), n)
	if err := <-sent; err != nil {
		t.Error(err)
	}
	g.ask("ok", "print still-here")
}

// same fails unless the next n bytes of two streams are equal.
func same(t *testing.T, a, b io.Reader, n int) {
	t.Helper()
	x, y := make([]byte, 64<<10), make([]byte, 64<<10)
	for at := 0; at < n; at += len(x) {
		if _, err := io.ReadFull(a, x); err != nil {
			t.Fatalf("after %d bytes: %v", at, err)
		}
		if _, err := io.ReadFull(b, y); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(x, y) {
			t.Fatalf("other bytes between %d and %d", at, at+len(x))
		}
	}
}

// network: frames pass both ways, one a packet, with the MAC asked for.
func (s *suite) network(t *testing.T) {
	c := s.config(t)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	c.Net = os.NewFile(uintptr(fds[1]), "net")
	c.MAC = net.HardwareAddr{0x52, 0x54, 0, 0x12, 0x34, 0x56}
	g := s.start(t, c)
	defer unix.Close(fds[0])
	if len(g.facts.Links) != 1 || g.facts.Links[0].MAC != c.MAC.String() {
		t.Fatalf("network interfaces: %+v", g.facts.Links)
	}
	sizes := []int{60, 64, 1000, 1514}
	g.ask("ok", "frames %d", len(sizes))
	peer := net.HardwareAddr{0x52, 0x54, 0, 0, 0, 1}
	for _, n := range sizes {
		f := make([]byte, n)
		copy(f, c.MAC)
		copy(f[6:], peer)
		f[12], f[13] = 0x88, 0xb5 // for local experiments (IEEE 802)
		if _, err := io.ReadFull(seeded(fmt.Sprint(n)), f[14:]); err != nil {
			t.Fatal(err)
		}
		if _, err := unix.Write(fds[0], f); err != nil {
			t.Fatal(err)
		}
		got := receive(t, fds[0])
		if len(got) != n || !bytes.Equal(got[:6], peer) || !bytes.Equal(got[6:12], c.MAC) || !bytes.Equal(got[12:], f[12:]) {
			t.Errorf("a frame of %d bytes came back as %d bytes %x", n, len(got), got[:min(len(got), 32)])
		}
	}
}

// receive returns the next frame that is not the guest kernel's own.
func receive(t *testing.T, fd int) []byte {
	t.Helper()
	b := make([]byte, 64<<10)
	for {
		n, err := unix.Read(fd, b)
		if err != nil || n == 0 {
			t.Fatalf("network: %d bytes, %v", n, err)
		}
		if n > 14 && b[12] == 0x88 && b[13] == 0xb5 {
			return b[:n]
		}
	}
}

// kill: the machine ends at once, with its cause, and may be killed again.
func (s *suite) kill(t *testing.T) {
	c := s.config(t)
	g := s.start(t, c)
	g.ask("ok", "fork 3")
	for range 2 {
		if err := g.Kill(); err != nil {
			t.Fatal(err)
		}
		noTrace(t, c.Dir)
	}
	ended(t, g.Wait(), vm.ErrKilled)
}

// ended fails unless err is an ExitError of m0 with a cause.
func ended(t *testing.T, err, cause error) {
	t.Helper()
	var e *vm.ExitError
	if !errors.As(err, &e) || e.Machine != "m0" || (cause != nil && !errors.Is(err, cause)) {
		t.Errorf("Wait returned %v, want an ExitError of m0 with the cause %v", err, cause)
	}
}

// cancel: the end of ctx is the machine's.
func (s *suite) cancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	g := s.startFor(ctx, t, s.config(t))
	cancel()
	ended(t, g.Wait(), context.Canceled)
	c := s.config(t)
	if _, err := s.h.Start(ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("starting with a context that has ended: %v", err)
	}
	noTrace(t, c.Dir)
}

// outside: a hypervisor killed by somebody else is noticed and cleaned up.
func (s *suite) outside(t *testing.T) {
	c := s.config(t)
	g := s.start(t, c)
	p, ok := g.Machine.(interface{ Pid() int })
	if !ok {
		t.Fatalf("%T has no Pid", g.Machine)
	}
	g.ask("ok", "fork 3")
	if err := unix.Kill(p.Pid(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	ended(t, g.Wait(), nil)
	noTrace(t, c.Dir)
}

// panic: a kernel that gives up ends its machine, and the error shows why.
func (s *suite) panic(t *testing.T) {
	g := s.start(t, s.config(t))
	g.say("panic")
	err := g.Wait()
	ended(t, err, vm.ErrPanic)
	var e *vm.ExitError
	if errors.As(err, &e) && !strings.Contains(e.Console, "panic") {
		t.Errorf("the console's end is %q", e.Console)
	}
}

// reboot: a machine boots once.
func (s *suite) reboot(t *testing.T) {
	g := s.start(t, s.config(t))
	g.say("reboot")
	if err := g.Wait(); err != nil {
		t.Errorf("after a reboot: %v", err)
	}
}

// refusals: what cannot be is said before anything is started.
func (s *suite) refusals(t *testing.T) {
	a, err := s.h.Probe(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	nowhere, err := os.Open(os.DevNull) // Start closes it
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct {
		summary string
		change  func(*vm.Config)
	}{
		{"no name", func(c *vm.Config) { c.Name = "" }},
		{"a name with a slash", func(c *vm.Config) { c.Name = "a/b" }},
		{"no CPU", func(c *vm.Config) { c.CPUs = 0 }},
		{"no memory", func(c *vm.Config) { c.Memory = 1 << 20 }},
		{"a missing layer", func(c *vm.Config) { c.Layers = []string{c.Dir + "/missing"} }},
		{"a relative path", func(c *vm.Config) { c.Disk = "disk" }},
		{"a kernel argument with a space", func(c *vm.Config) { c.Append = []string{"a b"} }},
		{"a network without an address", func(c *vm.Config) { c.Net, c.MAC = nowhere, nil }},
	} {
		c := s.config(t)
		r.change(&c)
		if _, err := s.h.Start(context.Background(), c); err == nil {
			t.Errorf("%s: not refused", r.summary)
		}
		noTrace(t, c.Dir)
	}
	if a.MaxCPUs > 0 {
		c := s.config(t)
		c.CPUs = a.MaxCPUs + 1
		if _, err := s.h.Start(context.Background(), c); !errors.Is(err, vm.ErrTooManyCPUs) {
			t.Errorf("%d CPUs: %v", c.CPUs, err)
		}
	}
}

// several: machines share layers and do not disturb each other.
func (s *suite) several(t *testing.T) {
	layer := filepath.Join(t.TempDir(), "layer")
	if err := os.WriteFile(layer, bytes.Repeat([]byte("shared"), 1<<16), 0o444); err != nil {
		t.Fatal(err)
	}
	const n = 3
	t.Run("at once", func(t *testing.T) {
		for i := range n {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				c := s.config(t)
				c.Name = fmt.Sprint("m", i)
				c.Layers = []string{layer}
				g := s.start(t, c)
				g.ask("ok", "print machine-%d", i)
			})
		}
	})
}
