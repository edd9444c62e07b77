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
	"strconv"
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
	"ore/namespace"
	"ore/node"
	"ore/node/agent"
	"ore/node/kit"
	"ore/vm"
	"ore/vm/vmtest"
)

// TestMain lets the test's program be a machine of the Fake, and an agent in a
// process of its own, which can be killed.
func TestMain(m *testing.M) {
	err := namespace.Enter()
	switch {
	case err != nil:
	case len(os.Args) == 2 && os.Args[1] == "inside":
		_, err = io.Copy(io.Discard, os.Stdin)
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
	err = errors.Join(err, os.WriteFile(filepath.Join(dir, "job", "layers"), []byte(strings.Join(c.Layers, "\n")), 0o600))
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
		Name: filepath.Base(dir), Rack: said(racks, filepath.Base(dir)), Link: linkOf(filepath.Base(dir)), Keys: keys, Listener: listeners[0], Chain: listeners[1], Dir: dir, Quota: agent.DefaultQuota,
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

// racks is the variable that says in which racks agents stand: NAME=RACK, in words.
const racks = "TEST_RACKS"

// links is the one that says how many bytes a second their links carry.
const links = "TEST_LINKS"

func said(variable, name string) string {
	for w := range strings.FieldsSeq(os.Getenv(variable)) {
		if n, v, _ := strings.Cut(w, "="); n == name {
			return v
		}
	}
	return ""
}

func linkOf(name string) float64 {
	v, _ := strconv.ParseFloat(said(links, name), 64)
	return v
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
	s := here{agent.Supervisor{Socket: filepath.Join(folder, "node")}}
	l, err := net.Listen("unix", s.Socket)
	if err != nil {
		return s.Supervisor, err
	}
	server := &http.Server{Handler: n.Handler()}
	go server.Serve(l) // until the release
	end, err := s.showLazily(folder)
	s.Release = func(context.Context) error {
		return errors.Join(n.Release(), server.Close(), end(), os.RemoveAll(folder))
	}
	return s.Supervisor, err
}

// here is a supervisor in this process.
type here struct{ agent.Supervisor }

// showLazily has the folder whose files are still coming mounted in a namespace of
// its own, as that of a supervisor is. Its machines, which are not in there, come
// by way of /proc.
func (s *here) showLazily(folder string) (end func() error, err error) {
	dir := filepath.Join(folder, "lazy")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	in, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p, err := namespace.Start(context.Background(), namespace.Options{
		Kinds: namespace.Mount | namespace.PID, Args: []string{"inside"}, Lazy: dir, Stdin: in, Stderr: os.Stderr,
	})
	if err != nil {
		return nil, err
	}
	s.Device, s.Lazy = p.Device(), fmt.Sprintf("/proc/%d/root%s", p.Pid(), dir)
	return func() error { return errors.Join(in.Close(), out.Close(), p.Wait()) }, nil
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
	img := image.Manifest{Layers: []image.Layer{{Digest: g.blob(a.layer), Size: int64(len(a.layer))}}}
	w := &work{ground: g, engine: e}
	m := ore.Machines{Count: machines, Resources: ore.Resources{CPUs: 1, Memory: 32 << 20, Disk: 4096}}
	var err error
	w.hosts, err = w.engine.Reserve(t.Context(), cluster.Reservation{
		Job: id, Machines: m, Image: func(context.Context) (image.Manifest, error) { return img, nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.stages, err = w.engine.Distribute(t.Context(), cluster.Distribution{Job: id, Network: ore.Isolated, Image: img}, e.config.Watch)
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
	_, err := h.Start(w.t.Context(), s, w.engine.config.Watch)
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
	var out, said bytes.Buffer
	exit, err := h.Exec(w.t.Context(), machine, guest.Command{Args: []string{"/bin/sh", "-c", script}, Stdout: &out, Stderr: &said})
	if err == nil && said.Len() > 0 {
		err = fmt.Errorf("exit %+v: %s", exit, said.String())
	}
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
