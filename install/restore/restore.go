// Package restore unpacks layers into folders in which builds go on.
package restore

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"ore"
	"ore/install/tree"
	"ore/squashfs"
)

// Options say what is unpacked, and where.
type Options struct {
	Layer  string // the layer's path
	Dir    string // the folder; it is made. Beside it is one for files that have no place yet.
	Owners tree.Owners
	Nodes  []tree.Node // what the layer has, if that is known
	Watch  ore.Watcher // stage "restore", by which plans learn what it takes
}

// Layer unpacks a layer, removed names as overlayfs has them, and returns what
// it has. What is in /dev is left out: nothing is ever run on it.
func Layer(ctx context.Context, o Options) ([]tree.Node, error) {
	const stage = "restore"
	o.Watch.Tell(ore.Event{Stage: stage, Text: "the tree to install over"})
	nodes, err := layer(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("restore %s: %w", o.Layer, err)
	}
	o.Watch.Tell(ore.Event{Stage: stage, Final: true})
	return nodes, nil
}

func layer(ctx context.Context, o Options) (nodes []tree.Node, err error) {
	f, err := os.Open(o.Layer)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	r, err := squashfs.NewReader(f, st.Size())
	if err != nil {
		return nil, err
	}
	nodes = o.Nodes
	if nodes == nil {
		if nodes, err = entries(r); err != nil {
			return nil, err
		}
	}
	s := &stager{reader: r, nodes: nodes, dir: o.Dir + ".stage", sums: o.Nodes == nil}
	for _, d := range []string{s.dir, o.Dir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	for part := range runtime.NumCPU() {
		g.Go(func() error { return s.part(gctx, part) })
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if err := s.put(tree.NewView(o.Owners, o.Dir)); err != nil {
		return nil, err
	}
	if s.sums {
		resolve(nodes)
	}
	return nodes, os.RemoveAll(s.dir)
}

func entries(r *squashfs.Reader) ([]tree.Node, error) {
	var nodes []tree.Node
	for e, err := range r.Entries() {
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, tree.Node{Entry: e})
	}
	return nodes, nil
}

// stager writes the content of files that have no place yet.
type stager struct {
	reader *squashfs.Reader
	nodes  []tree.Node
	dir    string
	sums   bool // take the files' hashes
}

func (s *stager) path(i int) string { return s.dir + "/" + strconv.Itoa(i) }

// part stages every n-th file, n being the number of cores.
func (s *stager) part(ctx context.Context, part int) error {
	for i := part; i < len(s.nodes); i += runtime.NumCPU() {
		if n := &s.nodes[i]; !n.Regular() || n.Hardlink != "" {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.stage(i); err != nil {
			return err
		}
	}
	return nil
}

func (s *stager) stage(i int) error {
	n := &s.nodes[i]
	in, err := s.reader.Open(n.Path)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := tree.Stage(s.path(i), n)
	if err != nil {
		return err
	}
	if !s.sums {
		_, err = io.Copy(out, in)
		return errors.Join(err, out.Close())
	}
	h := sha256.New()
	_, err = io.Copy(io.MultiWriter(out, h), in)
	n.Sum = [sha256.Size]byte(h.Sum(nil))
	return errors.Join(err, out.Close())
}

// put gives everything its place.
func (s *stager) put(v *tree.View) error {
	for i := range s.nodes {
		n := s.nodes[i]
		if strings.HasPrefix(n.Path, "dev/") {
			continue
		}
		if !n.Whiteout() || n.Hardlink != "" {
			if _, err := v.Put(&n, s.path(i)); err != nil {
				return err
			}
			continue
		}
		p, err := v.Place(n.Path)
		if err != nil {
			return err
		}
		// The kernel lets everybody make whiteouts (Linux 5.8).
		if err := unix.Mknod(v.Host(p), unix.S_IFCHR, 0); err != nil {
			return fmt.Errorf("remove %s: %w", n.Path, err)
		}
	}
	return s.date(v)
}

// date gives all but files their times, after the last entry was put: files have theirs.
func (s *stager) date(v *tree.View) error {
	for i := range s.nodes {
		n := &s.nodes[i]
		if n.Regular() || n.Hardlink != "" || n.Whiteout() || n.Path == "." || strings.HasPrefix(n.Path, "dev/") {
			continue
		}
		p, err := v.Place(n.Path)
		if err != nil {
			return err
		}
		if err := tree.Date(v.Host(p), n.ModTime); err != nil {
			return err
		}
	}
	return nil
}

// resolve makes hard links files of their own, as listings have them.
func resolve(nodes []tree.Node) {
	first := map[string]*tree.Node{}
	for i := range nodes {
		n := &nodes[i]
		if n.Hardlink == "" {
			first[n.Path] = n
			continue
		}
		name := n.Path
		*n = *first[n.Hardlink]
		n.Path = name
	}
}

// WriteNodes writes what a layer has to the file name, which appears whole.
func WriteNodes(name string, nodes []tree.Node) error {
	part := name + ".part"
	f, err := os.Create(part)
	if err != nil {
		return fmt.Errorf("keep tree: %w", err)
	}
	b := bufio.NewWriter(f)
	err = errors.Join(gob.NewEncoder(b).Encode(nodes), b.Flush(), f.Close())
	if err == nil {
		err = os.Rename(part, name)
	}
	if err != nil {
		return fmt.Errorf("keep tree: %w", err)
	}
	return nil
}

// ReadNodes reads what WriteNodes wrote.
func ReadNodes(name string) (nodes []tree.Node, err error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read tree: %w", err)
	}
	defer f.Close()
	if err := gob.NewDecoder(bufio.NewReader(f)).Decode(&nodes); err != nil {
		return nil, fmt.Errorf("read tree: %s: %w", name, err)
	}
	return nodes, nil
}
