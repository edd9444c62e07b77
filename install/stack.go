package install

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"ore"
	"ore/install/bases"
	"ore/install/layer"
	"ore/install/plain"
	"ore/install/skeleton"
	"ore/install/tree"
	"ore/install/wire"
)

// stack is what has been built so far: the folders of the finished phases and
// what the whole tree looks like.
type stack struct {
	*worker
	lower        []string      // host folders, lowest first
	tree         *layer.Tree   // after baseReady
	baseReady    chan struct{} // closed when the base's nodes are known
	sealedLayers int
	base         map[string]bool // what the base has, in a build that starts from another image
	bare         *before         // that image without what its steps did
	apart        []string        // see image.Manifest
	outcome      *layer.Outcome  // of the whole tree, once its last layer is sealed
}

// sealBase seals the base's tree. It runs beside the next phase.
func (s *stack) sealBase(ctx context.Context, p *phase, found []tree.Found) error {
	sources, err := p.marks.All(found)
	if err != nil {
		return fmt.Errorf("seal base: %w", err)
	}
	sources = slices.DeleteFunc(sources, func(x layer.Source) bool { return strings.HasPrefix(x.Node.Path, "dev/") })
	for _, n := range skeleton.Devices(s.epoch) {
		sources = append(sources, layer.Source{Node: n, Rank: -1})
	}
	layer.Link(sources)
	nodes := make([]tree.Node, len(sources))
	for i := range sources {
		nodes[i] = sources[i].Node
	}
	s.tree.Lay(nodes)
	s.tree.Epoch = s.epoch
	s.sealedLayers++
	out, err := s.tree.Outcome()
	if err != nil {
		return err
	}
	close(s.baseReady)
	if s.Unsealed {
		return nil
	}
	if err := s.write(ctx, sources, 0, s.Environment.BaseOnly().Key()); err != nil {
		return err
	}
	if err := (bases.Nodes{Epoch: s.epoch, Nodes: nodes}).Write(s.disk("nodes")); err != nil {
		return err
	}
	return s.say.Say(wire.Message{Layer: &wire.Sealed{Index: 0, Path: s.disk(layerName(0)), Key: s.Environment.BaseOnly().Key(), Tree: out}})
}

// ready waits until the base's nodes are known.
func (s *stack) ready(ctx context.Context) error {
	select {
	case <-s.baseReady:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lay puts what the phase changed over the tree. It becomes part of the next
// layer.
func (s *stack) lay(ctx context.Context, p *phase) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	list, err := p.marks.Changes(s.tree)
	if err != nil {
		return fmt.Errorf("lay over tree: %w", err)
	}
	for _, c := range list {
		s.tree.Put(c)
	}
	s.lower = append(slices.Clone(s.lower), p.upper)
	return nil
}

// seal makes a layer of what was laid since the last one. If nothing changed, or
// no layers are asked for, there is none. The whole tree is listed beside the last
// one, so that nothing is left to do once that is written.
func (s *stack) seal(ctx context.Context, key ore.Key) error {
	sources := s.tree.Seal()
	if len(sources) == 0 || s.Unsealed {
		return nil
	}
	layer.Link(sources)
	index := s.sealedLayers
	s.sealedLayers++
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.write(ctx, sources, index, key) })
	if key == s.Environment.Key() {
		g.Go(func() (err error) {
			s.outcome, err = s.tree.Outcome()
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return s.say.Say(wire.Message{Layer: &wire.Sealed{Index: index, Path: s.disk(layerName(index)), Key: key}})
}

// whole returns what the manifest says of the whole tree.
func (s *stack) whole() (out *layer.Outcome, err error) {
	if out = s.outcome; out == nil {
		out, err = s.tree.Outcome()
	}
	if err == nil {
		out.Apart = s.apart
	}
	return out, err
}

func layerName(index int) string { return fmt.Sprintf("layer-%d.squashfs", index) }

// write writes a layer.
func (s *stack) write(ctx context.Context, sources []layer.Source, index int, key ore.Key) error {
	s.watch.Tell(ore.Event{Stage: "seal", Text: fmt.Sprintf("layer %d", index+1), Total: int64(len(sources))})
	if err := layer.Write(ctx, s.disk(layerName(index)), sources, s.Options); err != nil {
		return fmt.Errorf("seal layer: %w", err)
	}
	s.watch.Tell(ore.Event{Stage: "seal", Text: fmt.Sprintf("layer %d: key %s", index+1, key.Short()), Final: true})
	return nil
}

// view returns the tree as it has been laid.
func (s *stack) view() *tree.View {
	layers := slices.Clone(s.lower)
	slices.Reverse(layers)
	return tree.NewView(s.sb, layers...)
}

// move gives the finished tree its place as plain files. Folders that are kept
// for later builds are taken first: these must never find half of one.
func (s *stack) move(ctx context.Context) error {
	for i, dir := range s.lower {
		if strings.HasPrefix(dir, s.Work+"/") {
			continue
		}
		s.lower[i] = s.disk(fmt.Sprintf("taken-%d", i))
		if err := os.Rename(dir, s.lower[i]); err != nil {
			return fmt.Errorf("take tree: %w", err)
		}
	}
	return plain.Writer{Root: s.Into}.Move(ctx, plain.Tree{Names: s.tree.Names(), View: s.view()})
}
