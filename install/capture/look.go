package capture

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"ore"
	"ore/deb/control"
	"ore/image"
	"ore/install/dpkg"
	"ore/install/layer"
	"ore/install/tree"
	"ore/squashfs"
)

// maxStatus bounds dpkg's database: the largest suites have 70,000 packages of
// some KiB each, of which no machine has a tenth.
const maxStatus = 64 << 20

// status is where dpkg's database is.
const status = dpkg.Dir + "/status"

// Look proves that the layers of m, which are in the store, make the tree that m
// names, of at most so many bytes, with the packages of m's environment, and
// returns the manifest as it should be.
func Look(ctx context.Context, store *image.Store, m image.Manifest, most int64) (image.Manifest, error) {
	v := &looking{tree: layer.New(), from: map[string]*squashfs.Reader{}, most: most}
	defer v.close()
	for i, l := range m.Layers {
		if err := v.lay(ctx, store, l); err != nil {
			return m, fmt.Errorf("look at layer %d of image %s: %w", i+1, m.Key.Short(), err)
		}
	}
	out, err := v.outcome(m)
	if err != nil {
		return m, fmt.Errorf("look at image %s: %w", m.Key.Short(), err)
	}
	proved := out.Manifest(m.Environment)
	proved.Layers = named(m)
	return store.Rooted(ctx, proved) // the roots are not the machine's word either
}

// named returns the layers of m with the keys that its environment tells: of the first,
// over which only builds go on that have made that base themselves, and of the last. What
// the others end with is only the machine's word, and nothing goes on upon a part of an
// image by that.
func named(m image.Manifest) []image.Layer {
	layers := slices.Clone(m.Layers)
	for i := range layers {
		layers[i].Key = ""
	}
	layers[0].Key = m.Environment.BaseOnly().Key()
	layers[len(layers)-1].Key = m.Key
	return layers
}

// looking is one look.
type looking struct {
	tree  *layer.Tree
	from  map[string]*squashfs.Reader // the layer of a name, if it is dpkg's database
	files []*os.File
	most  int64
	bytes int64
}

func (v *looking) close() {
	for _, f := range v.files {
		f.Close()
	}
}

// lay lays a layer over those before.
func (v *looking) lay(ctx context.Context, store *image.Store, l image.Layer) error {
	path, err := store.Verified(ctx, l.Digest)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	v.files = append(v.files, f)
	r, err := squashfs.NewReader(f, l.Size)
	if err != nil {
		return err
	}
	nodes, err := v.nodes(r)
	if err != nil {
		return err
	}
	if err := sums(ctx, r, nodes); err != nil {
		return err
	}
	v.tree.Lay(nodes)
	return nil
}

// nodes lists a layer, without the hashes of its files.
func (v *looking) nodes(r *squashfs.Reader) ([]tree.Node, error) {
	var all []tree.Node
	for e, err := range r.Entries() {
		if err != nil {
			return nil, err
		}
		n := tree.Node{Entry: e}
		if e.Hardlink != "" {
			if n.Entry, err = r.Lookup(e.Hardlink); err != nil {
				return nil, err
			}
			n.Path, n.Hardlink = e.Path, e.Hardlink
		}
		if n.Regular() && n.Hardlink == "" {
			if v.bytes += n.Size; n.Size > v.most || v.bytes > v.most {
				return nil, fmt.Errorf("its files have more than %d bytes, which is all that the machine has", v.most)
			}
		}
		if e.Path == status {
			v.from[status] = r
		}
		all = append(all, n)
	}
	return all, nil
}

// sums hashes the files of a layer.
func sums(ctx context.Context, r *squashfs.Reader, nodes []tree.Node) error {
	first := map[string]*tree.Node{}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.NumCPU())
	for i := range nodes {
		n := &nodes[i]
		if !n.Regular() || n.Hardlink != "" {
			continue
		}
		first[n.Path] = n
		g.Go(func() error {
			if gctx.Err() != nil {
				return gctx.Err()
			}
			f, err := r.Open(n.Path)
			if err != nil {
				return err
			}
			defer f.Close()
			h := sha256.New()
			if _, err := io.Copy(h, f); err != nil {
				return fmt.Errorf("/%s: %w", n.Path, err)
			}
			n.Sum = [sha256.Size]byte(h.Sum(nil))
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for i := range nodes {
		if n := &nodes[i]; n.Regular() && n.Hardlink != "" {
			to := first[n.Hardlink]
			if to == nil {
				return fmt.Errorf("/%s is another name of /%s, which is no file", n.Path, n.Hardlink)
			}
			n.Sum = to.Sum
		}
	}
	return nil
}

// outcome gives files their capabilities, and compares.
func (v *looking) outcome(m image.Manifest) (*layer.Outcome, error) {
	for _, c := range m.Capabilities {
		n := v.tree.Get(c.Path)
		if n == nil || !n.Regular() {
			return nil, fmt.Errorf("capability of /%s: the image has no such file", c.Path)
		}
		n.Capability = c.Value
	}
	out, err := v.tree.Outcome()
	if err != nil {
		return nil, err
	}
	if out.Tree != m.Tree {
		return nil, fmt.Errorf("its layers make the tree %s, not %s", out.Tree.Short(), m.Tree.Short())
	}
	return out, v.packages(m.Environment)
}

// packages compares dpkg's database with the environment's packages.
func (v *looking) packages(env ore.Environment) error {
	n, r := v.tree.Get(status), v.from[status]
	if n == nil || r == nil || !n.Regular() || n.Size > maxStatus {
		return errors.New("it has no database of dpkg")
	}
	f, err := r.Open(status)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	want := map[string]bool{}
	for _, p := range env.Packages {
		want[p.String()] = true
	}
	for p, err := range control.Paragraphs(string(text)) {
		if err != nil {
			return fmt.Errorf("/%s: %w", status, err)
		}
		name := p.Get("Package") + "=" + p.Get("Version") + ":" + p.Get("Architecture")
		state := strings.Fields(p.Get("Status"))
		if len(state) != 3 || state[1] != "ok" || state[2] != "installed" || !want[name] {
			return fmt.Errorf("dpkg has %.200s as %q, which is not so in the environment", name, p.Get("Status"))
		}
		delete(want, name)
	}
	if len(want) > 0 {
		var lacks []string
		for name := range want {
			lacks = append(lacks, name)
		}
		slices.Sort(lacks)
		return fmt.Errorf("dpkg lacks %d packages of the environment, such as %s", len(want), lacks[0])
	}
	return nil
}
