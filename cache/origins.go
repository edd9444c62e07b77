package cache

import (
	"context"
	"database/sql"
	"fmt"
	"slices"

	"ore"
	"ore/cache/origin"
	"ore/image"
)

// own is the key by which images that were made here are signed.
func (c *Cache) own() string {
	if c.config.Signer == nil {
		return ""
	}
	return c.config.Signer.Key()
}

// trace notes where the layers of an image come from that is about to be listed. The
// uppermost of one that was made here is what making it made.
func (c *Cache) trace(ctx context.Context, tx *sql.Tx, r row) error {
	switch own := c.own(); {
	case !r.foreign:
		return origin.Made(ctx, tx, r.m.Layers[len(r.m.Layers)-1], r.of)
	case own != "" && r.signature.Key == own:
		return nil // it was here before
	default:
		return origin.Came(ctx, tx, r.m.Layers, r.signature.Key, own)
	}
}

// CheckOrigin says whether the cache would take a layer that it has from who made
// it. The error matches image.ErrUntrusted.
func (c *Cache) CheckOrigin(ctx context.Context, layer ore.Digest) error {
	if c.config.Trusted == nil && !c.config.Strict {
		return nil
	}
	parts, err := origin.Parts(ctx, c.db, layer)
	if err != nil {
		return err
	}
	for _, p := range parts {
		if slices.ContainsFunc(p.Signers, c.config.Trusted.Trusted) {
			continue
		}
		who := p.Signers[0] // "" is the last
		if who == "" {
			return fmt.Errorf("%w: nobody signed layer %s that is in it: build it here", image.ErrUntrusted, p.Layer.Short())
		}
		return fmt.Errorf("%w: %s signed layer %s that is in it: put this key into the trusted keys if you trust who made it, or build it here",
			image.ErrUntrusted, who, p.Layer.Short())
	}
	return nil
}

// vouched is Check for an image that is listed: what was made here counts as long as
// the layers of others do that it stands on.
func (c *Cache) vouched(ctx context.Context, m image.Manifest, s image.Signature) error {
	if err := c.Check(m, s); err != nil || c.own() == "" || s.Key != c.own() {
		return err
	}
	for _, l := range m.Layers {
		if err := c.CheckOrigin(ctx, l.Digest); err != nil {
			return fmt.Errorf("image %s: %w", m.Key.Short(), err)
		}
	}
	return nil
}
