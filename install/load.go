package install

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
	"ore/install/bytecode"
	"ore/install/dpkg"
	"ore/install/exact"
	"ore/install/pack"
	"ore/install/tree"
)

// loaded is a package that can be unpacked: its content lies in files named by
// number in the folder stage.
type loaded struct {
	*dpkg.Package
	name  string
	pack  *pack.Pack
	rank  int // in the order of the environment
	stage string
	ready chan struct{} // closed when all else is set
}

// loader decodes packages in the background, the base's first.
type loader struct {
	packs *pack.Store
	all   []*loaded
	base  []*loaded
	rest  []*loaded
}

// startLoading begins to load the packages that this build must unpack.
func (w *worker) startLoading(ctx context.Context, g *errgroup.Group) (*loader, error) {
	packs, err := pack.Open(w.Packs, w.Options, nil)
	if err != nil {
		return nil, err
	}
	l := &loader{packs: packs}
	for i, p := range w.Environment.Packages {
		if p.Base && w.Base != "" || w.From != nil && exact.Has(w.From.Packages, p) {
			continue
		}
		x := &loaded{name: p.Name, rank: i, stage: w.path(filepath.Join("stage", strconv.Itoa(i))), ready: make(chan struct{})}
		l.all = append(l.all, x)
		if p.Base {
			l.base = append(l.base, x)
		} else {
			l.rest = append(l.rest, x)
		}
		if err := os.MkdirAll(x.stage, 0o755); err != nil {
			return nil, fmt.Errorf("load packages: %w", err)
		}
	}
	g.Go(func() error { return w.loadAll(ctx, l) })
	return l, nil
}

// loadAll loads the base's packages, then the others, each time the largest
// first so that no core idles at the end. Where modules are to be compiled it is
// the smallest of the others: among them are what that needs, and it is work for
// the cores at the end.
func (w *worker) loadAll(ctx context.Context, l *loader) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.NumCPU())
	for i, part := range [][]*loaded{l.base, l.rest} {
		sorted := slices.Clone(part)
		slices.SortStableFunc(sorted, func(a, b *loaded) int {
			return cmp.Compare(w.Environment.Packages[b.rank].Size, w.Environment.Packages[a.rank].Size)
		})
		if i == 1 && bytecode.Find(l.names()) != "" {
			slices.Reverse(sorted)
		}
		for _, x := range sorted {
			g.Go(func() error { return w.load(ctx, l, x) })
		}
	}
	return g.Wait()
}

// load decodes one package, or finds its pack, and stages its content.
func (w *worker) load(ctx context.Context, l *loader, x *loaded) error {
	p, packs := w.Environment.Packages[x.rank], l.packs
	if len(l.base) > 0 && !p.Base {
		beside.Thread() // the base's scripts come first
		packs = packs.Beside()
	}
	stage := func(i int, n *tree.Node) (io.WriteCloser, error) {
		return tree.Stage(x.stage+"/"+strconv.Itoa(i), n)
	}
	var err error
	if x.pack, err = packs.Get(ctx, p.Digest, w.Debs[x.rank], stage); err != nil {
		return err
	}
	packs.Used(p.Digest)
	if x.Package, err = dpkg.New(x.pack.Control, x.pack.Nodes, x.pack.Conffiles); err != nil {
		return fmt.Errorf("unpack %s: %w", p, err)
	}
	if x.Name != p.Name || x.Version != p.Version {
		return fmt.Errorf("unpack %s: the file holds %s=%s", p, x.Name, x.Version)
	}
	w.watch.Tell(ore.Event{Stage: "unpack", Text: p.Name})
	close(x.ready)
	return nil
}

// controls lists the packages as the database has them.
func controls(set []*loaded) []*dpkg.Package {
	list := make([]*dpkg.Package, len(set))
	for i, x := range set {
		list[i] = x.Package
	}
	return list
}

// wait returns when all packages of part are loaded.
func wait(ctx context.Context, part []*loaded) error {
	for _, x := range part {
		select {
		case <-x.ready:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// close frees the packs. Nothing loads any more.
func (l *loader) close() {
	for _, x := range l.all {
		if x.pack != nil {
			x.pack.Close() // it was only read
		}
	}
}
