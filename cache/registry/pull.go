package registry

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"ore"
	"ore/image"
)

// transfers bounds the blobs that are fetched or sent at once: registries limit
// the connections of a client, and two fill most links.
const transfers = 3

// Pull fetches the layers of m that s lacks. Each appears in s once its bytes
// match; layers that came before an error stay, so that calling Pull again goes
// on with the rest. progress, if not nil, is told the bytes as they come,
// from several goroutines.
func (r *Remote) Pull(ctx context.Context, m image.Manifest, s *image.Store, progress func(bytes int64)) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(transfers)
	for _, l := range m.Layers {
		if _, err := s.Path(l.Digest); err == nil {
			continue
		}
		g.Go(func() error {
			if err := r.pullLayer(ctx, l, s, progress); err != nil {
				return fmt.Errorf("pull layer %s from %s: %w", l.Digest.Short(), r.address, err)
			}
			return nil
		})
	}
	return g.Wait()
}

func (r *Remote) pullLayer(ctx context.Context, l image.Layer, s *image.Store, progress func(int64)) error {
	body, err := r.repo.Blobs().Fetch(ctx, descriptor(typeLayer, l.Digest, l.Size))
	if err != nil {
		return err
	}
	defer body.Close()
	return s.PutStream(ctx, l.Digest, &limited{r: body, left: l.Size, progress: progress})
}

func descriptor(mediaType string, d ore.Digest, size int64) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.Digest(d), Size: size}
}
