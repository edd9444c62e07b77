package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ore"
	"ore/guest"
	"ore/image"
	"ore/vm"
	"ore/vnet"
)

// machineFolder begins the name of each machine's folder in the job's.
const machineFolder = "machine-"

// machine is one that was started.
type machine struct {
	started Started
	vm      vm.Machine
	conn    *guest.Conn
	dir     string
	console *console
	tried   int64 // what its console said from here on is of the last try
	detach  func()
	ended   chan struct{} // closed when it has ended; nil until it is the node's
	before  chan struct{} // the same of a machine that goes on with its installation
	cause   error         // how, once ended is closed
}

// place is where a machine will be: its address in the job's network.
type place struct {
	Machine
	address vnet.Address
	net     *os.File
}

// Start starts machines, all or none, but for those that install themselves apart:
// one that has failed is in the answer as lost. Its error matches ErrReleased where
// Release ended it. A machine that runs is replaced, unless the start is to grow what is
// there: then it stays, and is not in the answer.
func (n *Node) Start(ctx context.Context, s Start, watch ore.Watcher) ([]Started, error) {
	n.starting.Lock()
	defer n.starting.Unlock()
	deadline := BootDeadline
	if s.Install != nil {
		deadline = InstallDeadline
	}
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	defer context.AfterFunc(n.ctx, func() { end(ErrReleased) })()
	if s.Grow {
		if s = n.missing(s); len(s.Machines) == 0 {
			if n.enlarge(s) { // by machines on other hosts
				n.introduce(ctx, nil)
			}
			return nil, nil
		}
	}
	if s.Again {
		if s = n.failed(s); len(s.Machines) == 0 {
			return nil, nil
		}
	}
	hv, err := n.config.Hypervisor(s.Boot)
	if err != nil {
		return nil, err
	}
	hold, err := n.config.Store.Hold(ctx, s.blobs())
	if err != nil {
		return nil, err
	}
	network, err := n.join(s)
	if err != nil {
		hold()
		return nil, err
	}
	if s.Secret, err = n.secret(s); err != nil {
		hold()
		return nil, err
	}
	b := &batch{node: n, start: s, hypervisor: hv, network: network, watch: watch, booting: make(chan struct{}, startsAtOnce)}
	machines, err := b.runAll(ctx)
	if err != nil {
		hold()
		return nil, err
	}
	started := n.adopt(s, machines, hold)
	n.introduce(ctx, started)
	started = append(started, b.lost...)
	sortStarted(started)
	return started, nil
}

// introduce tells the machines that were there before of those that came. One
// that does not listen keeps its old lists, which is no reason to end the new ones.
func (n *Node) introduce(ctx context.Context, came []Started) {
	ctx, cancel := context.WithTimeout(ctx, meetTime)
	defer cancel()
	var hosts []guest.Host
	var old []*machine
	n.mu.Lock()
	for rank, name := range n.last.Hosts {
		m := n.machines[name]
		if m == nil {
			if at, err := vnet.AddressOf(n.last.Subnet, rank); err == nil { // on another host
				hosts = append(hosts, guest.Host{Name: name, IP: at.String()})
			}
			continue
		}
		hosts = append(hosts, guest.Host{Name: name, IP: m.started.IP})
		if !m.lost() && !slices.ContainsFunc(came, func(s Started) bool { return s.Name == name }) {
			old = append(old, m)
		}
	}
	n.mu.Unlock()
	var telling sync.WaitGroup
	for _, m := range old {
		telling.Go(func() {
			if err := m.conn.Meet(ctx, hosts); err != nil {
				n.log.Warn("a machine does not know the new ones", "error", err)
			}
		})
	}
	telling.Wait()
}

// enlarge notes that the job has more machines than before, none of them here.
func (n *Node) enlarge(s Start) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.last.Size == 0 || s.Size <= n.last.Size {
		return false
	}
	n.last.Size, n.last.Hosts = s.Size, s.Hosts
	return true
}

// missing returns of a start that is to grow what is there only that part which
// is not there. It is asked under the lock of starts: of two at once, the second
// finds the first one's machines. The job never becomes smaller by it.
func (n *Node) missing(s Start) Start {
	n.mu.Lock()
	defer n.mu.Unlock()
	var wanted []Machine
	for _, m := range s.Machines {
		if there := n.machines[m.Name]; there == nil || there.lost() {
			wanted = append(wanted, m)
		}
	}
	s.Machines = wanted
	if n.last.Size > s.Size {
		s.Size, s.Hosts = n.last.Size, n.last.Hosts
	}
	return s
}

// secret is what the keys that all machines of the job share are made from: that
// of the start, else of the one before, else a new one. It is in memory alone,
// and so machines that are added have it from here.
func (n *Node) secret(s Start) ([]byte, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(s.Secret) == 0 {
		s.Secret = n.last.Secret
	}
	if len(s.Secret) > 0 {
		return s.Secret, nil
	}
	return NewSecret()
}

// blobs are all that machines mount, as layers to be held.
func (s Start) blobs() image.Manifest {
	m := image.Manifest{Layers: slices.Clone(s.Image.Layers)}
	if o := s.Install; o != nil {
		m.Layers = nil
		for _, d := range o.Needs() {
			m.Layers = append(m.Layers, image.Layer{Digest: d})
		}
	}
	for _, in := range s.Inputs {
		m.Layers = append(m.Layers, image.Layer{Digest: in.Digest})
	}
	m.Layers = slices.DeleteFunc(m.Layers, func(l image.Layer) bool { return s.Lazy[l.Digest] != "" })
	return m
}

// adopt takes machines that run over from their batch.
func (n *Node) adopt(s Start, machines []*machine, hold func()) []Started {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.last = s
	n.holds = append(n.holds, hold)
	var all []Started
	for _, m := range machines {
		n.machines[m.started.Name] = m
		m.conn.OnLaunch(n.launch)
		m.watch()
		all = append(all, m.started)
	}
	sortStarted(all)
	return all
}

// launch runs a command on another machine for one that asked.
func (n *Node) launch(ctx context.Context, name string, c guest.Command) (guest.Exit, error) {
	m, err := n.lookup(name)
	if err != nil && n.elsewhere(name) {
		return n.launchFar(ctx, name, c)
	}
	if err != nil {
		return guest.Exit{}, err
	}
	c.Env = append(c.Env, n.env(m)...) // who asked has its own rank in its environment
	return m.exec(ctx, c)
}

// env is what every process on m sees, whoever started it. A job's command gets
// the same from cluster, with its task.
func (n *Node) env(m *machine) []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return []string{
		"ORE_JOB=" + n.last.Job, "ORE_RANK=" + strconv.Itoa(m.started.Rank), "ORE_SIZE=" + strconv.Itoa(n.last.Size),
		"ORE_HOSTS=" + strings.Join(n.last.Hosts, ","), "ORE_TASK=",
	}
}

// batch is one start under way.
type batch struct {
	node       *Node
	start      Start
	hypervisor vm.Hypervisor
	network    *vnet.Network
	watch      ore.Watcher
	booting    chan struct{} // has a place for each machine that boots

	mu   sync.Mutex // guards what follows
	done []*machine
	lost []Started           // machines that failed apart from the others
	kept map[string]*machine // that are to go on with their installation
}

func (b *batch) run(ctx context.Context) ([]*machine, error) {
	places, err := b.attach()
	if err != nil {
		return nil, err
	}
	hosts := b.hosts(places)
	g, gctx := errgroup.WithContext(ctx)
	for _, p := range places {
		g.Go(func() error {
			if gctx.Err() != nil {
				p.net.Close()
				return context.Cause(gctx)
			}
			m, err := b.oneApart(gctx, p, hosts)
			if m == nil || err != nil {
				return err
			}
			b.mu.Lock()
			b.done = append(b.done, m)
			b.mu.Unlock()
			b.watch.Tell(ore.Event{Stage: "boot", Machine: p.Name, Final: true})
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		for _, m := range append(b.done, slices.Collect(maps.Values(b.kept))...) {
			err = errors.Join(err, m.end())
		}
		for _, p := range places {
			b.network.Detach(p.Name)
		}
		return nil, err
	}
	return b.done, nil
}

// attach gives every machine its place in the network, so that each can be told
// where all the others are. A machine that is started again loses its old one.
func (b *batch) attach() ([]place, error) {
	var places []place
	for _, m := range b.start.Machines {
		if b.start.Again {
			places = append(places, b.take(m))
			continue
		}
		if old := b.node.drop(m.Name); old != nil {
			if err := old.end(); err != nil {
				return nil, err
			}
		}
		file, address, err := b.plug(m)
		if err != nil {
			for _, p := range places {
				p.net.Close()
				b.network.Detach(p.Name)
			}
			return nil, &StartError{Machine: m.Name, Stage: "network", Cause: err}
		}
		places = append(places, place{Machine: m, address: address, net: file})
	}
	return places, nil
}

// plug gives a machine its port: in a network of several hosts at the address of
// its rank, which all of them know.
func (b *batch) plug(m Machine) (*os.File, vnet.Address, error) {
	if b.start.Subnet.IsValid() {
		return b.network.AttachAt(m.Name, m.Rank)
	}
	return b.network.Attach(m.Name)
}

// drop forgets a machine and returns it for its end, or nil.
func (n *Node) drop(name string) *machine {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := n.machines[name]
	delete(n.machines, name)
	return m
}

// hosts lists all machines of the job with their addresses.
func (b *batch) hosts(places []place) []guest.Host {
	ip := map[string]string{}
	for _, s := range b.node.Machines() {
		ip[s.Name] = s.IP
	}
	for _, p := range places {
		ip[p.Name] = p.address.IP.String()
	}
	var all []guest.Host
	for rank, name := range b.start.Hosts {
		if at, err := vnet.AddressOf(b.start.Subnet, rank); err == nil { // of another host, perhaps
			ip[name] = at.String()
		}
		all = append(all, guest.Host{Name: name, IP: ip[name]})
	}
	return all
}

// said is what its console said in the last try: an error of that one does not tell
// again of those before it.
func (m *machine) said() string { return string(m.console.since(m.tried).Text) }

// one starts one machine and waits until it calls home. With a *StartError comes what
// is known of the machine, which has ended.
func (b *batch) one(ctx context.Context, p place, hosts []guest.Host) (*machine, error) {
	m := &machine{
		dir:     filepath.Join(b.node.config.Dir, machineFolder+p.Name),
		console: newConsole(consoleEnds),
		detach:  func() { b.network.Detach(p.Name) },
		started: Started{Machine: p.Machine, IP: p.address.IP.String(), Memory: b.start.Resources.Memory, Begun: time.Now()},
	}
	if b.start.Again {
		b.resume(m)
	}
	stage, err := b.bring(ctx, p, hosts, m)
	if err == nil {
		return m, nil
	}
	if b.keeps(ctx, m, err) {
		m.started.Failed = err.Error() + ConsoleEnd(m.said())
		return m, nil
	}
	err = errors.Join(err, m.end())
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.DeadlineExceeded) {
		return nil, cause // another machine's failure, or a cancel: not this one's
	}
	return m, &StartError{Machine: p.Name, Stage: stage, Console: m.said(), Cause: err}
}

// bring does one's work, and says which stage it came to.
func (b *batch) bring(ctx context.Context, p place, hosts []guest.Host, m *machine) (stage string, err error) {
	if !b.start.Again {
		if err := b.makeDisk(m); err != nil {
			p.net.Close()
			return "disk", err
		}
	}
	if b.start.Install != nil {
		if stage, err := b.install(ctx, p, hosts, m); err != nil {
			return stage, err
		}
		if p.net, p.address, err = b.replug(p.Machine); err != nil {
			return "network", err
		}
	}
	w, err := b.wiring(p, hosts)
	if err != nil {
		p.net.Close()
		return "disk", err
	}
	if stage, err := b.boot(ctx, p, w, m); err != nil {
		return stage, err
	}
	m.ready()
	return "", nil
}

// boot starts the machine as w says, and waits until it calls home.
func (b *batch) boot(ctx context.Context, p place, w wiring, m *machine) (stage string, err error) {
	extra, err := w.id.Archive()
	if err != nil {
		p.net.Close()
		return "disk", err
	}
	select {
	case b.booting <- struct{}{}:
		defer func() { <-b.booting }()
	case <-ctx.Done():
		p.net.Close()
		return "start", context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, BootDeadline)
	defer cancel()
	s, begun := b.start, time.Now()
	// The machine's life is the node's, not that of the call that starts it.
	m.vm, err = b.hypervisor.Start(b.node.ctx, vm.Config{
		Name: p.Name, Dir: m.dir, Kernel: s.Boot.Kernel, Initrd: s.Boot.Initrd, Extra: extra,
		Layers: w.files, Disk: m.disk(), Net: p.net, MAC: p.address.MAC, MTU: p.address.MTU, Console: m.console, Parity: b.parity(p.Name), Resources: s.Resources,
	})
	if err != nil {
		return "start", b.disks(err)
	}
	m.conn, err = guest.Accept(ctx, m.vm.Home(), guest.Want{Token: w.id.Token})
	if err != nil {
		return "boot", err
	}
	hello := m.conn.Hello()
	m.started.Begun, m.started.Boot, m.started.Kernel = begun, time.Since(begun), hello.Kernel
	for _, t := range hello.Timings {
		m.started.Timings = append(m.started.Timings, Timing{Stage: t.Stage, Took: time.Duration(t.Micros) * time.Microsecond})
	}
	return "", nil
}

// disks says what to do about a machine with more disks than its hypervisor has.
func (b *batch) disks(err error) error {
	var many *vm.DisksError
	n := len(b.start.Inputs)
	if n == 0 || !errors.As(err, &many) {
		return err
	}
	return fmt.Errorf("%d inputs to mount: %d of %d disks are free, beside %d of the image, the kernel's modules and the machine's own: put the inputs into one folder, which is one disk, or use hypervisor: qemu",
		n, max(0, many.Most-(many.Need-n)), many.Most, len(b.start.Image.Layers))
}

// end ends the machine and removes its files. It may be called for a machine
// that came only part of the way.
func (m *machine) end() error {
	var errs []error
	if m.vm != nil {
		errs = append(errs, m.vm.Kill())
	}
	if m.conn != nil {
		errs = append(errs, m.conn.Close())
	}
	m.detach()
	if m.ended != nil {
		<-m.ended
	}
	return errors.Join(append(errs, os.RemoveAll(m.dir))...)
}

func sortStarted(all []Started) {
	slices.SortFunc(all, func(a, b Started) int { return cmp.Compare(a.Rank, b.Rank) })
}

func machineName(rank int) string { return "m" + strconv.Itoa(rank) }
