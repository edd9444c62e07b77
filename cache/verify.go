package cache

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"ore"
	"ore/image"
)

// Checked is what VerifyAll found of one image.
type Checked struct {
	Entry Entry
	Err   error // nil if all is well
}

// MarshalJSON writes the error as text.
func (c Checked) MarshalJSON() ([]byte, error) {
	told := struct {
		Entry Entry
		Err   string `json:",omitempty"`
	}{Entry: c.Entry}
	if c.Err != nil {
		told.Err = c.Err.Error()
	}
	return json.Marshal(told)
}

// Report is what VerifyAll found.
type Report struct {
	Images      []Checked
	Bytes       int64        // that were read
	Quarantined []ore.Digest // blobs that were moved away
}

// Bad returns the images that are not as they should be.
func (r Report) Bad() []Checked {
	var bad []Checked
	for _, c := range r.Images {
		if c.Err != nil {
			bad = append(bad, c)
		}
	}
	return bad
}

// VerifyAll reads all blobs of all images and compares them with their digests,
// and the signatures with the manifests. Blobs that do not match are moved away,
// and images that have lost one are taken off the list: they are built again
// when they are asked for. An image whose signature is not its manifest's is
// taken off, too; one that Check does not trust is only told.
func (c *Cache) VerifyAll(ctx context.Context) (Report, error) {
	var r Report
	all, err := c.List(ctx)
	if err != nil {
		return r, err
	}
	seen := map[ore.Digest]error{}
	for _, e := range all {
		checked := Checked{Entry: e, Err: c.check(ctx, e, seen, &r)}
		if err := ctx.Err(); err != nil {
			return r, fmt.Errorf("verify images: %w", err)
		}
		r.Images = append(r.Images, checked)
		for _, lost := range []error{image.ErrMissing, image.ErrRotten, image.ErrForged} {
			if !errors.Is(checked.Err, lost) {
				continue
			}
			if err := c.discard(ctx, e); err != nil {
				return r, fmt.Errorf("verify image %s: %w", e.Key.Short(), err)
			}
			break
		}
	}
	return r, nil
}

// Lost takes all images off the list that have the blob d, if it is not there any
// more: one that was found to be rotten was moved away.
func (c *Cache) Lost(ctx context.Context, d ore.Digest) error {
	if _, err := c.Path(d); !errors.Is(err, image.ErrMissing) {
		return err
	}
	err := c.write(ctx, func(tx *sql.Tx) error {
		keys, err := digests(ctx, tx, `SELECT key FROM layers WHERE digest = ?1 UNION SELECT key FROM images WHERE manifest = ?1`, string(d))
		if err != nil {
			return err
		}
		for _, k := range keys {
			if err := drop(ctx, tx, ore.Key(k)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("forget images with blob %s: %w", d.Short(), err)
	}
	_, err = c.bury(ctx)
	return err
}

// check verifies one image. What it reads it notes in seen and r.
func (c *Cache) check(ctx context.Context, e Entry, seen map[ore.Digest]error, r *Report) error {
	if err := c.blob(ctx, e.Manifest, seen, r); err != nil {
		return fmt.Errorf("manifest: %w", err)
	}
	m, err := c.Manifest(e.Manifest)
	if err != nil {
		return err
	}
	for i, l := range m.Layers {
		if err := c.blob(ctx, l.Digest, seen, r); err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
	}
	_, s, err := c.find(ctx, e.Key)
	switch {
	case err != nil:
		return err
	case s.Key != "":
		if err := s.Check(m.Encode()); err != nil {
			return err
		}
	}
	return c.vouched(ctx, m, s)
}

// blob verifies one blob, once for all images that have it.
func (c *Cache) blob(ctx context.Context, d ore.Digest, seen map[ore.Digest]error, r *Report) error {
	if err, known := seen[d]; known {
		return err
	}
	size, err := c.size(d)
	if err == nil {
		r.Bytes += size
		err = c.Store.Verify(ctx, d)
	}
	if errors.Is(err, image.ErrRotten) {
		r.Quarantined = append(r.Quarantined, d)
	}
	seen[d] = err
	return err
}

// discard takes an image off the list that is not what it should be.
func (c *Cache) discard(ctx context.Context, e Entry) error {
	return c.dropAll(ctx, []Entry{e})
}
