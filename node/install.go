package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"ore"
	"ore/guest"
	"ore/image"
	"ore/node/installing"
	"ore/vnet"
)

// runAll is run, with the depot open that machines install themselves from.
func (b *batch) runAll(ctx context.Context) ([]*machine, error) {
	o := b.start.Install
	if o == nil || o.Depot == "" && o.Bundle == nil {
		return b.run(ctx)
	}
	l, err := b.network.Listen(installing.DepotPort)
	if err != nil {
		return nil, fmt.Errorf("open the depot: %w", err)
	}
	var depot io.Closer
	if o.Bundle != nil {
		depot = installing.Give(l, b.node.config.Store, b.start.Lazy, o)
	} else {
		depot = installing.OpenDepot(l, o.Depot)
	}
	machines, err := b.run(ctx)
	return machines, errors.Join(err, depot.Close())
}

// install has a machine install itself: the installer is started on its disk, is
// given its recipe, and ends.
func (b *batch) install(ctx context.Context, p place, hosts []guest.Host, m *machine) (stage string, err error) {
	if _, ok := b.start.Install.Machines[p.Name]; !ok {
		p.net.Close()
		return "install", errors.New("there is no recipe for it")
	}
	if !b.start.Again {
		w, err := b.installer(p, hosts)
		if err != nil {
			p.net.Close()
			return "install", err
		}
		begun := time.Now()
		if stage, err := b.boot(ctx, p, w, m); err != nil {
			return "install: " + stage, err
		}
		m.started.Stages = []ore.Stage{{Name: installing.Begin, Machine: p.Name, Start: begun, End: begun.Add(m.started.Boot), Note: "kernel " + m.started.Kernel}}
	}
	for try := 0; ; try++ {
		if try > 0 {
			m.tried = m.console.since(m.tried).Next
		}
		err := b.visit(ctx, p.Name, m)
		if err == nil {
			break
		}
		var said *installing.Error
		if try >= b.start.Install.Tries || ctx.Err() != nil || !errors.As(err, &said) || said.Lasting {
			return "install", err
		}
		b.watch.Tell(ore.Event{Stage: "note", Text: fmt.Sprintf("machine %s: %v: it goes on there, try %d of %d", p.Name, err, try+2, b.start.Install.Tries+1)})
	}
	return "install: end", m.powerOff(ctx)
}

// visit runs the installer on a machine, and notes its stages.
func (b *batch) visit(ctx context.Context, name string, m *machine) error {
	stages, err := b.start.Install.Install(ctx, installing.Visit{Name: name, Run: m.conn.Exec, Console: m.console, Watch: b.watch})
	if n := len(m.started.Stages); n == 1 && len(stages) > 0 && stages[0].Name == installing.Begin { // it is told as one
		m.started.Stages[0].End, stages = stages[0].End, stages[1:]
	}
	m.started.Stages = append(m.started.Stages, stages...)
	return roomless(m.dir, err)
}

// powerOff ends a machine in order, so that it can be started again.
func (m *machine) powerOff(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, BootDeadline)
	defer cancel()
	defer context.AfterFunc(ctx, func() { m.vm.Kill() })()
	if err := m.conn.PowerOff(ctx); err != nil {
		return err
	}
	err := errors.Join(m.vm.Wait(), m.conn.Close())
	if m.before != nil {
		<-m.before
	}
	m.vm, m.conn, m.started.Timings = nil, nil, nil
	return err
}

// ready closes the timeline of a machine that has installed itself: it is ready
// once its first process, on its own disk, has called home.
func (m *machine) ready() {
	n, now := len(m.started.Stages), time.Now()
	if n == 0 {
		return
	}
	if last := &m.started.Stages[n-1]; last.Name == installing.Restart {
		last.End = now
	} else {
		m.started.Stages = append(m.started.Stages, ore.Stage{Name: installing.Restart, Machine: m.started.Name, Start: last.End, End: now})
	}
	m.started.Stages = append(m.started.Stages, ore.Stage{Name: installing.Ready, Machine: m.started.Name, Start: now, End: now})
}

// replug gives a machine that is started again its place in the network anew.
func (b *batch) replug(m Machine) (*os.File, vnet.Address, error) {
	b.network.Detach(m.Name)
	return b.plug(m)
}

// installer returns what the machine that installs is started with.
func (b *batch) installer(p place, hosts []guest.Host) (wiring, error) {
	id, err := b.identity(p, hosts)
	if err != nil {
		return wiring{}, err
	}
	o := b.start.Install
	w := wiring{id: id}
	w.id.InMemory = true
	w.id.Mounts = []guest.Mount{{Path: o.Command[0], File: true}}
	for _, c := range o.Image.Capabilities {
		w.id.Capabilities = append(w.id.Capabilities, guest.Capability{Path: "/" + c.Path, Value: c.Value})
	}
	if err := w.add(b, o.Image.Layers); err != nil {
		return w, err
	}
	if err := w.blob(b, o.Program); err != nil {
		return w, err
	}
	for _, d := range o.Blobs {
		if len(w.files) == installing.Devices-1 { // the disk is one
			break
		}
		w.id.Blobs = append(w.id.Blobs, d.Hex())
		if err := w.blob(b, d); err != nil {
			return w, err
		}
	}
	return w, nil
}

// parity says whether a machine has an array whose kernel must be able to compute
// what other kernels leave out.
func (b *batch) parity(name string) bool {
	return b.start.Install != nil && slices.Contains(b.start.Install.Machines[name].Root.Modules, "raid456")
}

// onDisk tells a machine of its root, and returns the layers with the tools to
// find it, if any are needed.
func (b *batch) onDisk(p place, id *guest.Identity) ([]image.Layer, error) {
	o := b.start.Install
	m, ok := o.Machines[p.Name]
	if !ok {
		return nil, errors.New("it is not known where its root is")
	}
	id.Root = &m.Root
	if !m.Root.Tools() {
		return nil, nil
	}
	return o.Image.Layers, nil
}
