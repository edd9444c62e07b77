package keeper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"ore"
	"ore/cluster"
	"ore/namespace/janitor"
	"ore/site"
	"ore/site/ledger"
	"ore/site/supervisor"
)

const (
	// headTime bounds how long a request's head may take at the socket, which only
	// this user can reach.
	headTime = time.Minute
	// endTime bounds the end of the machines: calls to each host, and a batch
	// system whose controller may be away.
	endTime = 2 * time.Minute
	// answerTime bounds how long the last answer may take to reach its reader.
	answerTime = time.Second
)

// Errors that say why a keeper ends.
var (
	errDown   = errors.New("they were ended")
	errSignal = errors.New("their keeper on the host where 'ore up' was called got a signal: start them again")
	errLeft   = errors.New("the command that started them has ended")
)

// Job is what a keeper keeps.
type Job struct {
	ore.Job
	ID string
	// Config is how it is run, with an engine whose front leads to all machines.
	Config func(ore.Watcher) (cluster.Config, error)
}

// keeping is a keeper's state.
type keeping struct {
	site   *site.Site
	job    Job
	told   teller
	handed chan struct{} // closed when the machines are kept for good
	end    context.CancelCauseFunc
	front  atomic.Pointer[http.Handler] // nil until the machines are up
}

// Keep is what a keeper does: it starts machines and keeps them until somebody ends
// them. What it tells goes to out.
func Keep(ctx context.Context, s *site.Site, j Job, out io.Writer) error {
	k := &keeping{site: s, job: j, told: teller{out: json.NewEncoder(out)}, handed: make(chan struct{})}
	ctx, k.end = context.WithCancelCause(ctx)
	defer k.end(nil)
	go func() { // ends with the process at the latest
		if said, _ := io.ReadAll(os.NewFile(lifelineFD, "lifeline")); string(said) != handedOver {
			k.end(errLeft)
			return
		}
		close(k.handed)
	}()
	err := k.keep(ctx)
	if err != nil {
		k.told.tell(Told{Error: err.Error(), Taken: errors.Is(err, supervisor.ErrTaken)})
	}
	return err
}

// keep has the job's folder, as a supervisor has that of a job of this host.
func (k *keeping) keep(ctx context.Context) (err error) {
	dir := k.site.Folder(k.job.ID)
	if err := os.Mkdir(dir, 0o700); errors.Is(err, fs.ErrExist) {
		return supervisor.ErrTaken
	} else if err != nil {
		return fmt.Errorf("keep machines: %w", err)
	}
	folder, err := ledger.Hold(dir)
	if err != nil {
		return errors.Join(err, os.Remove(dir))
	}
	lock, err := ledger.Claim(dir)
	if err != nil {
		return errors.Join(err, folder.Remove())
	}
	defer lock.Close() // after all else: who waits for the end waits for this
	care, err := janitor.Watch(janitor.Folder{Path: dir})
	if err != nil {
		return errors.Join(err, folder.Remove())
	}
	defer func() { err = errors.Join(err, folder.Remove(), care.Dismiss()) }()
	if err := ledger.MarkKept(dir); err != nil {
		return err
	}
	l, err := net.Listen("unix", supervisor.Socket(dir))
	if err != nil {
		return fmt.Errorf("%w: set ORE_HOME to a folder with a shorter path", err)
	}
	server := &http.Server{Handler: k, ReadHeaderTimeout: headTime}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(l) // until it is closed
	}()
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerTime)
		defer cancel()
		_ = server.Shutdown(stop) // the answer to who ended it may be under way
		_ = server.Close()
		<-served
	}()
	return k.machines(ctx)
}

// machines starts them, and returns when they have ended.
func (k *keeping) machines(ctx context.Context) (err error) {
	c, err := k.job.Config(func(e ore.Event) { k.told.tell(Told{Event: &e}) })
	if err != nil {
		return err
	}
	bed, err := cluster.Up(ctx, c, k.job.Job)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endTime)
		defer cancel()
		err = errors.Join(err, bed.Release(ctx))
	}()
	leads, ok := c.Engine.(interface{ Front() http.Handler })
	if !ok {
		return errors.New("keep machines: this engine cannot")
	}
	front := leads.Front()
	k.front.Store(&front)
	up := Up{Machines: bed.Machines, Published: bed.Published}
	if up.Start, err = bed.Encode(); err != nil {
		return err
	}
	k.told.tell(Told{Up: &up})
	return k.stay(ctx, c.Engine)
}

// stay returns when the machines are to end, or have. That is written down, but for
// who ended them by name.
func (k *keeping) stay(ctx context.Context, e cluster.Engine) error {
	var over <-chan struct{} // of an engine that gets hosts for a time
	given, ok := e.(interface {
		Over() <-chan struct{}
		Why() error
	})
	if ok {
		over = given.Over()
	}
	var why error
	select {
	case <-over:
		why = given.Why()
	case <-ctx.Done():
		if why = context.Cause(ctx); errors.Is(why, errDown) {
			return nil
		} else if !errors.Is(why, errLeft) {
			why = errSignal
		}
	}
	select {
	case <-k.handed:
	default:
		return why // whoever waits for the machines is told
	}
	r, err := k.site.Job(k.job.ID)
	if err != nil {
		return err
	}
	r.Ended = time.Now()
	r.Result = &ore.Result{Job: r.ID, Kind: ore.Failed, ExitCode: ore.ExitFailed, Error: why.Error()}
	return k.site.Keep(r)
}

// ServeHTTP leads to the machines once they are up, and is where they are ended.
func (k *keeping) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	front := k.front.Load()
	switch {
	case r.Method == http.MethodDelete && r.URL.Path == "/v1/machines":
		k.end(errDown)
		_, _ = io.WriteString(w, "{}\n")
	case front != nil:
		(*front).ServeHTTP(w, r)
	default:
		w.WriteHeader(http.StatusServiceUnavailable)
		// A client that is gone cannot be told anything.
		_ = json.NewEncoder(w).Encode(struct{ Error string }{"the machines are being started: wait for 'ore up', or end them with 'ore down'"})
	}
}
