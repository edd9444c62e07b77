package process

import (
	"context"
	"io"
	"os"
	"sync"
	"time"

	"ore/vm"
)

// Machine is a hypervisor's process as a vm.Machine.
type Machine struct {
	name    string
	dir     string // ours alone, removed at the end
	process *Process
	home    io.ReadWriteCloser
	console *Tail

	ended chan struct{} // closed when nothing remains
	err   error         // what Wait returns; readable after ended
	left  error         // what could not be removed; readable after ended

	mu    sync.Mutex // guards cause
	cause error      // why we killed it, nil if we did not
}

var _ vm.Machine = (*Machine)(nil)

// Parts are what a machine is made of besides its process.
type Parts struct {
	Name    string
	Dir     string             // removed with all that is in it when the machine has ended
	Home    io.ReadWriteCloser // the host's end
	Console *Tail              // the process's console
}

// Watch makes a machine of a process. The machine is killed when ctx ends.
func Watch(ctx context.Context, p *Process, parts Parts) *Machine {
	m := &Machine{
		name: parts.Name, dir: parts.Dir, home: parts.Home, console: parts.Console,
		process: p, ended: make(chan struct{}),
	}
	go m.watch(ctx)
	return m
}

// traceTime is how long a kernel that has given up may go on to say why.
const traceTime = 300 * time.Millisecond

// watch is the machine's owner from Start to its end. A kernel that has given
// up should end its process, but User Mode Linux does so by aborting itself,
// which the first process of a PID namespace cannot (pid_namespaces(7)).
func (m *Machine) watch(ctx context.Context) {
	select {
	case <-ctx.Done():
		m.end(context.Cause(ctx))
	case <-m.console.panicked:
		select {
		case <-m.process.Done():
		case <-time.After(traceTime):
		}
		m.end(vm.ErrPanic)
	case <-m.process.Done():
	}
	<-m.process.Done()
	m.left = os.RemoveAll(m.dir)
	m.err = m.verdict(m.process.Wait())
	close(m.ended)
}

// end kills the process; the first cause stays.
func (m *Machine) end(cause error) {
	m.mu.Lock()
	if m.cause == nil {
		m.cause = cause
	}
	m.mu.Unlock()
	m.process.Kill()
}

// verdict is what Wait says of a process that ended with err. A process that
// ended well did so because the guest powered off, perhaps just before our
// signal, or because its kernel gave up and the driver asks for no second boot.
func (m *Machine) verdict(err error) error {
	m.mu.Lock()
	cause := m.cause
	m.mu.Unlock()
	select {
	case <-m.console.panicked:
		cause = vm.ErrPanic
	default:
		if err == nil {
			return nil
		}
	}
	if cause == nil {
		cause = err
	}
	return &vm.ExitError{Machine: m.name, Console: m.console.String(), Cause: cause}
}

// Home returns the host's end of home.
func (m *Machine) Home() io.ReadWriteCloser { return m.home }

// Wait waits for the machine's end.
func (m *Machine) Wait() error {
	<-m.ended
	return m.err
}

// Kill ends the machine.
func (m *Machine) Kill() error {
	m.end(vm.ErrKilled)
	<-m.ended
	return m.left
}

// Done is closed when the machine has ended.
func (m *Machine) Done() <-chan struct{} { return m.ended }

// Pid returns the number of the hypervisor's first process.
func (m *Machine) Pid() int { return m.process.Pid() }
