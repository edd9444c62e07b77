package cache

import (
	"errors"
	"fmt"

	"ore/image"
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
