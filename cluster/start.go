package cluster

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"ore"
	"ore/image"
	"ore/node"
	"ore/node/installing"
	"ore/plan"
)

// run is the state of one job's way.
type run struct {
	Config
	job     ore.Job
	work    []Part
	secrets map[string][]byte // by name
	begun   time.Time
	plan    plan.Plan
	result  ore.Result

	made     chan made         // has the image once it is made, or why it is not
	over     bool              // all parts are done: a cancel comes too late
	runBegun time.Time         // when the job's time began to count
	image    image.Manifest    // what the machines were started with
	hosts    map[string]Host   // by machine, to start one again
	names    []string          // of all machines, by rank
	secret   []byte            // of the job, on all its hosts; never written
	inputs   []node.Input      // what machines mount
	holds    []func()          // of these and the image
	order    *installing.Order // how the machines install themselves; nil if they do not

	published []ore.Port

	absent map[string]error // of machines that did not install themselves, why

	mu      sync.Mutex // guards stages, started and killed
	stages  ore.Timeline
	started []node.Started
	killed  map[string]string // by machine, the last process that its kernel killed for lack of memory
}

// made is what came of making an image.
type made struct {
	image.Manifest
	err error
}

func newRun(c Config, j ore.Job) *run {
	return &run{Config: c, job: j, begun: time.Now(), made: make(chan made, 1)}
}

// awaitImage returns the image once it is made.
func (r *run) awaitImage(ctx context.Context) (image.Manifest, error) {
	select {
	case m := <-r.made:
		r.made <- m // for who asks next
		return m.Manifest, m.err
	case <-ctx.Done():
		return image.Manifest{}, context.Cause(ctx)
	}
}

// step times f under name and tells the watcher.
func step[T any](r *run, name string, f func() (T, error)) (T, error) {
	s := ore.Stage{Name: name, Start: time.Now()}
	r.Watch.Tell(ore.Event{Stage: name})
	v, err := f()
	s.End = time.Now()
	if err != nil {
		s.Note = "failed"
	}
	r.add(s)
	r.Watch.Tell(ore.Event{Stage: name, Final: true})
	return v, err
}

func (r *run) add(s ...ore.Stage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stages = append(r.stages, s...)
}

func (r *run) timeline() ore.Timeline {
	r.mu.Lock()
	defer r.mu.Unlock()
	return sortStages(r.stages)
}

// reserved is a reservation under way.
type reserved struct {
	done  chan struct{}
	hosts []Host
	err   error
}

func (v *reserved) wait() ([]Host, error) {
	<-v.done
	return v.hosts, v.err
}

// reservation is what the job needs of the engine.
func (r *run) reservation() Reservation {
	return Reservation{
		Job: r.ID, Machines: r.job.Machines, Kernel: r.job.Wants.Kernel, Base: r.job.Wants.Base,
		Mounts: r.mounts(), Image: r.awaitImage,
	}
}

func (r *run) reserve(ctx context.Context) *reserved {
	v := &reserved{done: make(chan struct{})}
	go func() {
		defer close(v.done)
		v.hosts, v.err = r.Engine.Reserve(ctx, r.reservation())
	}()
	return v
}

// release ends the machines on all hosts, also when ctx has ended.
func (r *run) release(ctx context.Context, v *reserved) error {
	hosts, err := v.wait()
	if err != nil {
		return nil // there is nothing to release, and the reserve step has said why
	}
	_, err = step(r, "release", func() (struct{}, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseDeadline)
		defer cancel()
		var g errgroup.Group
		for _, h := range hosts {
			g.Go(func() error { return h.Release(ctx) })
		}
		return struct{}{}, g.Wait()
	})
	return err
}

// start starts all machines, or none, but for those that do not install themselves
// where the job can do without them.
func (r *run) start(ctx context.Context, hosts []Host, img image.Manifest) (map[string]Node, error) {
	var names []string
	for _, h := range hosts {
		for _, m := range h.Machines {
			names = append(names, m.Name)
		}
	}
	secret, err := node.NewSecret()
	if err != nil {
		return nil, err
	}
	all := map[string]Node{}
	r.secret = secret
	r.image, r.hosts, r.names = img, map[string]Host{}, names
	g, gctx := errgroup.WithContext(ctx)
	for _, h := range hosts {
		for _, m := range h.Machines {
			all[m.Name] = h.Node
			r.hosts[m.Name] = h
		}
		g.Go(func() error {
			_, err := r.startOn(gctx, h, h.Machines)
			return r.unlessKept(err)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := r.goOnWithout(all); err != nil {
		return nil, err
	}
	for name, n := range all {
		r.installed(n, name)
	}
	if err := r.publish(ctx); err != nil {
		return nil, err
	}
	return all, r.stageIn(ctx, all)
}

// again starts one machine afresh in the place of the one that was lost.
func (r *run) again(ctx context.Context, machine string) error {
	h := r.hosts[machine]
	started, err := r.startOn(ctx, h, []node.Machine{{Name: machine, Rank: rankOf(machine)}})
	if err != nil {
		return err
	}
	for _, m := range started {
		if m.Lost != "" {
			return r.lost(m)
		}
	}
	r.installed(h.Node, machine)
	return r.put(ctx, h.Node, machine, staged{dir: JobDir, files: r.copies()})
}

// installed tells who wants to know that a machine has installed itself.
func (r *run) installed(n Node, machine string) {
	if r.Installed != nil && r.order != nil {
		r.Installed(n, machine)
	}
}

func (r *run) startOn(ctx context.Context, h Host, machines []node.Machine) ([]node.Started, error) {
	begun := time.Now()
	s := r.startOf(h, machines)
	if r.order != nil {
		var names []string
		for _, m := range machines {
			names = append(names, m.Name)
		}
		s.Install = r.order.Of(names)
	}
	started, err := h.Start(ctx, s, r.Watch)
	switch {
	case err != nil && r.order != nil && r.job.Run.Mode == ore.First:
		return nil, fmt.Errorf("start machines, which mode first needs all at once: %w", err)
	case err != nil:
		return nil, fmt.Errorf("start machines: %w", err)
	}
	for _, s := range started {
		r.add(s.Stages...)
		if s.Lost != "" {
			continue
		}
		from := s.Begun
		if from.IsZero() {
			from = begun
		}
		r.add(ore.Stage{Name: "boot", Machine: s.Name, Start: from, End: from.Add(s.Boot), Note: "kernel " + s.Kernel})
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started = append(r.started, started...)
	return started, node.Failed(started)
}

// arrange has ready what machines install themselves from, if they do, until letGo.
func (r *run) arrange(ctx context.Context, img image.Manifest) error {
	if r.Install == nil {
		return nil
	}
	_, err := step(r, "installer", func() (struct{}, error) {
		var machines []node.Machine
		for rank := range r.job.Machines.Count {
			machines = append(machines, node.Machine{Name: MachineName(rank), Rank: rank})
		}
		o, release, err := r.Install(ctx, img, machines)
		if err != nil {
			return struct{}{}, err
		}
		o.Tries, o.Keep, o.Apart = r.job.Run.Retries, r.Kept != nil, r.apart()
		r.order, r.holds = o, append(r.holds, func() {
			if err := release(); err != nil {
				r.Watch.Tell(ore.Event{Stage: "note", Text: err.Error()})
			}
		})
		return struct{}{}, nil
	})
	return err
}

// startOf asks host h for machines.
func (r *run) startOf(h Host, machines []node.Machine) node.Start {
	return node.Start{
		Job: r.ID, Network: r.job.Network, Image: r.image, Boot: h.Boot, Machines: machines,
		Resources: r.job.Machines.Resources, Size: len(r.names), Hosts: r.names, Own: r.Own,
		Inputs: r.inputs, Secret: r.secret, Allow: r.Allow,
	}
}

// publish makes the ports of the job reachable on the hosts of their machines.
func (r *run) publish(ctx context.Context) error {
	for _, p := range r.job.Run.Publish {
		h, ok := r.hosts[MachineName(p.Rank)]
		if !ok {
			return fmt.Errorf("publish %s: there is no rank %d", p.Listen, p.Rank)
		}
		if gone := r.absent[MachineName(p.Rank)]; gone != nil {
			r.Watch.Tell(ore.Event{Stage: "note", Text: fmt.Sprintf("port %s is not published: its machine is lost", p.Listen)})
			continue
		}
		pub, ok := h.Node.(Publisher)
		if !ok {
			return fmt.Errorf("publish %s: this engine cannot do that", p.Listen)
		}
		got, err := pub.Publish(ctx, p)
		if err != nil {
			return err
		}
		r.published = append(r.published, got)
		r.Watch.Tell(ore.Event{Stage: "publish", Text: fmt.Sprintf("%s -> %s:%d", got.Listen, MachineName(got.Rank), got.Port), Final: true})
	}
	return nil
}
