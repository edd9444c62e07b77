package installing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"ore"
	"ore/image"
	"ore/node/installing"
)

// bundle makes one blob of all files that machines elsewhere fetch beside the
// blobs that their hosts have. The blob goes when the stock is released.
func (m Maker) bundle(ctx context.Context, s *stock, blobs []ore.Digest) (*installing.Bundle, error) {
	b := &installing.Bundle{Files: map[ore.Digest]installing.Span{}}
	var all []ore.Digest
	for _, d := range slices.Sorted(maps.Keys(s.files)) {
		if !slices.Contains(blobs, d) {
			all = append(all, d)
		}
	}
	if len(all) == 0 {
		return b, nil
	}
	store := m.Site.Cache.Store
	var err error
	b.Blob, _, err = store.Put(ctx, func(f *os.File) error {
		var at int64
		for _, d := range all {
			n, err := appendFile(ctx, f, s.files[d])
			if err != nil {
				return fmt.Errorf("%s: %w", d.Short(), err)
			}
			b.Files[d] = installing.Span{At: at, Size: n}
			at += n
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("bundle packages: %w", err)
	}
	release, err := store.Hold(ctx, image.Manifest{Layers: []image.Layer{{Digest: b.Blob}}})
	if err != nil {
		return nil, fmt.Errorf("bundle packages: %w", err)
	}
	s.holds = append(s.holds, func() {
		release()
		// Another job's machines may be getting the same one: its is the last word.
		_, _ = store.RemoveUnheld(b.Blob)
	})
	return b, nil
}

// appendFile writes a file's bytes to the end of w.
func appendFile(ctx context.Context, w io.Writer, path string) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(w, f)
	return n, errors.Join(err, f.Close())
}
