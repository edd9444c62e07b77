// Package load decodes the packages of a build in the background, on all cores,
// and stages their content where it can be moved from into a tree.
//
// The base's packages come first, since their scripts can run while the others
// are decoded; then what something waits for ([Loader.Hasten]); then the largest,
// so that no core idles at the end. What a package says of itself is read before
// anything is decoded, so that what must come first can be told.
package load

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"

	"golang.org/x/sync/errgroup"

	"ore"
	"ore/install/beside"
	"ore/install/dpkg"
	"ore/install/pack"
	"ore/install/queue"
	"ore/install/tree"
)

// Package is a package that can be unpacked once it is loaded ([Wait]): its
// content lies in files named by number in the folder Stage. Whoever makes one
// without a Loader has loaded it.
type Package struct {
	*dpkg.Package            // once it is loaded
	Pack          *pack.Pack // likewise
	Asked         ore.Package
	Rank          int // in the order of the environment
	Stage         string

	// Head is the package without its files, from the start on. It is nil for one
	// that was decoded before and is loaded at once, and for one that is broken.
	Head *dpkg.Package
	// Twice tells which files are staged a second time, in the folder Again. It is
	// set before Run.
	Twice func(name string) bool

	deb   string
	ready chan struct{} // closed when it is loaded
}

// Again is the folder of the files that are staged twice.
func (x *Package) Again() string { return x.Stage + "-again" }

// Options are what a Loader loads, and from where.
type Options struct {
	Packages []ore.Package // in the order of the environment
	Debs     []string      // their .debs, "" for those that have a pack
	Skip     func(ore.Package) bool
	Packs    *pack.Store
	Dir      string // of the stages
	Watch    ore.Watcher
}

// Loader loads packages.
type Loader struct {
	All, Base, Rest []*Package // what is loaded; the base's; the others

	options Options
	queue   queue.Queue[*Package] // not begun
}

// New returns a Loader that has loaded nothing yet, and knows the heads of the
// packages over the base.
func New(o Options) (*Loader, error) {
	l := &Loader{options: o}
	for i, p := range o.Packages {
		if o.Skip(p) {
			continue
		}
		x := &Package{Asked: p, Rank: i, Stage: filepath.Join(o.Dir, strconv.Itoa(i)), deb: o.Debs[i], ready: make(chan struct{})}
		l.All = append(l.All, x)
		if p.Base {
			l.Base = append(l.Base, x)
		} else {
			l.Rest = append(l.Rest, x)
		}
		if err := os.MkdirAll(x.Stage, 0o755); err != nil {
			return nil, fmt.Errorf("load packages: %w", err)
		}
	}
	l.heads()
	return l, nil
}

// heads reads what the packages over the base say of themselves.
func (l *Loader) heads() {
	var g errgroup.Group
	g.SetLimit(runtime.NumCPU())
	for _, x := range l.Rest {
		if x.deb == "" {
			continue
		}
		g.Go(func() error {
			control, err := l.options.Packs.Head(x.deb)
			if err != nil {
				return nil // loading it will say what is wrong
			}
			if x.Head, err = dpkg.New(control, nil, nil); err != nil {
				x.Head = nil // likewise
			}
			return nil
		})
	}
	_ = g.Wait() // none of them fails
}

// Run loads all packages.
func (l *Loader) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.NumCPU())
	for _, part := range [][]*Package{l.Base, l.Rest} {
		sorted := slices.Clone(part)
		slices.SortStableFunc(sorted, func(a, b *Package) int { return cmp.Compare(b.Asked.Size, a.Asked.Size) })
		l.queue.Add(sorted...)
		for range sorted {
			g.Go(func() error { return l.load(ctx, l.queue.Take()) })
		}
	}
	return g.Wait()
}

// load decodes one package, or finds its pack, and stages its content.
func (l *Loader) load(ctx context.Context, x *Package) error {
	p, packs := x.Asked, l.options.Packs
	if len(l.Base) > 0 && !p.Base {
		beside.Thread() // the base's scripts come first
		packs = packs.Beside()
	}
	stage := func(i int, n *tree.Node) (io.WriteCloser, error) {
		name := "/" + strconv.Itoa(i)
		if x.Twice != nil && x.Twice(n.Path) {
			return tree.StageTwice(x.Stage+name, x.Again()+name, n)
		}
		return tree.Stage(x.Stage+name, n)
	}
	var err error
	if x.Pack, err = packs.Get(ctx, p.Digest, x.deb, stage); err != nil {
		return err
	}
	packs.Used(p.Digest)
	if x.Package, err = dpkg.New(x.Pack.Control, x.Pack.Nodes, x.Pack.Conffiles); err != nil {
		return fmt.Errorf("unpack %s: %w", p, err)
	}
	if x.Name != p.Name || x.Version != p.Version {
		return fmt.Errorf("unpack %s: the file holds %s=%s", p, x.Name, x.Version)
	}
	l.options.Watch.Tell(ore.Event{Stage: "unpack", Text: p.Name})
	close(x.ready)
	return nil
}

// Hasten has packages loaded before others that wait for their turn.
func (l *Loader) Hasten(list ...*Package) { l.queue.Hasten(list...) }

// Get returns the package if it is loaded, else nil.
func (l *Loader) Get(name string) *Package {
	for _, x := range l.All {
		if x.Asked.Name == name {
			return x
		}
	}
	return nil
}

// Names lists the packages over the base.
func (l *Loader) Names() []string {
	var list []string
	for _, x := range l.Rest {
		list = append(list, x.Asked.Name)
	}
	return list
}

// Close frees the packs. Nothing loads any more.
func (l *Loader) Close() {
	for _, x := range l.All {
		if x.Pack != nil {
			x.Pack.Close() // it was only read
		}
	}
}

// Wait returns when all packages of part are loaded.
func Wait(ctx context.Context, part ...*Package) error {
	for _, x := range part {
		if x.ready == nil {
			continue
		}
		select {
		case <-x.ready:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// Controls lists the packages as the database has them.
func Controls(set []*Package) []*dpkg.Package {
	list := make([]*dpkg.Package, len(set))
	for i, x := range set {
		list[i] = x.Package
	}
	return list
}

// Newest returns the newest time in the packages.
func Newest(set []*Package) int64 {
	var t int64
	for _, x := range set {
		for i := range x.Nodes {
			t = max(t, x.Nodes[i].ModTime)
		}
	}
	return t
}
