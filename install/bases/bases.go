// Package bases keeps what builds go on from over a base: which layer it is, and
// beside it all that the layer cannot say, so that nothing of it is read again.
// A base that was made elsewhere is adopted from its image: what its layer and
// its manifest say together must make the manifest's tree.
package bases

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"

	"ore/image"
	"ore/install/layer"
	"ore/install/tree"
	"ore/squashfs"
)

// Nodes is what a base has.
type Nodes struct {
	Epoch int64 // the newest time in its packages: that of what no package brought
	Nodes []tree.Node
}

// Place is where a base is noted.
type Place struct {
	Note  string // file of the layer as image.Layer
	Nodes string // file of what it has
}

// Read reads what Write wrote.
func Read(name string) (n Nodes, err error) {
	f, err := os.Open(name)
	if err != nil {
		return n, fmt.Errorf("read base: %w", err)
	}
	defer f.Close()
	if err := gob.NewDecoder(bufio.NewReader(f)).Decode(&n); err != nil {
		return n, fmt.Errorf("read base: %s: %w", name, err)
	}
	return n, nil
}

// Write writes n to a file that nobody reads yet.
func (n Nodes) Write(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("keep base: %w", err)
	}
	b := bufio.NewWriter(f)
	if err := errors.Join(gob.NewEncoder(b).Encode(n), b.Flush(), f.Close()); err != nil {
		return fmt.Errorf("keep base: %w", err)
	}
	return nil
}

// Find returns the layer that is noted, if the store still has it, else nil.
func (p Place) Find(store *image.Store) (*image.Layer, error) {
	text, err := os.ReadFile(p.Note)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find base: %w", err)
	}
	var l image.Layer
	if err := json.Unmarshal(text, &l); err != nil {
		return nil, fmt.Errorf("find base: %s: %w: delete it", p.Note, err)
	}
	if _, err := os.Stat(p.Nodes); err != nil {
		return nil, nil // made again, with the layer
	}
	if _, err := store.Path(l.Digest); errors.Is(err, image.ErrMissing) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("find base: %w", err)
	}
	return &l, nil
}

// Keep notes a layer that the store has by now. The file nodes is what it has;
// it is moved from the folder of a build, in which there is room for more.
func (p Place) Keep(nodes string, l image.Layer) error {
	text, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("note base: %w", err)
	}
	if err := os.Rename(nodes, p.Nodes); err != nil {
		return fmt.Errorf("note base: %w", err)
	}
	part := nodes + ".note"
	if err := os.WriteFile(part, text, 0o644); err != nil {
		return fmt.Errorf("note base: %w", err)
	}
	if err := os.Rename(part, p.Note); err != nil {
		return fmt.Errorf("note base: %w", err)
	}
	return nil
}

// Adopt notes the base whose image m is, and whose layer the store has, as one
// that was made here. Without a Tree in m the layer alone is believed. It uses the
// folder work for what is unfinished.
func (p Place) Adopt(ctx context.Context, store *image.Store, m image.Manifest, work string) error {
	n, err := of(ctx, store, m)
	if err != nil {
		return fmt.Errorf("adopt base %s: %w", m.Key.Short(), err)
	}
	dir, err := os.MkdirTemp(work, "adopt-*")
	if err != nil {
		return fmt.Errorf("adopt base: %w", err)
	}
	defer os.RemoveAll(dir)
	nodes := filepath.Join(dir, "nodes")
	if err := n.Write(nodes); err != nil {
		return err
	}
	return p.Keep(nodes, m.Layers[0])
}

// ErrOther is returned for an image that is no base, or not the one that its
// manifest says.
var ErrOther = errors.New("not the base that it is said to be")

// of reads what the image of a base has.
func of(ctx context.Context, store *image.Store, m image.Manifest) (Nodes, error) {
	if len(m.Layers) != 1 || m.Environment.BaseOnly().Key() != m.Key {
		return Nodes{}, ErrOther
	}
	name, err := store.Path(m.Layers[0].Digest)
	if err != nil {
		return Nodes{}, err
	}
	f, err := os.Open(name)
	if err != nil {
		return Nodes{}, err
	}
	defer f.Close()
	r, err := squashfs.NewReader(f, m.Layers[0].Size)
	if err != nil {
		return Nodes{}, err
	}
	n, err := read(ctx, r)
	if err != nil {
		return n, err
	}
	t := layer.New()
	t.Lay(n.Nodes)
	for _, c := range m.Capabilities {
		at := t.Get(c.Path)
		if at == nil {
			return n, fmt.Errorf("no /%s: %w", c.Path, ErrOther)
		}
		at.Capability = c.Value // the tree's entries are those of n
	}
	out, err := t.Outcome()
	if err == nil && m.Tree != "" && out.Tree != m.Tree {
		err = fmt.Errorf("its tree is %s, not %s: %w", out.Tree.Short(), m.Tree.Short(), ErrOther)
	}
	return n, err
}

// read lists a layer with the sums of its files, which are read on all cores.
func read(ctx context.Context, r *squashfs.Reader) (n Nodes, err error) {
	first := map[string]int{}
	for e, err := range r.Entries() {
		if err != nil {
			return n, err
		}
		first[e.Path] = len(n.Nodes)
		n.Nodes = append(n.Nodes, tree.Node{Entry: e})
		n.Epoch = max(n.Epoch, e.ModTime)
	}
	g, ctx := errgroup.WithContext(ctx)
	for part := range runtime.NumCPU() {
		g.Go(func() error {
			for i := part; i < len(n.Nodes) && ctx.Err() == nil; i += runtime.NumCPU() {
				if err := add(r, &n.Nodes[i]); err != nil {
					return err
				}
			}
			return ctx.Err()
		})
	}
	if err := g.Wait(); err != nil {
		return n, err
	}
	for i := range n.Nodes {
		at := &n.Nodes[i]
		if at.Hardlink == "" {
			continue
		}
		j, ok := first[at.Hardlink]
		if !ok {
			return n, fmt.Errorf("/%s is no other name of a file: %w", at.Path, ErrOther)
		}
		at.Sum = n.Nodes[j].Sum
	}
	return n, nil
}

// add takes the sum of a file.
func add(r *squashfs.Reader, n *tree.Node) error {
	if !n.Regular() || n.Hardlink != "" {
		return nil
	}
	in, err := r.Open(n.Path)
	if err != nil {
		return err
	}
	defer in.Close()
	h := sha256.New()
	if _, err := io.Copy(h, in); err != nil {
		return fmt.Errorf("/%s: %w", n.Path, err)
	}
	n.Sum = [sha256.Size]byte(h.Sum(nil))
	return nil
}
