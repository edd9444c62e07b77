package cluster

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"ore"
	"ore/guest"
	"ore/image"
	"ore/node"
	"ore/node/installing"
	"ore/plan"
)

// program stands for what machines do with a command.
type program func(ctx context.Context, m *fakeMachine, c guest.Command) (guest.Exit, error)

// fakeMachine is a machine in memory: its files, and whether it is there.
type fakeMachine struct {
	name string

	mu      sync.Mutex // guards what follows
	files   map[string]string
	console string
	lives   int // how often it was started
}

func (m *fakeMachine) write(name, content string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.files[name] = content
}

func (m *fakeMachine) read(name string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.files[name]
}

// fakeNode is a host in memory.
type fakeNode struct {
	run program

	mu       sync.Mutex // guards what follows
	machines map[string]*fakeMachine
	refuse   string // the machine that does not start
	starts   []node.Start
	released int
	failing  map[string]string // machines whose installation fails, and why
	losing   map[string]string // the same, and which end by it
	begun    int               // how often these began
	lasting  bool              // every other try of these would end so
}

func (n *fakeNode) Start(_ context.Context, s node.Start, _ ore.Watcher) ([]node.Started, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.starts = append(n.starts, s)
	for _, m := range s.Machines {
		if m.Name == n.refuse {
			return nil, &node.StartError{Machine: m.Name, Stage: "boot", Cause: errors.New("no answer")}
		}
	}
	var all []node.Started
	for _, m := range s.Machines {
		if why := n.losing[m.Name]; why != "" {
			stages := slices.Repeat([]ore.Stage{{Name: installing.Begin, Machine: m.Name}}, n.begun)
			all = append(all, node.Started{Machine: m, Lost: why, Lasting: n.lasting, Stages: append(stages, ore.Stage{Name: "scripts", Machine: m.Name})})
			continue
		}
		old := n.machines[m.Name]
		fresh := &fakeMachine{name: m.Name, files: map[string]string{}, lives: 1}
		if old != nil {
			fresh.lives = old.lives + 1
		}
		n.machines[m.Name] = fresh
		all = append(all, node.Started{Machine: m, Failed: n.failing[m.Name]})
	}
	return all, nil
}

func (n *fakeNode) machine(name string) (*fakeMachine, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	m := n.machines[name]
	if m == nil || n.released > 0 {
		return nil, node.ErrUnknown
	}
	return m, nil
}

func (n *fakeNode) Exec(ctx context.Context, name string, c guest.Command) (guest.Exit, error) {
	m, err := n.machine(name)
	if err != nil {
		return guest.Exit{}, err
	}
	return n.run(ctx, m, c)
}

func (n *fakeNode) Put(_ context.Context, name, dir string, r io.Reader) error {
	m, err := n.machine(name)
	if err != nil {
		return err
	}
	t := tar.NewReader(r)
	for {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		b, err := io.ReadAll(t)
		if err != nil {
			return err
		}
		m.write(path.Join(dir, h.Name), string(b)+h.Linkname)
	}
}

// linkTo is before the target of a symbolic link where a file has its content.
const linkTo = "-> "

func (n *fakeNode) Get(_ context.Context, name, dir string, patterns []string, w io.Writer) error {
	m, err := n.machine(name)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t := tar.NewWriter(w)
	for file, content := range m.files {
		rel := strings.TrimPrefix(file, dir+"/")
		for _, p := range patterns {
			if ok, err := path.Match(p, rel); err != nil || !ok {
				continue
			}
			if to, ok := strings.CutPrefix(content, linkTo); ok {
				if err := t.WriteHeader(&tar.Header{Name: rel, Typeflag: tar.TypeSymlink, Linkname: to}); err != nil {
					return err
				}
				continue
			}
			if err := t.WriteHeader(&tar.Header{Name: rel, Typeflag: tar.TypeReg, Size: int64(len(content)), Mode: 0o644}); err != nil {
				return err
			}
			if _, err := io.WriteString(t, content); err != nil {
				return err
			}
		}
	}
	return t.Close()
}

// Console is the ability to tell what a machine's kernel said.
func (n *fakeNode) Console(_ context.Context, name string) (string, error) {
	m, err := n.machine(name)
	if err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.console, nil
}

func (n *fakeNode) Release(context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.released++
	return nil
}

// fakeEngine has one host.
type fakeEngine struct {
	node   *fakeNode
	err    error
	mounts int // of the last reservation
}

func (e *fakeEngine) Reserve(_ context.Context, r Reservation) ([]Host, error) {
	if e.err != nil {
		return nil, e.err
	}
	e.mounts = r.Mounts
	h := Host{Node: e.node}
	for i := range r.Machines.Count {
		h.Machines = append(h.Machines, node.Machine{Name: MachineName(i), Rank: i})
	}
	return []Host{h}, nil
}

// fakeImages resolves names that it knows to packages of version 1, and keeps
// what it made.
type fakeImages struct {
	known []string

	mu   sync.Mutex // guards what follows
	kept map[ore.Key]image.Manifest
	made int
	// rotten is how often an image is found that turns out to have rotted.
	rotten int

	held   atomic.Int32 // inputs
	images atomic.Int32 // held
}

// Input names an input's blob by its path, and counts who holds it.
func (f *fakeImages) Input(_ context.Context, in ore.Input, _ ore.Watcher) (node.Input, func(), error) {
	if strings.HasPrefix(in.Source, "/nowhere") {
		return node.Input{}, nil, errors.New("no such file")
	}
	f.held.Add(1)
	return node.Input{Digest: ore.DigestOf([]byte(in.Source)), Path: in.Mount}, func() { f.held.Add(-1) }, nil
}

func (f *fakeImages) Lock(_ context.Context, w ore.Wants, _ ore.Watcher) (ore.Environment, error) {
	e := ore.Environment{Version: ore.EnvironmentVersion, Base: w.Base, Arch: "amd64"}
	for _, p := range w.Packages {
		if !slices.Contains(f.known, p.Name) {
			return e, fmt.Errorf("package %s: not known", p.Name)
		}
		e.Packages = append(e.Packages, ore.Package{Name: p.Name, Version: "1", Arch: "all", Digest: ore.DigestOf([]byte(p.Name))})
	}
	return e, nil
}

func (f *fakeImages) Have(_ context.Context, env ore.Environment) (plan.Have, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m, ok := f.kept[env.Key()]; ok {
		return plan.Have{Exact: &m}, nil
	}
	return plan.Have{}, nil
}

func (f *fakeImages) Make(_ context.Context, m Make, _ ore.Watcher) (image.Manifest, func(), error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.rotten > 0 {
		f.rotten--
		delete(f.kept, m.Environment.Key())
		return image.Manifest{}, nil, fmt.Errorf("image x: %w", ErrGone)
	}
	f.images.Add(1)
	release := func() { f.images.Add(-1) }
	if m.Have.Exact != nil {
		return *m.Have.Exact, release, nil
	}
	f.made++
	made := image.Manifest{Key: m.Environment.Key(), Environment: m.Environment}
	f.kept[made.Key] = made
	return made, release, nil
}
