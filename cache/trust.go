package cache

import (
	"context"
	"errors"
	"fmt"

	"ore/image"
	"ore/image/chunk"
)

// Check says whether the cache would take m, which s signs, from somebody else.
// It is the one place that decides it: for what is fetched ([Cache.RegisterSigned]
// asks it, and clients of other caches before they fetch), for what a strict
// cache gives, and for what [Cache.VerifyAll] tells. A cache without trusted keys
// that is not strict takes all. What its own signer has signed was made here, and
// needs nobody else's word. The error matches image.ErrUntrusted or
// image.ErrForged.
func (c *Cache) Check(m image.Manifest, s image.Signature) error {
	if c.config.Trusted == nil && !c.config.Strict {
		return nil
	}
	if c.config.Signer != nil && s.Key == c.config.Signer.Key() {
		return s.Check(m.Encode())
	}
	err := c.config.Trusted.Verify(m, s)
	if !errors.Is(err, image.ErrUntrusted) {
		return err
	}
	if s.Key == "" {
		return fmt.Errorf("%w: nobody signed it: have its builder push it again, or build it here", err)
	}
	return fmt.Errorf("%w: %s signed it: put this key into the trusted keys if you trust who made it, or build it here", err, s.Key)
}

// CheckRoots says whether the roots that m names are those of its layers' chunk
// lists, which is known only by cutting the layers: who signed m answers for its
// roots, but may have been wrong, or have lied. The layers are in the store. The
// error of a root that is not matches chunk.ErrList.
func (c *Cache) CheckRoots(ctx context.Context, m image.Manifest) error {
	bare := m
	bare.Layers = append([]image.Layer(nil), m.Layers...)
	for i := range bare.Layers {
		bare.Layers[i].Root = ""
	}
	rooted, err := c.Rooted(ctx, bare)
	if err != nil {
		return err
	}
	for i, l := range rooted.Layers {
		if named := m.Layers[i].Root; named != "" && named != l.Root {
			return fmt.Errorf("%w: the root that the manifest names for layer %s is not that of its chunks: have its builder make the image again", chunk.ErrList, l.Digest.Short())
		}
	}
	return nil
}
