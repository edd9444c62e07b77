package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"ore"
	"ore/cluster/results"
	"ore/guest"
	"ore/image"
	"ore/node"
	"ore/node/installing"
	"ore/plan"
)

// Images makes environments and images. It is safe for concurrent use.
type Images interface {
	// Lock resolves a wish to exact packages, files and steps.
	Lock(ctx context.Context, w ore.Wants, watch ore.Watcher) (ore.Environment, error)
	// Have says what exists that env could use.
	Have(ctx context.Context, env ore.Environment) (plan.Have, error)
	// Make gives the image of env by the plan's way, and keeps it. It is whole and
	// held until release is called. The files' sources on the host are those of w.
	// The error matches ErrGone if what the plan goes by is not there whole.
	Make(ctx context.Context, m Make, watch ore.Watcher) (img image.Manifest, release func(), err error)
	// Input gives the blob of an input that is mounted, and holds it until
	// release is called: machines that were started with it hold it themselves.
	Input(ctx context.Context, in ore.Input, watch ore.Watcher) (blob node.Input, release func(), err error)
}

// ErrGone says that an image has rotted or was removed since it was found: what
// exists is to be asked again.
var ErrGone = errors.New("damaged or removed")

// Make asks for an image.
type Make struct {
	Wants       ore.Wants
	Environment ore.Environment
	Plan        plan.Plan
	Have        plan.Have
}

// Engine gives hosts. It is safe for concurrent use.
type Engine interface {
	// Reserve returns the hosts for r, ready to start machines. They are the
	// caller's until each one's Release.
	Reserve(ctx context.Context, r Reservation) ([]Host, error)
}

// Reservation is what a job needs of an engine.
type Reservation struct {
	Job      string // unique on this site
	Machines ore.Machines
	Kernel   string   // the package asked for, "" for the hypervisor's usual one
	Base     ore.Base // the suite whose archive has the kernel
	Mounts   int      // inputs that each machine mounts
	// Image waits for the job's image, which is made meanwhile: hosts that have
	// it already are better than others.
	Image func(ctx context.Context) (image.Manifest, error)
}

// Host is a reserved host: what to start there, with what.
type Host struct {
	Node
	Boot     node.Boot
	Machines []node.Machine
}

// Node is one host of a job. Its methods may be called concurrently.
type Node interface {
	Start(ctx context.Context, s node.Start, w ore.Watcher) ([]node.Started, error)
	Exec(ctx context.Context, machine string, c guest.Command) (guest.Exit, error)
	Put(ctx context.Context, machine, dir string, tar io.Reader) error
	Get(ctx context.Context, machine, dir string, patterns []string, w io.Writer) error
	// Release ends all machines of the job on this host. It is called once.
	Release(ctx context.Context) error
}

// Output is where a part's output goes as it comes; nil writers throw it away.
type Output struct {
	Stdout, Stderr io.Writer
}

// Distributor is the ability of an engine to bring to its hosts what machines
// are started with. An engine without it has hosts that share this one's store.
type Distributor interface {
	// Distribute returns when all hosts of the job have all blobs. The stages say
	// what came to each host.
	Distribute(ctx context.Context, d Distribution, w ore.Watcher) ([]ore.Stage, error)
}

// Distribution is what all hosts of a job need.
type Distribution struct {
	Job     string
	Network ore.Network
	Image   image.Manifest
	Inputs  []node.Input
	Blobs   []ore.Digest // what machines that install themselves need, whole before they start but for the next
	Poured  []ore.Digest // of these, what they read once, as it comes, and verify themselves
}

// Publisher is the ability of a node to make machines' ports reachable.
type Publisher interface {
	Publish(ctx context.Context, p ore.Port) (ore.Port, error)
}

// Config is what a run of a job needs from its site.
type Config struct {
	ID     string    // the job's name on this site, unique
	Work   []Part    // what Parts gave for the job; nil has Run ask it
	Stdin  io.Reader // for a job of one part; nil is an empty input. See wire.Session.Call for how it is stopped
	Images Images
	Engine Engine
	Ask    plan.Ask // what the plan has to know of the site; Run fills in what the job asks for
	Rates  plan.Rates
	// Hosts says where machines will run, as far as that is known before there is an
	// image; nil, and what cannot be asked, leave it at Ask's.
	Hosts   func(context.Context, Reservation) ([]plan.Host, error)
	Driver  func(Reservation) string // what starts a job's machines where it leaves the choice; nil: as the job says
	Watch   ore.Watcher
	Live    func(Part) Output             // where output is shown; nil shows none
	Results *results.Folder               // where results are kept
	Allow   []netip.AddrPort              // what machines reach in spite of the job's network: an operator's own services
	Own     []guest.File                  // what each machine is given beside the image
	Learn   func(ore.Timeline, plan.Plan) // told once a job is over; may be nil
	Install Install                       // how machines install themselves; nil: they mount the image
	Memory  func() json.RawMessage        // of what Install is made again, for Again; may be nil
	// Installed, if not nil, is told of each machine that has installed itself and is
	// ready, and of the node that it is on. The machine runs nothing of the job before it
	// returns, so it is short; what it begins ends with Install's context, or its
	// release, which comes before the machines end.
	Installed func(n Node, machine string)
	// Kept, if not nil, has machines kept whose installation failed, with all others
	// of the job. It is called when all that do not fail have done their parts, or are
	// ready where the job needs all; when it fails, they end as they do without it.
	Kept func(b *Bed) error
}

// Install says how machines install themselves with an image's environment, once
// the hosts are there; what it keeps ready for them is there until release.
type Install func(ctx context.Context, img image.Manifest, machines []node.Machine) (o *installing.Order, release func() error, err error)

// releaseDeadline bounds the end of a job's machines, after which their
// supervisor is killed.
const releaseDeadline = 20 * time.Second

// Run runs the job j to its end and returns what came of it. When ctx ends, the
// job is cancelled: its processes get SIGTERM, and the machines end. The result
// is complete in every case.
func Run(ctx context.Context, c Config, j ore.Job) ore.Result {
	r := newRun(c, j)
	r.result = ore.Result{Job: c.ID}
	err := r.steps(ctx)
	r.conclude(ctx, err)
	return r.result
}

// steps is one job from end to end.
func (r *run) steps(ctx context.Context) (err error) {
	if r.work = r.Work; r.work == nil {
		if r.work, err = Parts(r.job); err != nil {
			return err
		}
	}
	if r.secrets, err = readSecrets(r.job.Run.Secrets); err != nil {
		return err
	}
	reserved := r.reserve(ctx) // beside the image, since neither needs the other
	defer func() { err = r.leave(ctx, reserved, err) }()
	img, err := r.makeImage(ctx)
	if err != nil {
		return err
	}
	defer r.letGo()
	if err := r.makeInputs(ctx); err != nil {
		return err
	}
	hosts, err := step(r, "reserve", func() ([]Host, error) { return reserved.wait() })
	if err != nil {
		return err
	}
	if err := r.arrange(ctx, img); err != nil {
		return err
	}
	if err := r.distribute(ctx, img); err != nil {
		return err
	}
	machines, err := step(r, "start", func() (map[string]Node, error) { return r.start(ctx, hosts, img) })
	if err != nil {
		return r.andKept(err) // some may wait to be kept while others cannot be published, or given their inputs
	}
	_, err = step(r, "run", func() (struct{}, error) { return struct{}{}, r.runAll(ctx, r.work, machines) })
	r.over = ctx.Err() == nil // however they ended
	return r.andKept(err)
}

// distribute brings the image and the inputs to the hosts.
func (r *run) distribute(ctx context.Context, img image.Manifest) error {
	d, ok := r.Engine.(Distributor)
	if !ok {
		return nil
	}
	_, err := step(r, "distribute", func() (struct{}, error) {
		want := Distribution{Job: r.ID, Network: r.job.Network, Image: img, Inputs: r.inputs}
		if r.order != nil {
			want.Image.Layers, want.Blobs, want.Poured = nil, r.order.Needs(), r.order.Poured()
		}
		stages, err := d.Distribute(ctx, want, r.Watch)
		r.add(stages...)
		return struct{}{}, err
	})
	return err
}

// makeImage makes the image, and tells those who wait for it.
func (r *run) makeImage(ctx context.Context) (image.Manifest, error) {
	img, err := r.findImage(ctx)
	r.made <- made{img, err}
	return img, err
}

// findImage resolves, finds, chooses, and makes or finds the image.
func (r *run) findImage(ctx context.Context) (image.Manifest, error) {
	env, err := step(r, "resolve", func() (ore.Environment, error) { return r.Images.Lock(ctx, r.job.Wants, r.Watch) })
	if err != nil {
		return image.Manifest{}, err
	}
	img, release, err := Anew(r.Watch, func() (image.Manifest, func(), error) { return r.giveImage(ctx, env) })
	if err == nil {
		r.holds = append(r.holds, release)
		r.result.Key, r.result.Image = img.Key, img.Digest()
	}
	return img, err
}

// giveImage finds, chooses, and makes or finds the image of env, and holds it.
func (r *run) giveImage(ctx context.Context, env ore.Environment) (img image.Manifest, release func(), err error) {
	have, err := step(r, "find", func() (plan.Have, error) { return r.Images.Have(ctx, env) })
	if err != nil {
		return img, nil, err
	}
	ask := r.Ask
	if r.Hosts != nil {
		if hosts, err := r.Hosts(ctx, r.reservation()); err == nil { // else reserving says why
			ask = ask.On(hosts)
		}
	}
	ask.Environment, ask.Machines, ask.Starts = env, r.job.Machines.Count, []string{r.driver()}
	r.plan = plan.Choose(ask, have, r.Rates)
	img, err = step(r, "image", func() (image.Manifest, error) {
		img, release, err = r.Images.Make(ctx, Make{Wants: r.job.Wants, Environment: env, Plan: r.plan, Have: have}, r.Watch)
		return img, err
	})
	return img, release, err
}

// driver names what starts the machines. Times are kept by it: one choice left
// open is not always the same driver.
func (r *run) driver() string {
	if r.Driver != nil {
		return r.Driver(r.reservation())
	}
	return r.job.Machines.Hypervisor
}

// maxAnew is how often an image is made anew because what it was to be taken or
// made from has rotted: once for it, and once for what it was made from then.
const maxAnew = 2

// Anew gives the image that give finds or makes, which is called again when its
// error matches ErrGone.
func Anew(watch ore.Watcher, give func() (image.Manifest, func(), error)) (image.Manifest, func(), error) {
	for try := 0; ; try++ {
		img, release, err := give()
		if err == nil || !errors.Is(err, ErrGone) || try == maxAnew {
			return img, release, err
		}
		watch.Tell(ore.Event{Stage: "note", Text: fmt.Sprintf("%v: it is made anew", err)})
	}
}

// makeInputs makes or finds what is mounted.
func (r *run) makeInputs(ctx context.Context) error {
	if r.mounts() == 0 {
		return nil
	}
	_, err := step(r, "inputs", func() (struct{}, error) {
		for _, in := range r.job.Run.Inputs {
			if in.Mount == "" {
				continue
			}
			made, release, err := r.Images.Input(ctx, in, r.Watch)
			if err != nil {
				return struct{}{}, fmt.Errorf("input %s: %w", in.Source, err)
			}
			r.inputs, r.holds = append(r.inputs, made), append(r.holds, release)
		}
		return struct{}{}, nil
	})
	return err
}

// letGo lets the image and inputs be removed that no machine has.
func (r *run) letGo() {
	for _, release := range r.holds {
		release()
	}
}

// mounts counts the inputs that are mounted.
func (r *run) mounts() int { return len(r.job.Run.Inputs) - len(r.copies()) }

// conclude fills in the result's kind and exit code.
func (r *run) conclude(ctx context.Context, err error) {
	res := &r.result
	res.Kind = ore.Finished
	for _, p := range res.Ranks {
		if worse(p.Kind, res.Kind) {
			res.Kind = p.Kind
		}
		res.ExitCode = max(res.ExitCode, p.ExitCode)
	}
	if err != nil {
		res.Kind, res.Error = ore.Failed, image.Full(err).Error()
	}
	if ctx.Err() != nil && !r.over {
		res.Kind, res.Error = ore.Cancelled, "cancelled"
	}
	switch res.Kind {
	case ore.Failed:
		res.ExitCode = ore.ExitFailed
		if res.Error == "" {
			res.Error = r.firstError()
		}
	case ore.TimedOut:
		res.ExitCode = ore.ExitTimeout
		res.Error = fmt.Sprintf("time limit of %v reached: raise run.timeout or give the job less to do", r.job.Run.Timeout)
	case ore.Cancelled:
		res.ExitCode = ore.ExitCancelled
	}
	res.Timeline = r.timeline()
	if r.Learn != nil && res.Kind == ore.Finished {
		r.Learn(res.Timeline, r.plan)
	}
}

// worse orders kinds: what the system lost stands before a time limit, and that
// before a job that finished.
func worse(a, b ore.Kind) bool {
	order := map[ore.Kind]int{ore.Finished: 0, ore.TimedOut: 1, ore.Cancelled: 2, ore.Failed: 3}
	return order[a] > order[b]
}

func (r *run) firstError() string {
	for _, p := range r.result.Ranks {
		if p.Error != "" {
			return p.Error
		}
	}
	return ""
}
