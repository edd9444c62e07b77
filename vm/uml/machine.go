package uml

import (
	"context"
	"io"
	"os"
	"strings"
	"sync"

	"ore/vm"
	"ore/vm/home"
	"ore/vm/process"
)

// machine is one running kernel.
type machine struct {
	name    string
	dir     string // ours alone, removed at the end
	process *process.Process
	home    *home.Stream
	tail    *process.Tail

	ended chan struct{} // closed when nothing remains
	err   error         // what Wait returns; readable after ended
	left  error         // what could not be removed; readable after ended

	mu    sync.Mutex // guards cause
	cause error      // why we killed it, nil if we did not
}

var _ vm.Machine = (*machine)(nil)

// watch is the machine's owner from Start to its end.
func (m *machine) watch(ctx context.Context) {
	select {
	case <-ctx.Done():
		m.end(context.Cause(ctx))
	case <-m.process.Done():
	}
	<-m.process.Done()
	m.left = os.RemoveAll(m.dir)
	m.err = m.verdict(m.process.Wait())
	close(m.ended)
}

// end kills the process; the first cause stays.
func (m *machine) end(cause error) {
	m.mu.Lock()
	if m.cause == nil {
		m.cause = cause
	}
	m.mu.Unlock()
	m.process.Kill()
}

// verdict is what Wait says of a process that ended with err.
func (m *machine) verdict(err error) error {
	m.mu.Lock()
	cause := m.cause
	m.mu.Unlock()
	if err == nil {
		return nil // powered off, perhaps before our signal
	}
	console := m.tail.String()
	switch {
	case cause != nil:
		err = cause
	case strings.Contains(console, "Kernel panic - not syncing"):
		err = vm.ErrPanic
	}
	return &vm.ExitError{Machine: m.name, Console: console, Cause: err}
}

// Home returns the host's end of home.
func (m *machine) Home() io.ReadWriteCloser { return m.home }

// Wait waits for the machine's end.
func (m *machine) Wait() error {
	<-m.ended
	return m.err
}

// Kill ends the machine.
func (m *machine) Kill() error {
	m.end(vm.ErrKilled)
	<-m.ended
	return m.left
}
