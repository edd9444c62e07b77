package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"ore"
	"ore/chain"
	"ore/image"
	"ore/node"
	"ore/node/kit"
	"ore/node/lazy"
)

// maxJobs bounds the supervisors of a host.
const maxJobs = 256

// jobNames are the IDs of jobs: names of folders, on any file system.
var jobNames = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{0,62}$`)

// job is one job on this host.
type job struct {
	id    string
	owner string
	begun time.Time
	grant chain.Grant
	far   *far // the way to machines on other hosts

	making sync.Mutex // one at a time makes, or ends it
	sup    *Supervisor
	proxy  *httputil.ReverseProxy
	wire   *http.Transport
	client *node.Client
	lazy   *lazy.Folder // nil where the host has none
	coming map[ore.Digest]*coming
	over   bool

	renewed time.Time // guarded by the agent's lock, as the next
	leaving bool

	mu    sync.Mutex // guards holds
	holds map[ore.Digest]func()
}

// find returns the caller's job.
func (a *Agent) find(who caller, id string) (*job, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	j := a.jobs[id]
	if j == nil || j.leaving || j.owner != who.owner {
		return nil, fmt.Errorf("job %s: %w", id, ErrGone)
	}
	j.renewed = time.Now()
	return j, nil
}

// open returns the caller's job, which is made if there is none.
func (a *Agent) open(who caller, id string) (*job, error) {
	if !jobNames.MatchString(id) {
		return nil, fmt.Errorf("job %q: not a name: use letters, digits, and . _ - within", id)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	j := a.jobs[id]
	switch {
	case a.closed:
		return nil, errors.New("the agent is ending")
	case who.agent:
		return nil, errors.New("an agent's key makes no jobs: use a client's")
	case j != nil && (j.owner != who.owner || j.leaving):
		return nil, fmt.Errorf("job %s: this host has one of that name: give another name", id)
	case j == nil && len(a.jobs) >= maxJobs:
		return nil, fmt.Errorf("job %s: the host has %d jobs already: wait, or use other hosts", id, maxJobs)
	case j == nil:
		j = &job{id: id, owner: who.owner, begun: time.Now(), far: newFar(a.config.Keys, id), holds: map[ore.Digest]func(){}, coming: map[ore.Digest]*coming{}}
		a.jobs[id] = j
	}
	j.renewed = time.Now()
	return j, nil
}

// make starts the job's supervisor, if it has none yet.
func (a *Agent) make(ctx context.Context, j *job) (Grip, error) {
	j.making.Lock()
	defer j.making.Unlock()
	if j.over {
		return Grip{}, fmt.Errorf("job %s: %w", j.id, ErrGone)
	}
	if j.sup == nil {
		folder := filepath.Join(a.life.jobs(), j.id)
		s, err := a.config.Supervise(ctx, j.id, folder, a.config.Dir)
		if err != nil {
			j.over = true
			a.drop(j)
			return Grip{}, fmt.Errorf("job %s: %w", j.id, err)
		}
		j.sup = &s
		if s.Device != nil {
			if j.lazy, err = lazy.Serve(s.Device); err != nil {
				a.log.Warn("machines wait for whole layers", "job", j.id, "error", err)
			}
		}
		j.wire = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", s.Socket)
		}}
		j.client = node.NewClientOver(&http.Client{Transport: j.wire}, "http://node")
		j.proxy = a.proxy(j)
		j.grant = chain.NewGrant()
		j.grant.Conduct = true
		a.blobs.peer.Allow(j.grant)
		if err := j.far.listen(folder); err != nil {
			a.log.Warn("machines cannot start processes on other hosts", "job", j.id, "error", err)
		}
	}
	return Grip{Chain: a.blobs.peer.Addr().String(), Conduct: j.grant, Lazy: j.lazy != nil}, nil
}

// proxy passes requests on to the job's supervisor.
func (a *Agent) proxy(j *job) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", "node", "node"
		},
		Transport: j.wire, FlushInterval: -1, ErrorLog: a.server.ErrorLog,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			reply(w, nil, fmt.Errorf("the supervisor of the job does not answer: %w: run the job again", err))
		},
	}
}

// drop forgets a job.
func (a *Agent) drop(j *job) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.jobs[j.id] == j {
		delete(a.jobs, j.id)
	}
}

// release ends a job and lets go of what it held.
func (a *Agent) release(j *job) error {
	j.making.Lock()
	defer j.making.Unlock()
	if j.over {
		return nil
	}
	j.over = true
	defer a.drop(j)
	if j.sup == nil {
		return nil
	}
	a.blobs.peer.Revoke(j.grant.ID)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), endTime)
	defer cancel()
	j.wire.CloseIdleConnections() // the supervisor waits for those that were opened and not used
	err := errors.Join(j.far.close(), j.sup.Release(ctx), j.unshow())
	j.wire.CloseIdleConnections()
	j.mu.Lock()
	for _, let := range j.holds {
		let()
	}
	j.holds = nil
	j.mu.Unlock()
	return errors.Join(err, a.blobs.evict(ctx))
}

// want holds blobs for a job and returns those that are not here.
func (a *Agent) want(ctx context.Context, j *job, all []ore.Digest) ([]ore.Digest, error) {
	lacking := []ore.Digest{}
	for _, d := range all {
		err := a.hold(ctx, j, d)
		if errors.Is(err, image.ErrMissing) || errors.Is(err, image.ErrRotten) {
			lacking = append(lacking, d)
		} else if err != nil {
			return nil, err
		}
	}
	return lacking, nil
}

// hold holds one blob for a job until it ends.
func (a *Agent) hold(ctx context.Context, j *job, d ore.Digest) error {
	j.mu.Lock()
	_, has := j.holds[d]
	j.mu.Unlock()
	if has {
		return nil
	}
	release, err := a.blobs.hold(ctx, d)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, has := j.holds[d]; has || j.holds == nil {
		release()
		return nil
	}
	j.holds[d] = release
	return nil
}

// keep verifies what the chain brought and holds it.
func (a *Agent) keep(ctx context.Context, j *job, d ore.Digest) error {
	if a.hold(ctx, j, d) == nil {
		return nil // it came for another job, too
	}
	if err := a.blobs.keep(ctx, d); err != nil {
		return err
	}
	if err := a.hold(ctx, j, d); err != nil {
		return err
	}
	return a.blobs.evict(ctx)
}

// lay lays a kit out, which the job must hold.
func (a *Agent) lay(ctx context.Context, j *job, k kit.Kit) (node.Boot, error) {
	for _, d := range k.Blobs() {
		if err := a.hold(ctx, j, d); err != nil {
			return node.Boot{}, err
		}
	}
	return a.blobs.layout.Lay(ctx, k)
}

// renew notes that the jobs of a caller have an owner still.
func (a *Agent) renew(who caller, r Renewal) Renewed {
	var gone Renewed
	for _, id := range r.Jobs {
		if _, err := a.find(who, id); err != nil {
			gone.Gone = append(gone.Gone, id)
		}
	}
	return gone
}

// peer says whether an agent may use the way to a job's commands, and the job.
func (a *Agent) peer(who caller, id string) (*job, bool) {
	a.mu.Lock()
	j := a.jobs[id]
	a.mu.Unlock()
	if j == nil || !who.agent {
		return nil, false
	}
	return j, slices.ContainsFunc(who.names, j.far.knows)
}
