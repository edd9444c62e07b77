package site

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"ore"
	"ore/cache"
	"ore/cluster"
	"ore/deb"
	"ore/deb/shelf"
	"ore/plan"
)

// Config says what a site is like.
type Config struct {
	Dirs    Dirs
	Mirror  string        // "" for the host's apt configuration
	Keyring string        // "" for the host's, else Debian's own
	MaxAge  time.Duration // of indexes; see deb.Config
	Pinned  *Lock         // what is built and started whatever a wish says; nil resolves each wish anew
	Log     *slog.Logger  // nil means silent
}

// Site is this host, ready to run jobs. Its methods may be called concurrently.
type Site struct {
	Config
	Cache *cache.Cache

	mu       sync.Mutex // guards archives
	archives map[string]*opening
	shelving sync.Mutex // guards shelf
	shelf    *shelf.Shelf
	uml      umlShelf
}

// Open opens the site and removes what jobs left whose supervisor was killed.
func Open(ctx context.Context, c Config) (*Site, error) {
	if err := c.Dirs.Make(); err != nil {
		return nil, err
	}
	images, err := cache.Open(ctx, c.Dirs.Images)
	if err != nil {
		return nil, err
	}
	s := &Site{Config: c, Cache: images, archives: map[string]*opening{}}
	if _, err := s.Sweep(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close ends the use of the site. Jobs that are kept go on.
func (s *Site) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := []error{s.Cache.Close()}
	for _, a := range s.archives {
		errs = append(errs, a.close())
	}
	return errors.Join(errs...)
}

// opening is an archive that is open or is being opened: opening one does not
// wait for another.
type opening struct {
	mu      sync.Mutex // guards archive
	archive *deb.Archive
}

func (o *opening) close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.archive == nil {
		return nil
	}
	return o.archive.Close()
}

// archive returns the archive of a base and the further repositories of w.
func (s *Site) archive(ctx context.Context, w ore.Wants, watch ore.Watcher) (*deb.Archive, error) {
	key, err := json.Marshal([]any{w.Base, w.Repositories})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	o := s.archives[string(key)]
	if o == nil {
		o = &opening{}
		s.archives[string(key)] = o
	}
	s.mu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.archive != nil {
		return o.archive, nil
	}
	o.archive, err = deb.Open(ctx, deb.Config{
		Dir: filepath.Join(s.Dirs.Cache, "deb"), Base: w.Base, Mirror: s.Mirror, Keyring: s.Keyring,
		Repositories: w.Repositories, MaxAge: s.MaxAge, Watch: watch,
	})
	return o.archive, err
}

// ClusterConfig returns what a run of the job id needs, but for where its
// output and results go.
func (s *Site) ClusterConfig(id string, watch ore.Watcher) cluster.Config {
	return cluster.Config{
		ID: id, Images: &images{site: s}, Engine: &local{site: s, watch: watch}, Watch: watch,
		Rates: s.Rates(), Learn: s.learn,
	}
}

func (s *Site) ratesPath() string { return filepath.Join(s.Dirs.State, "rates.json") }

// Rates returns what this site has learned; nothing if it has not run a job.
func (s *Site) Rates() plan.Rates {
	var r plan.Rates
	b, err := os.ReadFile(s.ratesPath())
	if err != nil || json.Unmarshal(b, &r) != nil {
		return plan.Rates{}
	}
	return r
}

// learn takes the timeline of a job that finished into the rates. Losing an
// update to another process costs one measurement.
func (s *Site) learn(t ore.Timeline, p plan.Plan) {
	if len(p.Options) == 0 {
		return
	}
	r := s.Rates()
	for _, e := range p.Chosen().Stages {
		if took, ok := duration(t, e.Stage); ok {
			r = r.Learn(e.Stage, e.Work, took)
		}
	}
	b, err := json.Marshal(r)
	if err != nil {
		return
	}
	_ = writeWhole(s.ratesPath(), b)
}

// duration returns how long a stage of the whole job took.
func duration(t ore.Timeline, name string) (time.Duration, bool) {
	for _, s := range t {
		if s.Name == name && s.Machine == "" {
			return s.End.Sub(s.Start), true
		}
	}
	return 0, false
}
