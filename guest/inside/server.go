package inside

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"ore/guest"
	"ore/guest/inside/system"
	"ore/guest/wire"
)

// Layout says where the two folders are that the host and jobs know. In a
// machine they are /job and /run/ore; elsewhere they may be anywhere.
type Layout struct {
	Job string // the work folder
	Run string // in memory: programs, secrets, lists of hosts
}

// machineLayout is what machines have.
func machineLayout() Layout { return Layout{Job: "/job", Run: system.Run} }

// resolve maps a folder as the host names it to where it is.
func (l Layout) resolve(dir string) string {
	if dir == "" {
		return l.Job
	}
	dir = filepath.Clean("/" + dir)
	if rest, ok := strings.CutPrefix(dir, machineLayout().Job); ok && (rest == "" || rest[0] == '/') {
		return filepath.Join(l.Job, rest)
	}
	return dir
}

// makeJob makes the work folder, for every user of the machine.
func (l Layout) makeJob() error {
	err := os.Mkdir(l.Job, 0o777)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("work folder: %w", err)
	}
	return os.Chmod(l.Job, 0o777|os.ModeSticky)
}

// server answers the host.
type server struct {
	mu       sync.Mutex     // guards identity.Hosts and their lists
	identity guest.Identity // but for the hosts, it stays as it is
	layout   Layout
	reaper   *reaper
	cgroups  *cgroups
	session  *wire.Session
	inputs   wire.Inputs
	exposed  func() func()            // makes children normal prey of the killer for want of memory
	powerOff func()                   // the host wants the end; does not return in a machine
	lost     func()                   // home has ended; does not return in a machine
	meet     func([]guest.Host) error // the machine's own list of hosts, hosts(5)

	background sync.WaitGroup // all goroutines that outlive a call
}

// Serve greets the host over home and serves it until home ends or ctx does.
// It needs no machine: this process reaps its own children, whose folders are
// those of layout. It is how tests and fakes run the serving half as a local
// process, which must have no other use for its children.
func Serve(ctx context.Context, home io.ReadWriteCloser, id guest.Identity, layout Layout) error {
	s := &server{
		identity: id, layout: layout, cgroups: &cgroups{}, reaper: newReaper(),
		exposed: func() func() { return func() {} }, powerOff: func() {}, lost: func() {},
		meet: func([]guest.Host) error { return nil },
	}
	// Orphans of commands then come to this process and not to init.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become reaper: %w", err)
	}
	if err := s.writeHosts(); err != nil {
		return err
	}
	if err := s.linkProgram(); err != nil {
		return err
	}
	if _, err := wire.SendHello(home, wire.Hello{Token: id.Token, Name: id.Name, Kernel: release()}); err != nil {
		return err
	}
	err := s.serve(ctx, home)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, wire.ErrClosed) {
		return nil // home ended, from the other side or from this one
	}
	return err
}

// linkProgram puts this program where commands find it as launcher.
func (s *server) linkProgram() error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	bin := filepath.Join(s.layout.Run, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return err
	}
	return linkLaunchers(bin, program)
}

// serve runs the session after the greeting. When it ends, nothing that was
// started for it is left.
func (s *server) serve(ctx context.Context, home io.ReadWriteCloser) error {
	ctx, cancel := context.WithCancel(ctx)
	s.session = wire.NewSession(home, false)
	var reaping sync.WaitGroup
	reapCtx, stopReaping := context.WithCancel(context.WithoutCancel(ctx))
	reaping.Go(func() { s.reaper.run(reapCtx) })
	stopListening, err := s.listen(ctx)
	if err == nil {
		stop := context.AfterFunc(ctx, func() { s.session.Close() })
		err = s.accept()
		stop()
		stopListening()
	}
	cancel()
	s.session.Close()
	s.lost()
	endChildren()
	s.background.Wait()
	stopReaping()
	reaping.Wait()
	return err
}

func (s *server) accept() error {
	for {
		st, err := s.session.Accept()
		if err != nil {
			return err
		}
		s.background.Go(func() { s.answer(st) })
	}
}

// endChildren kills all children until there are none, the orphans of killed
// ones included, which come to this process.
func endChildren() {
	tick := time.NewTicker(emptyPoll)
	defer tick.Stop()
	for {
		pids := children()
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			unix.Kill(pid, unix.SIGKILL)
		}
		<-tick.C
	}
}

// children lists the children of all threads of this process (proc(5)).
func children() []int {
	var pids []int
	files, _ := filepath.Glob("/proc/self/task/*/children")
	for _, file := range files {
		b, _ := os.ReadFile(file)
		for f := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

func (s *server) answer(st *wire.Stream) {
	q, err := wire.ReceiveRequest(st)
	if err != nil {
		st.Close()
		return
	}
	if q.Op == wire.Stdin {
		if !s.inputs.Offer(q.ID, st) {
			st.Close()
		}
		return
	}
	defer st.Close()
	switch q.Op {
	case wire.Exec:
		s.exec(st, q)
	case wire.Put:
		s.put(st, q)
	case wire.Get:
		s.get(st, q)
	case wire.State:
		wire.SendAnswer(st, s.condition())
		st.Finish()
	case wire.Meet:
		var a wire.Answer
		if err := s.meetHosts(q.Hosts); err != nil {
			a.Error = err.Error()
		}
		wire.SendAnswer(st, a)
		st.Finish()
	case wire.PowerOff:
		wire.SendAnswer(st, wire.Answer{})
		st.Finish()
		s.powerOff()
		s.session.Close()
	default:
		wire.WriteFailure(st, fmt.Errorf("the machine does not know %q", q.Op))
		st.Finish()
	}
}

// put unpacks what the host sends.
func (s *server) put(st *wire.Stream, q wire.Request) {
	var a wire.Answer
	if err := s.unpack(st, q.Dir); err != nil {
		a.Error = err.Error()
	}
	// The rest of a stream that was not wanted is taken too: the host reads
	// the answer only when it has sent all.
	io.Copy(io.Discard, st)
	wire.SendAnswer(st, a)
	st.Finish()
}

func (s *server) unpack(r io.Reader, dir string) error {
	dir = s.layout.resolve(dir)
	if err := s.layout.makeJob(); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	_, err = guest.Extract(root, r, guest.Limits{AnyLinks: true, Exact: true})
	return err
}

// get sends what the host asks for.
func (s *server) get(st *wire.Stream, q wire.Request) {
	root, err := os.OpenRoot(s.layout.resolve(q.Dir))
	if err == nil {
		err = guest.PackMatches(tarFrames{&sender{st: st}}, root, q.Patterns)
		root.Close()
	}
	if err != nil {
		wire.WriteFailure(st, err)
	} else {
		wire.WriteExit(st, wire.Exit{})
	}
	st.Finish()
}

// tarFrames sends a tar stream as frames, so that an error can follow it.
type tarFrames struct{ out *sender }

func (t tarFrames) Write(p []byte) (int, error) {
	sent := 0
	for sent < len(p) {
		n := min(len(p)-sent, wire.MaxFrame)
		if err := t.out.frame(wire.Stdout, p[sent:sent+n]); err != nil {
			return sent, err
		}
		sent += n
	}
	return sent, nil
}

// condition reads the machine's state; what cannot be read is zero.
func (s *server) condition() wire.Condition {
	var c wire.Condition
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) == nil {
		c.UptimeMS = si.Uptime * 1000
		c.Processes = int(si.Procs)
	}
	c.MemoryTotal, c.MemoryAvailable = meminfo()
	var fs unix.Statfs_t
	if unix.Statfs(s.layout.Job, &fs) == nil || unix.Statfs("/", &fs) == nil {
		c.DiskTotal, c.DiskFree = int64(fs.Blocks)*fs.Bsize, int64(fs.Bavail)*fs.Bsize
	}
	return c
}

// memory reads the two numbers of proc(5)'s meminfo that people ask for.
func meminfo() (total, available int64) {
	b, _ := os.ReadFile("/proc/meminfo")
	for line := range strings.Lines(string(b)) {
		var kb int64
		if n, _ := fmt.Sscanf(line, "MemTotal: %d kB", &kb); n == 1 {
			total = kb << 10
		}
		if n, _ := fmt.Sscanf(line, "MemAvailable: %d kB", &kb); n == 1 {
			available = kb << 10
		}
	}
	return total, available
}

// release names the running kernel.
func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}
