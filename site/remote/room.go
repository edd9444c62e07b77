package remote

import (
	"context"
	"errors"

	"ore/cache"
	"ore/image"
)

// Room reserves space in c for the layers of m that are not there, before they are
// fetched. It is released when the image is registered, or is not to be.
func Room(ctx context.Context, c *cache.Cache, m image.Manifest) (*cache.Reservation, error) {
	bytes, err := lacking(c.Store, m)
	for err == nil {
		var r *cache.Reservation
		if r, err = c.Reserve(ctx, bytes, "the image of "+m.Key.Short()); err != nil {
			break
		}
		before := bytes
		if bytes, err = lacking(c.Store, m); err == nil && bytes <= before {
			return r, nil
		}
		r.Release() // a layer that was to be shared was evicted for the others
	}
	return nil, err
}

// lacking adds up the layers of m that s has not.
func lacking(s *image.Store, m image.Manifest) (bytes int64, err error) {
	for _, l := range m.Layers {
		if _, err := s.Path(l.Digest); errors.Is(err, image.ErrMissing) {
			bytes += l.Size
		} else if err != nil {
			return bytes, err
		}
	}
	return bytes, nil
}
