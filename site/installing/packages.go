package installing

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"sync"

	"ore"
	"ore/deb"
	"ore/deb/fetch"
	"ore/deb/proxy"
	"ore/install/recipe"
	"ore/plan"
	"ore/rpm"
)

// FromMirror as a Maker's From has each machine install all packages, and fetch them
// from the mirror for itself, as it was before there were caches: to compare with.
const FromMirror recipe.Strategy = plan.FromMirror

// archives says where machines find packages: at the depot, and where that fails, at
// the mirror itself, if their network lets them.
func (m Maker) archives() ([]string, error) {
	if m.direct && len(m.Job.Wants.Repositories) > 0 {
		return nil, errors.New("install from the mirror: packages of further repositories are not there: leave out --install-from mirror")
	}
	var all []string
	if !m.direct {
		all = append(all, "proxy:"+m.at()+"/packages")
	}
	if m.Depot != "" { // what it gives is compared
		return all, nil
	}
	mirrors, err := m.mirrors()
	if err != nil && m.direct {
		return nil, fmt.Errorf("install from the mirror: %w", err)
	}
	return append(all, mirrors...), nil
}

// mirrors lists those of the base that machines reach, as a recipe has them. The error
// says why there is none.
func (m Maker) mirrors() ([]string, error) {
	if m.Job.Network == ore.Isolated {
		return nil, errors.New("the job's network is isolated: use network nat, or let machines install from this host")
	}
	list, err := deb.Config{Base: m.Job.Wants.Base, Mirror: m.Site.Mirror}.BaseSources()
	if err != nil {
		return nil, err
	}
	var all []string
	for _, s := range list {
		if reached(s.URI) && !slices.Contains(all, "mirror:"+s.URI) {
			all = append(all, "mirror:"+s.URI)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("machines reach none of the mirrors: name one with --mirror that has an http: address without a password, and is not on this host")
	}
	return all, nil
}

// reached says whether machines may reach a mirror: they have no certificates of
// authorities, are told nobody's password, and what is loopback here is another place
// to them. Packages are compared with their digests in any case.
func reached(uri string) bool {
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "http" || u.User != nil || u.Hostname() == "localhost" {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err != nil || !ip.IsLoopback()
}

// packages stocks what an environment is installed from: packages, the contents
// of its files, and the certificates of its archives.
func (m Maker) packages(ctx context.Context, s *stock, r *recipe.Recipe) error {
	if m.Depot == "" && !m.direct { // else somebody else has the packages
		if err := m.archive(ctx, s, r.Environment.Packages); err != nil {
			return err
		}
	}
	return m.contents(ctx, s, r)
}

// contents stocks what is neither a layer nor a package.
func (m Maker) contents(ctx context.Context, s *stock, r *recipe.Recipe) error {
	contents, err := m.Site.Contents(ctx, m.Job.Wants.Files)
	if err != nil {
		return err
	}
	for _, f := range r.Environment.Files {
		if f.Digest != "" {
			s.files[f.Digest] = contents[f.Digest]
		}
	}
	for _, rep := range m.Job.Wants.Repositories {
		d, err := m.Site.Cache.PutBytes(ctx, rep.Key)
		if err != nil {
			return err
		}
		if s.files[d], err = m.Site.Cache.Path(d); err != nil {
			return err
		}
	}
	m.name(r)
	return nil
}

// name says where machines find what contents stocks.
func (m Maker) name(r *recipe.Recipe) {
	for _, f := range r.Environment.Files {
		if f.Digest != "" {
			r.Blobs[f.Digest] = m.source(f.Digest, f.Size)
		}
	}
	for _, rep := range m.Job.Wants.Repositories {
		d := ore.DigestOf(rep.Key)
		r.Blobs[d] = m.source(d, int64(len(rep.Key)))
	}
}

// archive has packages at hand: fetched when the first machine asks, or before, if
// they are to be sent to other hosts.
func (m Maker) archive(ctx context.Context, s *stock, packages []ore.Package) error {
	a, err := m.Site.Archive(ctx, m.Job.Wants)
	if err != nil {
		return err
	}
	if m.Elsewhere {
		if err := a.FetchAll(ctx, packages, m.Watch); err != nil {
			return err
		}
	} else if s.proxy, err = proxy.New(proxy.Config{Dir: filepath.Join(m.Site.Dirs.Cache, "deb", "proxy"), Watch: m.Watch}); err != nil {
		return err
	}
	var files []fetch.File
	for _, p := range packages {
		f, err := a.File(p)
		if err != nil {
			return err
		}
		files = append(files, f)
		if m.Elsewhere {
			s.files[p.Digest] = f.Path
		}
	}
	if m.Elsewhere {
		return nil
	}
	return s.proxy.Know(files...)
}

// maxBeside bounds the contents of files that go to other hosts in case that the image,
// which has them, cannot be had there.
const maxBeside = 32 << 20

// beside has r say where packages are, for machines whose image cannot be had in the
// midst (package recipe). They are stocked once one asks. To other hosts none are sent for
// that: machines there have them from the mirror, if they reach one that has all.
func (m Maker) beside(ctx context.Context, s *stock, r *recipe.Recipe) (err error) {
	switch {
	case rpm.Is(r.Environment.Base), m.Elsewhere && (m.Depot != "" || len(m.Job.Wants.Repositories) > 0 || contentsOf(r.Environment) > maxBeside):
		return nil
	case m.Elsewhere:
		if r.Archive, err = m.mirrors(); err != nil {
			return nil // they reach none
		}
		return m.contents(ctx, s, r)
	}
	if r.Archive, err = m.archives(); err != nil || m.Depot != "" {
		return errors.Join(err, m.contents(ctx, s, r))
	}
	env, before := r.Environment, maps.Clone(r.Blobs)
	m.name(r)
	has := map[ore.Digest]bool{}
	for d := range r.Blobs {
		_, stocked := before[d]
		has[d] = !stocked
	}
	var told sync.Once
	ctx, end := context.WithCancel(ctx)
	s.holds = append(s.holds, end)
	s.late = &late{has: has, end: end, make: func() (*stock, error) {
		told.Do(func() {
			m.Watch.Tell(ore.Event{Stage: "note", Text: "a machine does not get its image: it installs packages instead"})
		})
		more := &stock{files: map[ore.Digest]string{}}
		if err := m.packages(ctx, more, &recipe.Recipe{Environment: env, Blobs: map[ore.Digest]recipe.Source{}}); err != nil {
			return nil, errors.Join(err, more.close())
		}
		return more, nil
	}}
	return nil
}

// contentsOf counts the bytes of an environment's files.
func contentsOf(env ore.Environment) (n int64) {
	for _, f := range env.Files {
		n += f.Size
	}
	return n
}

// late is stock that is made once somebody asks for it. Its methods may be called
// concurrently.
type late struct {
	has  map[ore.Digest]bool // files that it will have, beside packages
	make func() (*stock, error)
	end  func() // has make end soon

	mu     sync.Mutex // guards what follows
	stock  *stock     // nil until it is made
	closed bool
}

// errClosed is what a depot answers that is gone.
var errClosed = errors.New("the depot is closed")

// get makes the stock, again if that failed before.
func (l *late) get() (_ *stock, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errClosed
	}
	if l.stock == nil {
		l.stock, err = l.make()
	}
	return l.stock, err
}

// close ends what is stocked, and what is being stocked; nothing is from then on.
func (l *late) close() error {
	l.end()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	if l.stock == nil {
		return nil
	}
	return errors.Join(l.stock.close(), l.stock.release())
}

// close ends the fetching of packages.
func (s *stock) close() error {
	if s.proxy == nil {
		return nil
	}
	return s.proxy.Close()
}
