package install

import (
	"cmp"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"

	"ore"
	"ore/image"
	"ore/install/tree"
	"ore/squashfs"
)

// stack is what has been built so far: the folders of the finished phases and
// what the whole tree looks like.
type stack struct {
	*worker
	lower        []string              // host folders, lowest first
	merged       map[string]*tree.Node // the tree; after baseReady
	baseReady    chan struct{}         // closed when the base's nodes are known
	sealedLayers int
}

// sealBase seals the base's tree. It runs beside the next phase.
func (s *stack) sealBase(ctx context.Context, p *phase, found []tree.Found) error {
	sources := make([]source, 0, len(found))
	for i := range found {
		if strings.HasPrefix(found[i].Path, "dev/") {
			continue
		}
		src, err := p.examine(&found[i], nil)
		if err != nil {
			return fmt.Errorf("seal base: %w", err)
		}
		sources = append(sources, src)
	}
	for _, n := range devices(s.epoch) {
		sources = append(sources, source{node: n, rank: -1})
	}
	linkTogether(sources)
	nodes := make([]tree.Node, len(sources))
	for i := range sources {
		nodes[i] = sources[i].node
	}
	slices.SortFunc(nodes, func(a, b tree.Node) int { return tree.ComparePaths(a.Path, b.Path) })
	for i := range nodes {
		s.merged[nodes[i].Path] = &nodes[i]
	}
	s.sealedLayers++
	close(s.baseReady)
	if err := s.write(ctx, sources, 0, s.Environment.BaseOnly().Key()); err != nil {
		return err
	}
	f, err := os.Create(s.disk("nodes"))
	if err != nil {
		return fmt.Errorf("keep base: %w", err)
	}
	if err := errors.Join(gob.NewEncoder(f).Encode(baseNodes{Epoch: s.epoch, Nodes: nodes}), f.Close()); err != nil {
		return fmt.Errorf("keep base: %w", err)
	}
	return s.say.say(message{Layer: &sealed{Index: 0, Path: s.disk(layerName(0)), Key: s.Environment.BaseOnly().Key()}})
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

// seal makes a layer of what the phase changed, and lays its folder over the
// others. If it changed nothing there is no layer.
func (s *stack) seal(ctx context.Context, p *phase, key ore.Key) error {
	if err := s.ready(ctx); err != nil {
		return err
	}
	found, err := tree.Scan(p.upper, true)
	if err != nil {
		return err
	}
	d := &delta{phase: p, stack: s, found: found}
	sources, err := d.sources()
	if err != nil {
		return fmt.Errorf("seal layer: %w", err)
	}
	s.lower = append(slices.Clone(s.lower), p.upper)
	if len(sources) == 0 {
		return nil
	}
	linkTogether(sources)
	index := s.sealedLayers
	s.sealedLayers++
	if err := s.write(ctx, sources, index, key); err != nil {
		return err
	}
	return s.say.say(message{Layer: &sealed{Index: index, Path: s.disk(layerName(index)), Key: key}})
}

func layerName(index int) string { return fmt.Sprintf("layer-%d.squashfs", index) }

// linkTogether finds the names of one file: the first in the order of paths
// keeps the content, the others become links to it.
func linkTogether(sources []source) {
	slices.SortFunc(sources, func(a, b source) int { return tree.ComparePaths(a.node.Path, b.node.Path) })
	first := map[uint64]string{}
	for i := range sources {
		s := &sources[i]
		s.node.Hardlink = ""
		if s.inode == 0 {
			continue
		}
		if name, ok := first[s.inode]; ok {
			s.node.Hardlink = name
		} else {
			first[s.inode] = s.node.Path
		}
	}
}

// write writes a layer. The content of packages comes first, in their order, so
// that blocks that lie together in a pack do so in the layer.
func (s *stack) write(ctx context.Context, sources []source, index int, key ore.Key) error {
	s.watch.Tell(ore.Event{Stage: "seal", Text: fmt.Sprintf("layer %d", index+1), Total: int64(len(sources))})
	f, err := os.Create(s.disk(layerName(index)))
	if err != nil {
		return fmt.Errorf("seal layer: %w", err)
	}
	defer f.Close()
	o := s.Options
	o.Jobs = runtime.NumCPU()
	w, err := squashfs.NewWriter(f, o)
	if err != nil {
		return fmt.Errorf("seal layer: %w", err)
	}
	order := slices.SortedStableFunc(slices.Values(sources), func(a, b source) int {
		return cmp.Or(boolCompare(a.node.Hardlink != "", b.node.Hardlink != ""),
			boolCompare(a.pack == nil, b.pack == nil), cmp.Compare(a.rank, b.rank), cmp.Compare(a.index, b.index))
	})
	for i := range order {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := order[i].add(w); err != nil {
			return fmt.Errorf("seal layer: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return fmt.Errorf("seal layer: %w", err)
	}
	s.watch.Tell(ore.Event{Stage: "seal", Text: fmt.Sprintf("layer %d: key %s", index+1, key.Short()), Final: true})
	return f.Close()
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// outcome lists the whole tree.
func (s *stack) outcome(ctx context.Context) (*outcome, error) {
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	l := image.NewListing(nil)
	out := &outcome{Files: len(s.merged)}
	for _, name := range slices.SortedFunc(maps.Keys(s.merged), tree.ComparePaths) {
		n := s.merged[name]
		it, err := n.Item()
		if err != nil {
			return nil, fmt.Errorf("list tree: %w", err)
		}
		if err := l.Add(it); err != nil {
			return nil, fmt.Errorf("list tree: %w", err)
		}
		if n.Regular() && n.Hardlink == "" {
			out.Bytes += n.Size
		}
		if n.Capability != nil {
			out.Capabilities = append(out.Capabilities, image.Capability{Path: name, Value: n.Capability})
		}
	}
	var err error
	out.Tree, err = l.Digest()
	return out, err
}

// remove takes name and all below it out of the merged tree.
func (s *stack) remove(name string) {
	delete(s.merged, name)
	for other := range s.merged {
		if strings.HasPrefix(other, name+"/") {
			delete(s.merged, other)
		}
	}
}

// children lists the names that the merged tree has in the folder dir.
func (s *stack) children(dir string) []string {
	var list []string
	for name := range s.merged {
		if name != "." && path.Dir(name) == dir {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}
