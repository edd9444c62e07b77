package site

import (
	"context"
	"path/filepath"

	"ore"
	"ore/node"
	"ore/site/inputs"
)

// inputsDir is where what is known of host files is kept.
func (s *Site) inputsDir() string { return filepath.Join(s.Dirs.Cache, "inputs") }

// Input gives the blob of an input that machines mount, and holds it.
func (m *images) Input(ctx context.Context, in ore.Input, watch ore.Watcher) (node.Input, func(), error) {
	k, err := inputs.Open(m.site.inputsDir(), m.site.Cache)
	if err != nil {
		return node.Input{}, nil, err
	}
	img, release, err := k.Input(ctx, in.Source, watch)
	if err != nil {
		return node.Input{}, nil, err
	}
	return node.Input{Digest: img.Layers[0].Digest, Path: in.Mount, File: inputs.IsFile(img)}, release, nil
}
