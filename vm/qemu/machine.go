package qemu

import (
	"context"
	"net"

	"ore/vm"
	"ore/vm/process"
	"ore/vm/qemu/qmp"
)

// machine is a running QEMU with its monitor.
type machine struct {
	*process.Machine
	monitor *qmp.Client
	closed  chan struct{} // closed when the monitor's connection is
}

var (
	_ vm.Machine = (*machine)(nil)
	_ vm.Pauser  = (*machine)(nil)
)

func newMachine(p *process.Machine, monitor net.Conn) *machine {
	m := &machine{Machine: p, monitor: qmp.New(monitor), closed: make(chan struct{})}
	go func() {
		defer close(m.closed)
		<-p.Done()
		m.monitor.Close()
	}()
	return m
}

// Wait waits for the machine's end.
func (m *machine) Wait() error {
	<-m.closed
	return m.Machine.Wait()
}

// Kill ends the machine.
func (m *machine) Kill() error {
	err := m.Machine.Kill()
	<-m.closed
	return err
}

// Pause stops the machine's CPUs.
func (m *machine) Pause(ctx context.Context) error { return m.monitor.Execute(ctx, "stop", nil, nil) }

// Resume lets them run again.
func (m *machine) Resume(ctx context.Context) error { return m.monitor.Execute(ctx, "cont", nil, nil) }
