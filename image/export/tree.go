package export

import (
	"context"
	"errors"

	"ore/image"
	"ore/image/export/ext4"
)

// Tree is the merged tree of an image, for who makes a file system of a part of
// it. Make one with [Open], and Close it.
type Tree struct {
	// Entries are all names, sorted by path, the root "." first. A file with several
	// names is a hard link under all but the first.
	Entries []ext4.Entry
	stack   *stack
	release func()
}

// Open opens the tree of image m, whose layers are in s, and holds them until Close.
func Open(ctx context.Context, s *image.Store, m image.Manifest) (*Tree, error) {
	release, err := s.Hold(ctx, m)
	if err != nil {
		return nil, err
	}
	t := &Tree{release: release}
	if t.stack, err = openLayers(s, m); err == nil {
		t.Entries, err = t.stack.ext4()
	}
	if err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// Close ends the use of the tree.
func (t *Tree) Close() error {
	if t.stack != nil {
		t.stack.close()
	}
	t.release()
	return nil
}

// ext4 returns the merged tree as a file system takes it.
func (t *stack) ext4() ([]ext4.Entry, error) {
	tree, err := t.merged()
	if err != nil {
		return nil, err
	}
	entries := make([]ext4.Entry, len(tree))
	for i := range tree {
		entries[i] = ext4.Entry{Entry: tree[i].Entry, Capability: tree[i].capability, Open: tree[i].open}
	}
	return entries, nil
}
