package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"ore"
	"ore/boot"
	"ore/cluster"
	"ore/guest"
	"ore/guest/inside"
	"ore/image"
	"ore/node"
	"ore/node/agent"
	"ore/node/kit"
	"ore/vm"
	"ore/vm/vmtest"
)

// TestMain lets the test's program be a machine of the Fake, and an agent in a
// process of its own, which can be killed.
func TestMain(m *testing.M) {
	var err error
	switch {
	case len(os.Args) == 3 && os.Args[1] == "machine":
		err = beMachine(os.Args[2])
	case len(os.Args) == 3 && os.Args[1] == "agent":
		err = beAgent(os.Args[2])
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// beMachine does what ore-init does, without a machine around it.
func beMachine(dir string) error {
	b, err := os.ReadFile(filepath.Join(dir, "identity.json"))
	if err != nil {
		return err
	}
	var id guest.Identity
	if err := json.Unmarshal(b, &id); err != nil {
		return err
	}
	const homeFD = 3
	if err := syscall.SetNonblock(homeFD, true); err != nil {
		return err
	}
	syscall.CloseOnExec(homeFD)
	layout := inside.Layout{Job: filepath.Join(dir, "job"), Run: filepath.Join(dir, "run")}
	return inside.Serve(context.Background(), os.NewFile(homeFD, "home"), id, layout)
}

// machineCommand unpacks the identity that a machine would find in its
// initramfs, and makes the command that stands for it.
func machineCommand(c vm.Config) *exec.Cmd {
	dir := filepath.Join(c.Dir, "fake")
	entries, err := boot.ReadCPIO(bytes.NewReader(c.Extra))
	for _, d := range []string{"job", "run"} {
		err = errors.Join(err, os.MkdirAll(filepath.Join(dir, d), 0o700))
	}
	for _, e := range entries {
		if filepath.Base(e.Path) == "identity.json" {
			err = errors.Join(err, os.WriteFile(filepath.Join(dir, "identity.json"), e.Data, 0o600))
		}
	}
	if err != nil {
		return exec.Command("/bin/echo", err.Error())
	}
	return exec.Command("/proc/self/exe", "machine", dir)
}

// beAgent serves with keys from the first line of its input until that ends.
// Its supervisors are nodes in this process. Where the folder has a file called
// broken, no machine starts.
func beAgent(dir string) error {
	keys, err := agent.ReadKeys(os.Stdin)
	if err != nil {
		return err
	}
	var listeners [2]net.Listener
	for i := range listeners {
		if listeners[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return err
		}
	}
	fake := &vmtest.Fake{Command: func(c vm.Config) *exec.Cmd {
		if _, err := os.Stat(filepath.Join(dir, "broken")); err == nil {
			return exec.Command("/bin/false")
		}
		return machineCommand(c)
	}}
	a, err := agent.Start(context.Background(), agent.Config{
		Name: filepath.Base(dir), Keys: keys, Listener: listeners[0], Chain: listeners[1], Dir: dir, Quota: agent.DefaultQuota,
		Supervise: func(_ context.Context, _, folder, images string) (agent.Supervisor, error) {
			return superviseHere(fake, folder, images)
		},
	})
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(a.Ready()); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	return a.Close()
}

func superviseHere(fake *vmtest.Fake, folder, images string) (agent.Supervisor, error) {
	store, err := image.OpenStore(images)
	if err != nil {
		return agent.Supervisor{}, err
	}
	if err := os.Mkdir(folder, 0o700); err != nil {
		return agent.Supervisor{}, err
	}
	n := node.New(node.Config{Dir: folder, Store: store, Hypervisor: func(node.Boot) (vm.Hypervisor, error) { return fake, nil }})
	s := agent.Supervisor{Socket: filepath.Join(folder, "node")}
	l, err := net.Listen("unix", s.Socket)
	if err != nil {
		return s, err
	}
	server := &http.Server{Handler: n.Handler()}
	go server.Serve(l) // until the release
	s.Release = func(context.Context) error {
		return errors.Join(n.Release(), server.Close(), os.RemoveAll(folder))
	}
	return s, nil
}

// ground is some agents in processes of their own, and a source of jobs.
type ground struct {
	t       *testing.T
	dir     string
	agents  []*exec.Cmd
	targets []agent.Target
	keys    agent.Keys
	store   *image.Store
	packer  *kit.Packer
	boot    node.Boot

	mu   sync.Mutex // guards what follows
	said []string   // events
	read []ore.Digest
}

func newGround(t *testing.T, n int) *ground {
	t.Helper()
	g := &ground{t: t, dir: t.TempDir()}
	authority, err := agent.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	if g.keys, err = authority.Client("test"); err != nil {
		t.Fatal(err)
	}
	if g.store, err = image.OpenStore(filepath.Join(g.dir, "images")); err != nil {
		t.Fatal(err)
	}
	if g.packer, err = kit.OpenPacker(filepath.Join(g.dir, "kits")); err != nil {
		t.Fatal(err)
	}
	disk := filepath.Join(g.dir, "disk")
	if err := os.WriteFile(disk, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	g.boot = node.Boot{Hypervisor: "fake", Program: []string{"/bin/true"}, Disk: disk, Kernel: disk, Initrd: disk}
	for i := range n {
		keys, err := authority.Agent(fmt.Sprint("a", i))
		if err != nil {
			t.Fatal(err)
		}
		g.begin(fmt.Sprint("a", i), keys)
	}
	return g
}

// begin starts an agent.
func (g *ground) begin(name string, keys agent.Keys) {
	t := g.t
	t.Helper()
	cmd := exec.Command("/proc/self/exe", "agent", g.folder(name))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := json.NewEncoder(in).Encode(keys); err != nil {
		t.Fatal(err)
	}
	var r agent.Ready
	if err := json.NewDecoder(out).Decode(&r); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil && cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Errorf("agent %s: %v", name, err)
		}
	})
	g.agents = append(g.agents, cmd)
	g.targets = append(g.targets, agent.Target{Name: name, Addr: r.Addr})
}

func (g *ground) folder(name string) string { return filepath.Join(g.dir, name) }

// blob puts a blob into the source's store.
func (g *ground) blob(content string) ore.Digest {
	g.t.Helper()
	d, err := g.store.PutBytes(g.t.Context(), []byte(content))
	if err != nil {
		g.t.Fatal(err)
	}
	return d
}

// engine makes an engine for one job, connected to all agents.
func (g *ground) engine() *Engine {
	t := g.t
	t.Helper()
	c := Config{
		Prepare: func(context.Context, cluster.Reservation) (node.Boot, error) { return g.boot, nil },
		Kits:    g.packer, Dir: t.TempDir(),
		Blob: func(ctx context.Context, d ore.Digest) (string, error) {
			g.mu.Lock()
			g.read = append(g.read, d)
			g.mu.Unlock()
			return g.store.Verified(ctx, d)
		},
		Watch: func(e ore.Event) {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.said = append(g.said, e.Text)
		},
	}
	for _, target := range g.targets {
		a, err := agent.Dial(t.Context(), target, g.keys)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(a.Close)
		c.Agents = append(c.Agents, a)
	}
	e, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// sources returns which blobs were read here to be sent, since the last time.
func (g *ground) sources() []ore.Digest {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := g.read
	g.read = nil
	return all
}

// work is a job that has its hosts.
type work struct {
	*ground
	engine *Engine
	hosts  []cluster.Host
	start  node.Start
	stages []ore.Stage
}

// reserve takes hosts for machines of an image with one layer.
func (g *ground) reserve(id string, machines int, layer string) *work {
	t := g.t
	t.Helper()
	return g.reserveOn(g.engine(), ask{id, machines, layer})
}

// ask is a job for machines of an image with one layer.
type ask struct {
	id       string
	machines int
	layer    string
}

func (g *ground) reserveOn(e *Engine, a ask) *work {
	t, id, machines := g.t, a.id, a.machines
	t.Helper()
	img := image.Manifest{Layers: []image.Layer{{Digest: g.blob(a.layer)}}}
	w := &work{ground: g, engine: e}
	m := ore.Machines{Count: machines, Resources: ore.Resources{CPUs: 1, Memory: 32 << 20, Disk: 4096}}
	var err error
	w.hosts, err = w.engine.Reserve(t.Context(), cluster.Reservation{
		Job: id, Machines: m, Image: func(context.Context) (image.Manifest, error) { return img, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.stages, err = w.engine.Distribute(t.Context(), cluster.Distribution{Job: id, Network: ore.Isolated, Image: img}, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.start = node.Start{Job: id, Network: ore.Isolated, Image: img, Resources: m.Resources, Size: machines}
	for i := range machines {
		w.start.Hosts = append(w.start.Hosts, cluster.MachineName(i))
	}
	return w
}

// begin starts the machines of a host.
func (w *work) begin(h cluster.Host, machines ...node.Machine) error {
	s := w.start
	s.Machines = machines
	_, err := h.Start(w.t.Context(), s, nil)
	return err
}

func (w *work) all() {
	w.t.Helper()
	for _, h := range w.hosts {
		if err := w.begin(h, h.Machines...); err != nil {
			w.t.Fatal(err)
		}
	}
}

// release lets go of all hosts.
func (w *work) release() {
	w.t.Helper()
	for _, h := range w.hosts {
		if err := h.Release(w.t.Context()); err != nil {
			w.t.Errorf("release: %v", err)
		}
	}
}

func (w *work) shell(h cluster.Host, machine, script string) (string, error) {
	var out bytes.Buffer
	_, err := h.Exec(w.t.Context(), machine, guest.Command{Args: []string{"/bin/sh", "-c", script}, Stdout: &out})
	return out.String(), err
}

// on returns which agents have which machines.
func (w *work) on() map[string]int {
	all := map[string]int{}
	for _, h := range w.engine.hosts {
		f, err := h.agent.Host(w.t.Context())
		if err != nil {
			continue
		}
		for _, j := range f.Jobs {
			all[f.Name] += len(j.Machines)
		}
	}
	return all
}

func TestMachinesOnHosts(t *testing.T) {
	g := newGround(t, 3)
	w := g.reserve("first", 6, "a layer")
	w.all()
	if on := w.on(); on["a0"] != 2 || on["a1"] != 2 || on["a2"] != 2 {
		t.Errorf("six machines on three hosts: %v", on)
	}
	for _, h := range w.hosts {
		for _, m := range h.Machines {
			got, err := w.shell(h, m.Name, "echo $ORE_RANK of $ORE_SIZE")
			if want := fmt.Sprintf("%d of 6\n", m.Rank); err != nil || got != want {
				t.Errorf("%s says %q, %v", m.Name, got, err)
			}
		}
	}
	if read := g.sources(); len(read) != 1 {
		t.Errorf("the layer was read %d times here", len(read))
	}
	if len(w.stages) == 0 {
		t.Error("nothing is told of what was sent")
	}
	w.release()
	if on := w.on(); len(on) != 0 {
		t.Errorf("after the release there is %v", on)
	}
	w = g.reserve("second", 3, "a layer")
	if read := g.sources(); len(read) != 0 || len(w.stages) != 0 {
		t.Errorf("what is there was sent again: %v, %+v", read, w.stages)
	}
	w.release()
}

// What a host has comes from there to the others, and not from this one.
func TestHostsGiveEachOther(t *testing.T) {
	g := newGround(t, 2)
	all := g.targets
	g.targets = all[:1]
	g.reserve("first", 1, "a layer").release()
	g.sources()
	g.targets = all
	w := g.reserve("second", 2, "a layer")
	defer w.release()
	// Machines prefer the host that has the layer only while a core is free there.
	if read := g.sources(); len(read) != 0 {
		t.Errorf("sent from here: %v", read)
	}
	w.all()
}

// Where hosts cannot connect to the one that the job comes from, one of them is
// given what all lack, and they have it from there.
func TestHostsThatCannotCall(t *testing.T) {
	g := newGround(t, 3)
	e := g.engine()
	e.asked = true // and cannot be reached
	w := g.reserveOn(e, ask{"job", 3, strings.Repeat("a layer", 100_000)})
	defer w.release()
	w.all()
	var out, in int
	for _, s := range w.stages {
		var came, went float64
		if _, err := fmt.Sscanf(s.Note, "%f MB in, %f MB out", &came, &went); err != nil {
			t.Errorf("stage %+v: %v", s, err)
		}
		if s.Machine == sourceName && went > 0 {
			out++
		} else if came > 0 {
			in++
		}
	}
	if in != 6 || out != 2 { // the kit, and the image
		t.Errorf("not the kit and the image to three hosts, once from here: %+v", w.stages)
	}
}

// A host that is killed costs its own machines. They start again elsewhere, where
// nothing is lost.
func TestLostHost(t *testing.T) {
	g := newGround(t, 3)
	w := g.reserve("job", 6, "a layer")
	defer w.release()
	w.all()
	victim := w.hosts[1]
	lost, kept := victim.Machines[0], w.hosts[0].Machines[0]
	if _, err := w.shell(w.hosts[0], kept.Name, "echo here >mark"); err != nil {
		t.Fatal(err)
	}
	begun := make(chan struct{})
	over := make(chan error, 1)
	go func() {
		_, err := victim.Exec(t.Context(), lost.Name, guest.Command{Args: []string{"/bin/sh", "-c", "echo; sleep 1000"}, Stdout: &signal{c: begun}})
		over <- err
	}()
	<-begun
	i := slices.IndexFunc(g.targets, func(a agent.Target) bool { return a.Addr == victim.Node.(*host).agent.Addr() })
	if err := g.agents[i].Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var le *node.LostError
	if err := <-over; !errors.As(err, &le) || !errors.Is(err, agent.ErrLost) || le.Machine != lost.Name {
		t.Errorf("the machine's loss is told as %v", err)
	}
	if err := w.begin(victim, lost); err != nil {
		t.Fatalf("start again: %v", err)
	}
	if got, err := w.shell(victim, lost.Name, "echo again"); err != nil || got != "again\n" {
		t.Errorf("on another host it says %q, %v", got, err)
	}
	if got, err := w.shell(w.hosts[0], kept.Name, "cat mark"); err != nil || got != "here\n" {
		t.Errorf("a machine of another host: %q, %v", got, err)
	}
	if on := w.on(); len(on) != 2 || on["a0"]+on["a1"]+on["a2"] != 5 {
		t.Errorf("the machines are on %v", on)
	}
}

// signal closes c at the first write.
type signal struct {
	c    chan struct{}
	once sync.Once
}

func (s *signal) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.c) })
	return len(p), nil
}

// A host on which machines do not start is left for others; where none of them
// can start one, the error says why.
func TestHostThatStartsNothing(t *testing.T) {
	g := newGround(t, 2)
	spoil := func(name string) {
		if err := os.WriteFile(filepath.Join(g.folder(name), "broken"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := g.reserve("job", 4, "a layer")
	spoil("a1")
	w.all()
	if on := w.on(); on["a0"] != 4 || on["a1"] != 0 {
		t.Errorf("the machines are on %v", on)
	}
	w.release()
	spoil("a0")
	w = g.reserve("next", 1, "a layer")
	defer w.release()
	if err := w.begin(w.hosts[0], w.hosts[0].Machines...); err == nil || !strings.Contains(err.Error(), "no other host") {
		t.Errorf("no host starts anything: %v", err)
	}
}

// A machine's port is reached at the host that the job comes from.
func TestPublish(t *testing.T) {
	g := newGround(t, 1)
	w := g.reserve("job", 1, "a layer")
	w.all()
	p, err := w.hosts[0].Node.(*host).Publish(t.Context(), ore.Port{Listen: "127.0.0.1:0", Rank: 0, Port: 7})
	if err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", p.Listen)
	if err != nil {
		t.Fatal(err)
	}
	c.Close() // the Fake's machines have no network behind it
	w.release()
	if c, err := net.Dial("tcp", p.Listen); err == nil {
		c.Close()
		t.Error("the port outlives the job")
	}
}

// Without a host that can be used nothing is reserved, and nothing is left.
func TestNoHosts(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("an engine without hosts")
	}
	g := newGround(t, 1)
	e := g.engine()
	e.config.Version = "another"
	e.hosts[0].facts.Version = ""
	boom := errors.New("no image")
	_, err := g.engine().Reserve(t.Context(), cluster.Reservation{
		Job: "job", Machines: ore.Machines{Count: 1}, Image: func(context.Context) (image.Manifest, error) { return image.Manifest{}, boom },
	})
	if !errors.Is(err, boom) {
		t.Errorf("no image: %v", err)
	}
	if f, err := e.hosts[0].agent.Host(t.Context()); err != nil || len(f.Jobs) != 0 {
		t.Errorf("after a reservation that failed: %+v, %v", f.Jobs, err)
	}
}
