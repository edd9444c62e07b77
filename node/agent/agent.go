package agent

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

const (
	// firstCall is how much longer an agent on a lease waits for its client at the
	// beginning: a batch system starts a hundred of them one after the other.
	firstCall = 3 * LeaseTime
	// lookEvery is how often leases and leftovers are looked at.
	lookEvery = time.Second
	// endTime bounds how long the end of a job may take; then it is killed.
	endTime = 20 * time.Second
	// headTime bounds how long a request's head may take: a stranger has no more.
	headTime = 10 * time.Second
)

// Supervisor is a job's process on this host.
type Supervisor struct {
	Socket  string // where it serves the interface of package node
	Release func(ctx context.Context) error
	Lazy    string   // the folder, as its machines see it, that Device serves (package node/lazy)
	Device  *os.File // nil where the host has no such folders
}

// Config is what an agent works with.
type Config struct {
	Name     string // the host's
	Version  string // of ore
	Keys     Keys
	Listener net.Listener // of the interface; the agent closes it, as the next
	Chain    net.Listener // of the transfer of blobs
	Dir      string       // is made; agents of one user may share it
	Quota    int64        // bytes of blobs that stay when no job needs them
	Memory   int64        // bytes for machines; 0 for what the host has
	Rack     string       // where the host stands, for the order of transfers
	Switch   string       // that the rack is connected with
	Link     float64      // bytes a second of the host's link, each way; 0 for what its card says
	Lease    bool         // Done closes when nobody has called for LeaseTime
	// LeaseTime is after which time without a sign of its owner a job ends; zero
	// means the constant of that name, by which clients go.
	LeaseTime time.Duration
	// Supervise starts the process of a job, in a folder that it makes, with the
	// store of blobs in images. The process must end with this one.
	Supervise func(ctx context.Context, id, folder, images string) (Supervisor, error)
	Log       *slog.Logger // nil means silent
}

// Agent serves a host to the owners of jobs. See the package's page.
type Agent struct {
	config Config
	log    *slog.Logger
	life   *life
	blobs  *blobs
	server *http.Server
	secure net.Listener
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	done   chan struct{}
	run    sync.WaitGroup

	mu     sync.Mutex // guards what follows
	jobs   map[string]*job
	called time.Time // when somebody with a certificate called last, or this began
	heard  bool      // that somebody has called
	closed bool
}

// Start makes an agent that serves until Close.
func Start(ctx context.Context, c Config) (*Agent, error) {
	a, err := start(ctx, c)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start agent: %w", err), c.Listener.Close(), c.Chain.Close())
	}
	return a, nil
}

func start(ctx context.Context, c Config) (*Agent, error) {
	conf, err := c.Keys.server()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("%w: give a folder that you can write to with --dir", err)
	}
	if c.LeaseTime == 0 {
		c.LeaseTime = LeaseTime
	}
	a := &Agent{config: c, log: c.Log, done: make(chan struct{}), jobs: map[string]*job{}, called: time.Now()}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	// The agent's life is its owner's, not that of the call that makes it.
	a.ctx, a.cancel = context.WithCancel(context.WithoutCancel(ctx))
	if a.life, err = begin(c.Dir); err != nil {
		return nil, err
	}
	if a.blobs, err = openBlobs(a.ctx, c, a.life.chain()); err != nil {
		return nil, errors.Join(err, a.life.end())
	}
	a.secure = tls.NewListener(c.Listener, conf)
	a.server = &http.Server{
		Handler: a.handler(), ReadHeaderTimeout: headTime, ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/2 has no upgrades
	}
	a.run.Go(func() {
		if err := a.server.Serve(a.secure); err != nil && !errors.Is(err, http.ErrServerClosed) {
			a.log.Error("the interface is closed", "error", err)
			a.finish()
		}
	})
	a.run.Go(a.look)
	return a, nil
}

// Ready is what the agent prints when it serves.
func (a *Agent) Ready() Ready {
	host, _, err := net.SplitHostPort(a.config.Listener.Addr().String())
	if err != nil {
		host = ""
	}
	return Ready{
		Addr: a.config.Listener.Addr().String(), Chain: a.blobs.peer.Addr().String(),
		Trunk: net.JoinHostPort(host, "0"), Name: a.config.Name,
	}
}

// Done is closed when an agent on a lease has nobody left who needs it, or when
// its interface broke. It is still to be closed.
func (a *Agent) Done() <-chan struct{} { return a.done }

func (a *Agent) finish() {
	a.mu.Lock()
	defer a.mu.Unlock()
	select {
	case <-a.done:
	default:
		close(a.done)
	}
}

// Close ends all jobs and the agent, and removes all that it made but the blobs
// within the quota.
func (a *Agent) Close() error {
	a.mu.Lock()
	a.closed = true
	var all []*job
	for _, j := range a.jobs {
		all = append(all, j)
	}
	a.mu.Unlock()
	errs := make(chan error, len(all))
	for _, j := range all {
		go func() { errs <- a.release(j) }()
	}
	var err error
	for range all {
		err = errors.Join(err, <-errs)
	}
	a.cancel()
	err = errors.Join(err, a.server.Close())
	a.run.Wait()
	return errors.Join(err, a.blobs.close(), a.life.end())
}

// look ends jobs whose owner is gone, and the agent itself if it is on a lease.
func (a *Agent) look() {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var ending sync.WaitGroup
	defer ending.Wait()
	for last := time.Now(); ; {
		select {
		case <-a.ctx.Done():
			return
		case <-tick.C:
		}
		a.blobs.tidy()
		over, idle := a.lapsed(last, time.Now())
		last = time.Now()
		for _, j := range over {
			ending.Go(func() {
				if err := a.release(j); err != nil {
					a.log.Warn("a job without an owner did not end cleanly", "job", j.id, "error", err)
				}
			})
		}
		if idle {
			a.finish()
		}
	}
}

// lapsed returns the jobs whose lease has lapsed at a moment, and whether the agent's
// own has. What passed since the look before it, beyond the usual, counts for nobody:
// an agent that did not run, on a host that is overloaded or was suspended, has heard
// nobody, whoever called. Whom it has heard since is as fresh as now, not more.
func (a *Agent) lapsed(last, now time.Time) (over []*job, idle bool) {
	deaf := max(0, now.Sub(last)-2*lookEvery)
	excused := func(sign time.Time) time.Time { return sign.Add(min(deaf, now.Sub(sign))) }
	a.mu.Lock()
	defer a.mu.Unlock()
	a.called = excused(a.called)
	for _, j := range a.jobs {
		j.renewed = excused(j.renewed)
		if now.Sub(j.renewed) > a.config.LeaseTime && !j.leaving {
			j.leaving = true
			over = append(over, j)
		}
	}
	patience := a.config.LeaseTime
	if !a.heard {
		patience += firstCall
	}
	return over, a.config.Lease && now.Sub(a.called) > patience
}
