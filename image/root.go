package image

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"ore"
	"ore/image/chunk"
)

// maxRooted is the largest layer that is cut for its root: doing so takes as long
// as writing it to a disk. Larger ones are inputs of jobs, whose bytes are compared
// as a whole.
const maxRooted = 4 << 30

// Rooted returns m with the roots of its layers' chunk lists, which it is signed
// with. Layers that the store lacks are an error matching [ErrMissing].
func (s *Store) Rooted(ctx context.Context, m Manifest) (Manifest, error) {
	layers := make([]Layer, len(m.Layers))
	for i, l := range m.Layers {
		if l.Size <= maxRooted {
			var err error
			if l.Root, err = s.root(ctx, l); err != nil {
				return m, fmt.Errorf("root of layer %s: %w", l.Digest.Short(), err)
			}
		}
		layers[i] = l
	}
	m.Layers = layers
	return m, nil
}

// root cuts a layer, or knows its root: it depends on the blob alone.
func (s *Store) root(ctx context.Context, l Layer) (ore.Digest, error) {
	known := s.stamp(l.Digest) + rootSuffix
	if b, err := os.ReadFile(known); err == nil {
		if d, err := ore.ParseDigest(string(b)); err == nil {
			return d, nil
		}
	}
	p, err := s.Path(l.Digest)
	if err != nil {
		return "", err
	}
	f, err := os.Open(p)
	if err != nil {
		return "", removed(err)
	}
	defer f.Close()
	list, err := chunk.Make(ctx, f, l.Size)
	if err != nil {
		return "", err
	}
	if list.Blob != l.Digest {
		return "", ErrRotten
	}
	root := list.Root()
	s.keepNote(known, string(root))
	return root, nil
}

// rootSuffix ends the names of files that hold roots.
const rootSuffix = ".root"

// CheckList says whether l's chunk list is the one that the manifest's signer
// answers for. A layer without a root has none to compare.
func (l Layer) CheckList(list chunk.List) error {
	switch {
	case list.Blob != l.Digest || list.Size != l.Size:
		return fmt.Errorf("%w: of another blob than layer %s", chunk.ErrList, l.Digest.Short())
	case l.Root != "" && list.Root() != l.Root:
		return fmt.Errorf("%w: not the one that the manifest names for layer %s", chunk.ErrList, l.Digest.Short())
	}
	return nil
}

// keepNote writes a file of the folder stamps. Losing it costs reading the blob
// again, so errors are of no consequence.
func (s *Store) keepNote(path, text string) {
	tmp, err := os.CreateTemp(filepath.Join(s.dir, "partial"), "blob-stamp-*")
	if err != nil {
		return
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(text)
	if cerr := tmp.Close(); err == nil && cerr == nil {
		_ = os.Rename(tmp.Name(), path)
	}
}
