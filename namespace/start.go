package namespace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Kind is a set of namespaces.
type Kind uintptr

// The namespaces that a process can be started in.
const (
	User  Kind = unix.CLONE_NEWUSER
	Mount Kind = unix.CLONE_NEWNS
	PID   Kind = unix.CLONE_NEWPID
	Net   Kind = unix.CLONE_NEWNET
	IPC   Kind = unix.CLONE_NEWIPC
	UTS   Kind = unix.CLONE_NEWUTS
)

// variable is the environment variable through which Start talks to Enter. It
// holds the number of the lifeline's descriptor, the kinds and the identities.
const variable = "ORE_NAMESPACE"

// lazyVariable names the folder of Options.Lazy.
const lazyVariable = "ORE_LAZY"

// markVariable names the group of processes that belong together, for Sweep.
const markVariable = "ORE_MARK"

// firstFile is the number that the first of Options.Files has inside.
const firstFile = 3

// reportLimit bounds what the new process may say about itself on the
// lifeline before it is ready: one line with an error in it.
const reportLimit = 4096

// ErrRefused is what errors.Is finds in errors that mean: this host does not let this user
// make these namespaces. Starting again can not help, other Kinds can.
var ErrRefused = errors.New("namespaces refused")

// refusal is an error of which errors.Is says ErrRefused, and whose text, which
// ends with what to do, stays as it is.
type refusal struct{ error }

// Unwrap returns the kernel's error.
func (r refusal) Unwrap() error { return r.error }

// Is reports whether other is ErrRefused.
func (r refusal) Is(other error) bool { return other == ErrRefused }

// Options says what Start runs and where.
type Options struct {
	Kinds Kind
	IDs   IDs      // with User: which identities exist inside
	Args  []string // arguments of the new process; its name is that of this one
	Env   []string // nil for the environment of this process
	Dir   string   // "" for the working folder of this process

	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Files          []*os.File // descriptors 3 and up inside

	// Lazy, where set, is a folder on which a file system is mounted that Device
	// serves, before the new process gives its privileges up. It needs Mount.
	Lazy string

	// Mark is put into the environment of the new process, from where its
	// descendants inherit it, so that Sweep finds them.
	Mark string
}

// Process is a process that Start started.
type Process struct {
	cmd      *exec.Cmd
	lifeline *os.File      // our end; its close tells the process to end
	done     chan struct{} // closed when the process has been waited for
	kinds    Kind
	mark     string
	device   *os.File
}

// Start runs this program again, with o.Args, in new namespaces, and returns
// when the new process has passed [Enter]. The process is killed when ctx is
// done and when this process ends, however that happens. The caller must call
// Wait.
func Start(ctx context.Context, o Options) (*Process, error) {
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, fmt.Errorf("start in namespaces: lifeline: %w", err)
	}
	defer theirs.Close()
	p := &Process{
		cmd: command(ctx, o, theirs), lifeline: ours,
		done: make(chan struct{}), kinds: o.Kinds, mark: o.Mark,
	}
	if err := o.IDs.prepare(p.cmd.SysProcAttr); err != nil {
		ours.Close()
		return nil, refusal{fmt.Errorf("start in namespaces: %w", err)}
	}
	started := make(chan error, 1)
	go p.hold(started)
	if err := <-started; err != nil {
		ours.Close()
		return nil, refusal{fmt.Errorf("start in namespaces: %w", explain(err))}
	}
	theirs.Close()
	if err := p.greet(ctx, o); err != nil {
		p.cmd.Process.Kill()
		p.Wait()
		return nil, fmt.Errorf("start in namespaces: %w", err)
	}
	return p, nil
}

// hold starts the process from a thread that exists as long as the process
// does: the parent death signal is sent when that thread ends.
func (p *Process) hold(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err == nil {
		<-p.done
	}
}

// greet gives the new process its identities where that is our part, and waits
// for it to say that it is ready.
func (p *Process) greet(ctx context.Context, o Options) error {
	if o.Kinds&User != 0 && o.IDs == Ranges {
		if err := writeRanges(ctx, p.Pid()); err != nil {
			return refusal{err}
		}
	}
	if _, err := p.lifeline.Write([]byte{'\n'}); err != nil {
		return fmt.Errorf("lifeline: %w", err)
	}
	line, err := p.hear()
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return errors.New("the new process ended before it called namespace.Enter")
	case line != "":
		return refusal{errors.New(line)}
	}
	return nil
}

// Device returns what serves the file system on Options.Lazy: /dev/fuse (fuse(4)),
// opened and mounted inside. It is nil if that was not asked for or is refused
// there. Who takes it closes it; the file system ends with the last process that
// sees it.
func (p *Process) Device() *os.File { return p.device }

// Pid returns the number of the process as this process sees it.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Kill ends the process and, with a PID namespace, all others in it.
func (p *Process) Kill() error { return p.cmd.Process.Kill() }

// Wait returns when the process has ended and everything written to its output
// was copied. The error is an *exec.ExitError if the process did not end with
// exit code 0. With a PID namespace no process of it is left then; without one
// those that carry the mark are killed. Wait is called exactly once.
func (p *Process) Wait() error {
	err := p.cmd.Wait()
	close(p.done)
	p.lifeline.Close()
	if p.kinds&PID == 0 && p.mark != "" {
		if _, serr := Sweep(p.mark); serr != nil && err == nil {
			err = serr
		}
	}
	return err
}

func command(ctx context.Context, o Options, lifeline *os.File) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", o.Args...)
	cmd.Args[0] = os.Args[0]
	cmd.Dir = o.Dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = o.Stdin, o.Stdout, o.Stderr
	cmd.ExtraFiles = append(append([]*os.File{}, o.Files...), lifeline)
	env := o.Env
	if env == nil {
		env = os.Environ()
	}
	cmd.Env = append(append([]string{}, env...), variable+"="+
		greeting{fd: firstFile + len(o.Files), kinds: o.Kinds, ids: o.IDs}.String())
	if o.Lazy != "" && o.Kinds&Mount != 0 {
		cmd.Env = append(cmd.Env, lazyVariable+"="+o.Lazy)
	}
	if o.Mark != "" {
		cmd.Env = append(cmd.Env, markVariable+"="+o.Mark)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: uintptr(o.Kinds),
		Pdeathsig:  syscall.SIGKILL,
		// A terminal's signals are for the starter, which knows what to do.
		Setsid: true,
	}
	return cmd
}

func socketPair() (ours, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "lifeline"), os.NewFile(uintptr(fds[1]), "lifeline"), nil
}

// greeting is what Start tells Enter: "descriptor kinds identities".
type greeting struct {
	fd    int
	kinds Kind
	ids   IDs
}

// String returns the form that parseGreeting reads.
func (g greeting) String() string {
	return fmt.Sprintf("%d %d %d", g.fd, uintptr(g.kinds), int(g.ids))
}

func parseGreeting(s string) (greeting, error) {
	f := strings.Fields(s)
	if len(f) != 3 {
		return greeting{}, fmt.Errorf("%s=%q: not three numbers", variable, s)
	}
	var n [3]int
	for i := range f {
		v, err := strconv.Atoi(f[i])
		if err != nil || v < 0 {
			return greeting{}, fmt.Errorf("%s=%q: not three numbers", variable, s)
		}
		n[i] = v
	}
	g := greeting{fd: n[0], kinds: Kind(n[1]), ids: IDs(n[2])}
	if g.fd < firstFile || g.kinds&^(User|Mount|PID|Net|IPC|UTS) != 0 || g.ids > Ranges {
		return greeting{}, fmt.Errorf("%s=%q: out of range", variable, s)
	}
	return g, nil
}
