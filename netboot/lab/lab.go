// Package lab gives tests a network of their own, with emulated machines on it that
// boot from it: a network namespace, in which the test is the only process, so that
// no packet of it leaves the host and nothing is left when it ends.
package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// Card is the address of the machines' network card.
	Card = "52:54:00:00:09:01"
	// Switch is the interface by which the host is on the network, at 10.9.0.1/24.
	Switch = "br0"
	// inside says that this process is in a network namespace of its own.
	inside = "ORE_TEST_NETBOOT_INSIDE"
	// watching, if set, has machines' consoles shown as they speak.
	watching = "ORE_TEST_CONSOLE"
	// spare is how much earlier than its own test the one in the network ends by time:
	// what it has to say then is read.
	spare = 10 * time.Second
)

// Signs are those by which it is known that something goes on. The zero value has had
// none. All may call it at any time.
type Signs struct {
	mu   sync.Mutex // guards last
	last time.Time
}

// Note notes a sign.
func (s *Signs) Note() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = time.Now()
}

// Last is when there was one.
func (s *Signs) Last() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.last
}

// Silence passes when no sign has come by any of some ways for a time: since it was
// called, at first.
type Silence struct {
	C     <-chan time.Time // may be the end: ask Over
	timer *time.Timer
	limit time.Duration
	begun time.Time
	ways  []*Signs
}

// NewSilence begins to wait. Stop ends it.
func NewSilence(limit time.Duration, ways ...*Signs) *Silence {
	t := time.NewTimer(limit)
	return &Silence{C: t.C, timer: t, limit: limit, begun: time.Now(), ways: ways}
}

// Over says, when C had something, whether it was silent for so long. If not, C will
// have something when it might be.
func (s *Silence) Over() bool {
	last := s.begun
	for _, w := range s.ways {
		if at := w.Last(); at.After(last) {
			last = at
		}
	}
	left := s.limit - time.Since(last)
	s.timer.Reset(max(left, 0))
	return left <= 0
}

// Stop ends the waiting.
func (s *Silence) Stop() { s.timer.Stop() }

// Inside says whether this process has a network of its own. Outside of it there
// is a way to mirrors.
func Inside() bool { return os.Getenv(inside) != "" }

// Alone runs the test again as the only process of a network namespace, for as long as
// this one may still run, and says whether this is that process.
func Alone(t *testing.T) bool {
	t.Helper()
	if Inside() {
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("only root may make a network namespace with taps in it")
	}
	left := time.Duration(0) // no limit
	if end, ok := t.Deadline(); ok {
		left = max(time.Until(end)-spare, time.Second)
	}
	c := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout="+left.String())
	c.Env = append(os.Environ(), inside+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if os.Getenv(watching) != "" {
		c.Stdout, c.Stderr = os.Stderr, os.Stderr
	}
	if err := c.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	t.Logf("%s", &out)
	return false
}

// IP runs ip(8) once for each line.
func IP(t *testing.T, lines string) {
	t.Helper()
	for line := range strings.Lines(lines) {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", strings.TrimSpace(line), err, out)
		}
	}
}

// Ethernet makes a switch with this host and a tap on it.
func Ethernet(t *testing.T) {
	t.Helper()
	IP(t, `link set lo up
		link add br0 type bridge
		address add 10.9.0.1/24 dev br0
		link set br0 up`)
	Tap(t, first)
}

// first is the tap of a machine that is alone.
const first = "tap0"

// Tap makes one more tap on the switch, for RunOn.
func Tap(t *testing.T, name string) {
	t.Helper()
	IP(t, "tuntap add dev "+name+" mode tap\nlink set "+name+" master br0 up")
}

// Machine is a running QEMU.
type Machine struct {
	t    *testing.T
	says chan string
	all  string // what it has said
	seen int    // how much of that was expected
	end  func()
	pid  int

	signs Signs
	ways  []*Signs // by which it is heard
}

// Run starts a machine on the tap, emulated and with 512 MiB unless the arguments
// say otherwise; it ends with the test, or before it by End.
func Run(t *testing.T, arguments ...string) *Machine {
	t.Helper()
	return RunOn(t, first, arguments...)
}

// RunOn is Run, on another tap, which no other machine is on.
func RunOn(t *testing.T, tap string, arguments ...string) *Machine {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := exec.CommandContext(ctx, "qemu-system-x86_64", append([]string{"-accel", "tcg", "-cpu", "qemu64,+rdrand", "-m", "512", "-nodefaults", "-display", "none",
		"-serial", "stdio", "-netdev", "tap,id=n0,ifname=" + tap + ",script=no,downscript=no"}, arguments...)...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var complaints bytes.Buffer
	c.Stderr = &complaints
	if err := c.Start(); err != nil {
		t.Fatalf("%v: install qemu-system-x86", err)
	}
	m := &Machine{t: t, says: make(chan string, 10_000), pid: c.Process.Pid}
	m.ways = []*Signs{&m.signs}
	var reading sync.WaitGroup
	reading.Go(func() {
		defer close(m.says)
		b := make([]byte, 4096) // not lines: firmware waits in the midst of one
		for {
			n, err := out.Read(b)
			if err != nil {
				return
			}
			m.signs.Note()
			m.says <- string(b[:n])
			if os.Getenv(watching) != "" {
				os.Stderr.Write(b[:n])
			}
		}
	})
	m.end = sync.OnceFunc(func() {
		cancel()
		go func() { // so that the reader is not stuck; it ends with the channel
			for range m.says {
			}
		}()
		reading.Wait()
		c.Wait()
		if complaints.Len() > 0 {
			t.Logf("qemu: %s", &complaints)
		}
	})
	t.Cleanup(m.end)
	return m
}

// End takes a machine's power away.
func (m *Machine) End() { m.end() }

// CPU is what the emulated machine has cost its host so far: on one that does much
// else, a better measure than time.
func (m *Machine) CPU() time.Duration {
	m.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", m.pid))
	if err != nil {
		m.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), ") ") // behind the program's name (proc_pid_stat(5))
	fields := strings.Fields(rest)
	const user, tick = 11, 10 * time.Millisecond // utime, then stime; USER_HZ is 100 (time(7))
	var sum time.Duration
	for _, f := range fields[user : user+2] {
		n, err := strconv.Atoi(f)
		if err != nil {
			m.t.Fatal(err)
		}
		sum += time.Duration(n) * tick
	}
	return sum
}

// Beside has signs of another way count as the machine's, for Expect.
func (m *Machine) Beside(s *Signs) { m.ways = append(m.ways, s) }

// Said is all that was read of its serial line.
func (m *Machine) Said() string { return m.all }

// Expect waits until the serial line says what the expression matches, after what
// was expected before, and returns what its parentheses found. It waits as long as
// something is heard of the machine, and then for so long.
func (m *Machine) Expect(silence time.Duration, expression string) []string {
	m.t.Helper()
	re := regexp.MustCompile(expression)
	end := NewSilence(silence, m.ways...)
	defer end.Stop()
	for {
		if at := re.FindStringSubmatchIndex(m.all[m.seen:]); at != nil {
			found := re.FindStringSubmatch(m.all[m.seen:])
			m.seen += at[1]
			return found
		}
		select {
		case s, ok := <-m.says:
			if !ok {
				m.t.Fatalf("the machine ended without %q:\n%s", expression, m.all)
			}
			m.all += s
		case <-end.C:
			if end.Over() {
				m.t.Fatalf("no %q came, and nothing else for %v:\n%s", expression, silence, m.all)
			}
		}
	}
}
