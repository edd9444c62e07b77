package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"ore"
	"ore/cluster"
	"ore/guest"
	"ore/node"
	"ore/node/agent"
)

// askTime is how long a host may take to show that it is there, after something
// on it failed: a call that it answers from memory.
const askTime = 5 * time.Second

// tearTime is how long machines may take to end.
const tearTime = 20 * time.Second

// host is one physical host of the job. As a [cluster.Node] it stands for the
// machines that were placed on it first, wherever they are by now.
type host struct {
	engine *Engine
	agent  *agent.Client
	facts  agent.Facts // as of the start of the job
	job    *agent.Job  // nil until the agent knows the job
	id     string      // in the job's network

	links netip.AddrPort // where links to it end, once it has been asked to open them

	laying sync.Mutex // one layout of the kit at a time
	boot   node.Boot
	laid   bool

	mu    sync.Mutex // guards what follows
	bad   error      // why it takes no more machines
	early bool       // its machines read layers that are still coming
	torn  error      // why its machines were ended: the rest of their layers did not come
}

var (
	_ cluster.Node      = (*host)(nil)
	_ cluster.Publisher = (*host)(nil)
)

func (h *host) name() string { return h.agent.String() }

// errEnded is why a host has nothing of the job any more.
var errEnded = fmt.Errorf("%w: its agent was started anew, or heard nothing from here for %v: see that neither side is overloaded, and run the job again", agent.ErrGone, agent.LeaseTime)

// blame takes the host off the list of those that machines are started on.
func (h *host) blame(err error) {
	if errors.Is(err, agent.ErrGone) {
		err = errEnded
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.bad == nil {
		h.bad = h.named(err)
	}
}

// suspect blames a host for an error, whose cause is that the host is gone if it is.
func (h *host) suspect(ctx context.Context, err error) {
	if gone := h.ask(ctx); gone != nil {
		err = fmt.Errorf("%w: %w", gone, err)
	}
	h.blame(err)
}

// named says of an error which host it is of, unless that is said already.
func (h *host) named(err error) error {
	prefix := "host " + h.name() + ": "
	if strings.HasPrefix(err.Error(), prefix) {
		return err
	}
	return fmt.Errorf("%s%w", prefix, err)
}

// fault is why the host takes no machines, nil if it does.
func (h *host) fault() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.bad
}

// meet makes the job known to the host's agent.
func (h *host) meet(ctx context.Context, job string) (err error) {
	if h.facts, err = h.agent.Host(ctx); err != nil {
		return err
	}
	if own := h.engine.config.Version; own != "" && h.facts.Version != "" && h.facts.Version != own {
		return fmt.Errorf("its agent is ore %s, and this is %s: start 'ore node' there with the same program", h.facts.Version, own)
	}
	h.job, err = h.agent.Job(ctx, job)
	return err // which names the host
}

// offer says what placement has to know.
func (h *host) offer(ctx context.Context, layers []ore.Digest) Place {
	p := Place{Cores: h.facts.Cores, Load: h.facts.Load, Free: h.facts.Free, Most: h.engine.config.Most[h.name()]}
	if h.fault() == nil {
		lacking, err := h.job.Want(ctx, layers)
		if err != nil {
			h.blame(err)
		}
		p.Lacking = len(lacking)
	}
	p.Blamed = h.fault() != nil
	return p
}

// end ends the job on the host, however long that takes there. One that is lost has its
// lease for that; it is told that the host was given up, unless it was before.
func (h *host) end(ctx context.Context) error {
	if h.job == nil {
		return nil
	}
	h.job.Close()
	known := h.lostFor()
	err := h.job.End(ctx)
	if err == nil {
		return nil
	}
	gone := patiently(ctx, h.agent.Lost(), h.ask)
	if gone == nil {
		return err
	}
	h.blame(gone)
	if known == nil && !errors.Is(gone, agent.ErrGone) {
		h.engine.config.Watch.Tell(ore.Event{Stage: "note", Text: fmt.Sprintf("%v: what it has of the job ends by itself there, when it has heard nothing from here for %v", h.named(gone), agent.LeaseTime)})
	}
	return nil
}

// patiently asks again as long as there is no answer in time, until the host is lost, or
// ctx ends: one that is slow is there, while one that refuses to answer is not.
func patiently(ctx, lost context.Context, ask func(context.Context) error) error {
	for {
		err := ask(ctx)
		if !errors.Is(err, context.DeadlineExceeded) || lost.Err() != nil || ctx.Err() != nil {
			return err
		}
	}
}

// gone says whether the host does not answer, or has nothing of the job any more, and
// remembers that.
func (h *host) gone(ctx context.Context) bool {
	err := h.ask(ctx)
	if err != nil {
		h.blame(err)
	}
	return err != nil
}

// ask returns why nothing of the job is on the host any more, nil if it has it still.
func (h *host) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
	defer cancel()
	ended, err := h.agent.Renew(ctx)
	switch {
	case err != nil && !errors.Is(err, agent.ErrLost):
		return fmt.Errorf("%w: %w", agent.ErrLost, err)
	case err == nil && slices.Contains(ended, h.engine.wanted.Job):
		return agent.ErrGone
	}
	return err
}

// lost makes what failed on a machine its loss, if the reason is that its host
// is gone.
func (h *host) lost(ctx context.Context, machine string, err error) error {
	var known *node.LostError
	if err == nil || ctx.Err() != nil || errors.As(err, &known) {
		return err
	}
	if torn := h.tornBy(); torn != nil {
		return &node.LostError{Machine: machine, Cause: torn}
	}
	if !h.gone(ctx) {
		return err
	}
	return &node.LostError{Machine: machine, Cause: h.fault()}
}

// setEarly notes that machines of the host read layers that are still coming.
func (h *host) setEarly() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.early = true
}

func (h *host) isEarly() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.early
}

func (h *host) tornBy() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.torn
}

// why returns the reason for which a host did not get a blob.
func (h *host) why(err error) error {
	if bad := h.fault(); bad != nil {
		return bad
	}
	return cmp.Or(err, errors.New("nobody has them any more"))
}

// without has the host's machines hear that what they lack does not come, if they only
// pour it onto their disks: they can make these of packages, or say why not. Others are
// ended.
func (h *host) without(ctx context.Context, lacks map[ore.Digest]int64, err error) {
	for d := range lacks {
		if !slices.Contains(h.engine.poured, d) {
			h.tear(ctx, err)
			return
		}
	}
	h.blame(err)
	h.engine.config.Watch.Tell(ore.Event{Stage: "distribute", Text: fmt.Sprintf("host %s: %v: its machines do without it", h.name(), err)})
	calling, cancel := context.WithTimeout(context.WithoutCancel(ctx), tearTime)
	defer cancel()
	if h.job.Miss(calling) != nil {
		h.tear(ctx, err)
	}
}

// tear ends the host's machines, which wait for bytes that do not come: to them
// that is a disk that takes its time, and not an error of the job's.
func (h *host) tear(ctx context.Context, err error) {
	h.blame(err)
	h.mu.Lock()
	h.torn = fmt.Errorf("host %s: machines were started before all had come: %w: run the job again, or with --no-early-start", h.name(), err)
	h.mu.Unlock()
	h.engine.config.Watch.Tell(ore.Event{Stage: "distribute", Text: h.tornBy().Error()})
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tearTime)
	defer cancel()
	_ = h.job.Release(ctx) // a host that does not answer has its lease for that
}

// Exec implements [cluster.Node].
func (h *host) Exec(ctx context.Context, machine string, c guest.Command) (guest.Exit, error) {
	at := h.engine.at(machine, h)
	exit, err := at.job.Exec(ctx, machine, c)
	return exit, at.lost(ctx, machine, err)
}

// Put implements [cluster.Node].
func (h *host) Put(ctx context.Context, machine, dir string, tar io.Reader) error {
	at := h.engine.at(machine, h)
	return at.lost(ctx, machine, at.job.Put(ctx, machine, dir, tar))
}

// Get implements [cluster.Node].
func (h *host) Get(ctx context.Context, machine, dir string, patterns []string, w io.Writer) error {
	at := h.engine.at(machine, h)
	return at.lost(ctx, machine, at.job.Get(ctx, machine, dir, patterns, w))
}

// Console returns the end of a machine's console.
func (h *host) Console(ctx context.Context, machine string) (string, error) {
	return h.engine.at(machine, h).job.Console(ctx, machine)
}

// Start implements [cluster.Node].
func (h *host) Start(ctx context.Context, s node.Start, w ore.Watcher) ([]node.Started, error) {
	h.engine.share(s)
	return h.engine.start(ctx, h, s, w)
}

// Release implements [cluster.Node].
func (h *host) Release(ctx context.Context) error { return h.engine.release(ctx) }
