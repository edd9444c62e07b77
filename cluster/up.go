package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"ore"
	"ore/node"
)

// Bed is machines that are kept after their start.
type Bed struct {
	Machines  []node.Started
	Published []ore.Port
	hosts     []Host
	more      more
}

// more is what machines are added with.
type more struct {
	node.Start
	Copies []string        `json:",omitempty"` // host paths of the inputs that each gets a copy of
	OnDisk bool            `json:",omitempty"` // the machines have installed themselves
	Memory json.RawMessage `json:",omitempty"` // how, see Config
}

// Up starts the machines of j and leaves them running.
func Up(ctx context.Context, c Config, j ore.Job) (*Bed, error) {
	r := newRun(c, j)
	reserved := r.reserve(ctx)
	bed, err := r.up(ctx, reserved)
	if err != nil {
		return nil, r.leave(ctx, reserved, err)
	}
	return bed, nil
}

func (r *run) up(ctx context.Context, reserved *reserved) (*Bed, error) {
	img, err := r.makeImage(ctx)
	if err != nil {
		return nil, err
	}
	defer r.letGo()
	if err := r.makeInputs(ctx); err != nil {
		return nil, err
	}
	hosts, err := step(r, "reserve", func() ([]Host, error) { return reserved.wait() })
	if err != nil {
		return nil, err
	}
	if err := r.arrange(ctx, img); err != nil {
		return nil, err
	}
	if err := r.distribute(ctx, img); err != nil {
		return nil, err
	}
	if _, err := step(r, "start", func() (map[string]Node, error) { return r.start(ctx, hosts, img) }); err != nil {
		return nil, err
	}
	return r.bed(hosts), nil
}

func (r *run) bed(hosts []Host) *Bed {
	m := more{Start: r.startOf(hosts[0], nil), Copies: r.copies(), OnDisk: r.Install != nil}
	if r.Memory != nil {
		m.Memory = r.Memory()
	}
	return &Bed{hosts: hosts, Machines: r.started, Published: r.published, more: m}
}

// Encode returns what Grow needs to add machines of the same kind, but for the
// job's secret: what is written to the host's disk has none, and the node has it.
func (b *Bed) Encode() (json.RawMessage, error) {
	m := b.more
	m.Secret = nil
	return json.Marshal(m)
}

// HandOver has the machines outlive this process, on all hosts where that has
// to be said.
func (b *Bed) HandOver() error {
	var errs []error
	for _, h := range b.hosts {
		if k, ok := h.Node.(interface{ HandOver() error }); ok {
			errs = append(errs, k.HandOver())
		}
	}
	return errors.Join(errs...)
}

// Release ends the machines.
func (b *Bed) Release(ctx context.Context) error {
	var errs []error
	for _, h := range b.hosts {
		errs = append(errs, h.Release(ctx))
	}
	return errors.Join(errs...)
}

// Grow adds machines to those of a bed until there are count. encoded is what
// the bed's Encode gave. Machines that are there stay as they are.
func Grow(ctx context.Context, n *node.Client, encoded json.RawMessage, count int, watch ore.Watcher) ([]node.Started, error) {
	var s more
	if len(encoded) == 0 {
		return nil, errors.New("grow: the first machines are not up yet: wait for 'ore up', or end them with 'ore down'")
	}
	if err := json.Unmarshal(encoded, &s); err != nil {
		return nil, fmt.Errorf("grow: %w", err)
	}
	if s.OnDisk {
		return nil, errors.New("grow: these machines have installed themselves, which further ones cannot do beside them: start more at once with 'ore up -n'")
	}
	for _, file := range s.Copies {
		if _, err := os.Stat(file); err != nil {
			return nil, fmt.Errorf("grow: input of the first machines: %w: put it back there, or start machines anew", err)
		}
	}
	s.Size, s.Hosts, s.Machines, s.Grow = count, nil, nil, true
	for i := range count {
		s.Hosts = append(s.Hosts, MachineName(i))
		s.Machines = append(s.Machines, node.Machine{Name: MachineName(i), Rank: i})
	}
	started, err := n.Start(ctx, s.Start, watch)
	if err != nil {
		return nil, fmt.Errorf("grow: %w", err)
	}
	if len(started) == 0 {
		there, err := n.Machines(ctx)
		if err != nil {
			return nil, fmt.Errorf("grow: %w", err)
		}
		return nil, fmt.Errorf("grow: there are %d machines already: say a larger number", len(there))
	}
	for _, m := range started {
		if err := PutFiles(ctx, n, m.Name, JobDir, s.Copies); err != nil {
			return nil, fmt.Errorf("grow: %w", err)
		}
	}
	return started, nil
}

// PutFiles puts host files into a folder of a machine, each under its base name.
func PutFiles(ctx context.Context, n *node.Client, machine, dir string, files []string) error {
	r := &run{}
	return r.put(ctx, n, machine, staged{dir: dir, files: files})
}
