package install

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sync/errgroup"

	"ore"
	"ore/install/apt"
	"ore/install/bases"
	"ore/install/beside"
	"ore/install/dpkg"
	"ore/install/kept"
	"ore/install/layer"
	"ore/install/load"
	"ore/install/restore"
	"ore/install/skeleton"
)

// nativeArch is the architecture that environments are made for.
const nativeArch = "amd64"

// base makes the base's tree and begins to seal it, or takes what is there.
func (w *worker) base(ctx context.Context, g *errgroup.Group, l *load.Loader, s *stack) error {
	if w.Base != "" {
		return w.reuseBase(ctx, s)
	}
	if err := load.Wait(ctx, l.Base...); err != nil {
		return err
	}
	w.epoch = load.Newest(l.Base)
	w.python.start(ctx, g, nil)
	p := w.newPhase(l.Base, nil, w.path(treePlace))
	if err := p.skeleton(); err != nil {
		return err
	}
	end := beside.Yield()
	err := p.install(ctx)
	end()
	if err != nil {
		return err
	}
	if err := apt.Ran(p.view(), w.sb); err != nil {
		return err
	}
	s.lower = []string{p.upper}
	found, err := p.marks.Scan()
	if err != nil {
		return err
	}
	g.Go(func() error { return s.sealBase(ctx, p, found) })
	return nil
}

// skeleton makes what is there before the first package.
func (p *phase) skeleton() error {
	if err := os.MkdirAll(p.upper, 0o755); err != nil {
		return fmt.Errorf("make tree: %w", err)
	}
	return skeleton.Make(p.view(), nativeArch, load.Controls(p.set))
}

// newPhase returns a phase that writes to the folder place.
func (w *worker) newPhase(set []*load.Package, lower []string, place string) *phase {
	p := &phase{
		worker: w, set: set, lower: lower, upper: place, root: place,
		owner: map[string]*dpkg.Package{},
		lost:  map[string]map[string]bool{}, configured: map[string]bool{},
	}
	p.marks = layer.Upper{Dir: place, Owners: w.sb, Epoch: w.epoch, Placed: map[string]layer.Source{}}
	if p.overlaid() {
		p.root, p.work = place+".merged", place+".work"
	}
	return p
}

// reuseBase takes the base's nodes from their file, and its tree from the cache
// or out of the layer.
func (w *worker) reuseBase(ctx context.Context, s *stack) error {
	b, err := bases.Read(w.Nodes)
	if err != nil {
		return err
	}
	w.epoch = b.Epoch
	s.tree.Lay(b.Nodes)
	s.tree.Epoch = b.Epoch
	s.sealedLayers = 1
	close(s.baseReady)
	s.lower = []string{w.Tree}
	if _, err := os.Lstat(w.Tree); err == nil {
		kept.Touch(w.Tree)
		return nil
	}
	// On the disk, although memory would be faster: here it is kept, and the
	// builds after this one find it.
	w.restored = w.disk(treePlace)
	s.lower = []string{w.restored}
	_, err = restore.Layer(ctx, restore.Options{Layer: w.Base, Dir: w.restored, Owners: w.sb, Nodes: b.Nodes, Watch: w.watch})
	return err
}

// packages unpacks and configures what lies over the base and seals it.
func (w *worker) packages(ctx context.Context, l *load.Loader, s *stack) error {
	if len(l.Rest) == 0 && len(w.Environment.Sources) == 0 && w.From == nil {
		return nil
	}
	if w.From != nil {
		if err := load.Wait(ctx, l.Rest...); err != nil {
			return err
		}
		if err := w.makeRoom(ctx, l, s); err != nil {
			return err
		}
	}
	p := w.newPhase(l.Rest, s.lower, w.path("packages"))
	if err := os.MkdirAll(p.upper, 0o755); err != nil {
		return fmt.Errorf("make tree: %w", err)
	}
	var err error
	if p.configured, err = p.configuredBelow(); err != nil {
		return err
	}
	if err := apt.Sources(p.view(), w.Environment.Sources, w.Keys); err != nil {
		return err
	}
	if len(l.Rest) > 0 || w.From != nil {
		if err := p.install(ctx); err != nil {
			return err
		}
		if err := p.settleStates(s); err != nil {
			return err
		}
	}
	env := w.Environment
	env.Files, env.Steps = nil, nil
	w.watch.Tell(ore.Event{Stage: "configure", Final: true})
	if err := w.python.place(ctx, p.marks.Placed); err != nil {
		return err
	}
	if err := s.lay(ctx, p); err != nil {
		return err
	}
	if w.From != nil {
		if err := w.verify(s); err != nil {
			return err
		}
	}
	return s.seal(ctx, env.Key())
}
