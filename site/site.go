package site

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"ore"
	"ore/cache"
	"ore/cluster"
	"ore/deb"
	"ore/deb/shelf"
	"ore/image"
	"ore/install/kept"
	"ore/install/workplace"
	"ore/plan"
	"ore/site/learn"
	"ore/site/ledger"
	"ore/site/remote"
)

// Config says what a site is like.
type Config struct {
	Dirs    Dirs
	Mirror  string        // "" for the host's apt configuration
	Keyring string        // "" for the host's, else Debian's own
	MaxAge  time.Duration // of indexes; see deb.Config
	Pinned  *Lock         // what is built and started whatever a wish says; nil resolves each wish anew
	Log     *slog.Logger  // nil means silent

	Caches   []remote.Address // where images may be fetched, and given
	Trusted  image.Keys       // who must have signed what is fetched, and what is used; nil trusts all that these caches have
	Superset bool             // an image with more packages than were asked for will do, but not for a lock
	Quota    int64            // bytes of all images; 0 for no limit but the disk
	Hedge    plan.HedgeRule   // when two ways are started at once
	Budget   time.Duration    // how long images may be prepared after a job while the host is idle; 0 for never
	Later    func() error     // starts a process that calls Afterwards; nil has nothing done but what is asked for
}

// Site is this host, ready to run jobs. Its methods may be called concurrently.
type Site struct {
	Config
	ledger.Book
	Cache  *cache.Cache
	Signer *image.Signer // signs what is built here

	swept     []string   // folders of jobs that Open removed
	cleared   int64      // bytes of builds that Open removed
	mu        sync.Mutex // guards archives, elsewhere
	elsewhere []*remote.Cache
	archives  map[string]*opening
	shelving  sync.Mutex // guards shelf
	shelf     *shelf.Shelf
	uml       umlShelf
	load      learn.Load
}

// Open opens the site and removes what jobs left whose supervisor was killed, and
// builds that were.
func Open(ctx context.Context, c Config) (*Site, error) {
	if err := c.Dirs.Make(); err != nil {
		return nil, err
	}
	signer, err := image.OpenSigner(filepath.Join(c.Dirs.State, "signing.key"))
	if err != nil {
		return nil, err
	}
	images, err := cache.Config{Quota: c.Quota, Signer: signer, Trusted: c.Trusted, Strict: c.Trusted != nil}.Open(ctx, c.Dirs.Images)
	if err != nil {
		return nil, err
	}
	book := ledger.Book{Records: filepath.Join(c.Dirs.State, "jobs"), Run: c.Dirs.Run}
	s := &Site{Config: c, Book: book, Cache: images, Signer: signer, archives: map[string]*opening{}}
	s.load.Begin()
	if s.swept, err = s.Sweep(); err != nil && c.Log != nil {
		// It takes room, and nothing else: Doctor says what to do about it.
		c.Log.Warn("what dead supervisors left stays", "error", err)
	}
	if s.cleared, err = workplace.Sweep(ctx, kept.Below(s.builder(nil, nil).Dir).Work); err != nil && c.Log != nil {
		c.Log.Warn("what dead builds left stays", "error", err)
	}
	return s, nil
}

// Close ends the use of the site. Jobs that are kept go on.
func (s *Site) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := []error{s.Cache.Close()}
	for _, c := range s.elsewhere {
		c.Close()
	}
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
	l := s.learner()
	return cluster.Config{
		ID: id, Images: &images{site: s}, Engine: &local{site: s, watch: watch}, Watch: l.Through(watch),
		Ask: s.ask(), Rates: s.Rates(), Driver: s.driver, Learn: l.Learn,
	}
}
