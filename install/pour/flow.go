package pour

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"ore"
	"ore/image"
	"ore/install/pour/blob"
)

// queued is how many blocks may wait for each worker: enough that it finds one
// when the line is faster for a moment. A block has at most 1 MiB.
const queued = 4

// pour reads a layer once, and writes the files whose content it has.
func (l *layer) pour(ctx context.Context, w target, files []*node) error {
	team := make([]*worker, workers())
	for i := range team {
		var err error
		if team[i], err = l.worker(); err != nil {
			return err
		}
	}
	list, err := l.locate(ctx, team, files)
	if err != nil {
		return err
	}
	for _, n := range files {
		if n.left.Load() == 0 { // it is empty, or all zeros
			err := w.create(n)
			if err == nil {
				err = w.complete(n)
			}
			if err != nil {
				return fmt.Errorf("write /%s: %w", n.Path, err)
			}
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	come := make(chan *batch, queued*len(team))
	free := make(chan []byte, queued*len(team)+len(team)+1) // memory of stored blocks
	for _, k := range team {
		g.Go(func() error {
			for b := range come {
				if err := k.write(w, b); err != nil {
					return err
				}
				free <- b.stored[:0] // it has room for all that there are
			}
			return nil
		})
	}
	g.Go(func() error {
		defer close(come)
		return l.stream(ctx, list, come, free)
	})
	err = g.Wait()
	return errors.Join(err, w.abandon(files))
}

// write expands a block and writes the files that it is of.
func (k *worker) write(w target, b *batch) error {
	k.near.at, k.near.block = b.at, b.stored
	for _, p := range b.parts {
		if err := k.part(w, p); err != nil {
			return fmt.Errorf("write /%s: %w", p.node.Path, err)
		}
	}
	return nil
}

// part writes a block of a file.
func (k *worker) part(w target, p part) error {
	if err := w.create(p.node); err != nil {
		return err
	}
	content, err := k.content(p.node, p.index)
	if err != nil {
		return err
	}
	if err := p.node.put(content, p.index*int64(len(k.room))); err != nil {
		return err
	}
	if p.node.left.Add(-1) > 0 {
		return nil
	}
	return w.complete(p.node)
}

// stream reads the layer's blocks in their order, gives those that are needed to
// the workers, and sees that the whole is what the digest says.
func (l *layer) stream(ctx context.Context, list []*batch, come chan<- *batch, free <-chan []byte) error {
	s := l.client.Open(ctx, l.blob, headSize, l.first)
	defer s.Close()
	in := &hashed{r: s, sum: sha256.New(), layer: l, stream: s, at: headSize}
	in.sum.Write(l.head)
	for _, b := range list {
		if err := in.skip(b.at); err != nil {
			return err
		}
		select {
		case b.stored = <-free:
		default:
		}
		b.stored = slices.Grow(b.stored[:0], int(b.n))[:b.n]
		if err := in.fill(b.stored); err != nil {
			return err
		}
		select {
		case come <- b:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := in.skip(l.first); err != nil {
		return err
	}
	in.sum.Write(l.tail)
	if got := ore.NewDigest([sha256.Size]byte(in.sum.Sum(nil))); got != l.blob.Digest {
		from := strings.Join(slices.Sorted(maps.Keys(l.used)), ", ")
		return fmt.Errorf("what came from %s has the digest %s: %w", from, got.Short(), image.ErrRotten)
	}
	return nil
}

// hashed is a layer's stream, all of which is hashed.
type hashed struct {
	r      io.Reader
	sum    hash.Hash
	layer  *layer
	stream *blob.Stream
	at     int64
	room   []byte
}

// fill reads all of b.
func (h *hashed) fill(b []byte) error {
	for len(b) > 0 {
		n, err := h.r.Read(b)
		h.sum.Write(b[:n])
		h.at += int64(n)
		h.layer.came(h.stream, int64(n))
		b = b[n:]
		if err != nil && len(b) > 0 {
			return err
		}
	}
	return nil
}

// skipped is how much is read at once of what no file needs.
const skipped = 256 << 10

// skip reads on up to the offset to.
func (h *hashed) skip(to int64) error {
	for h.at < to {
		if h.room == nil {
			h.room = make([]byte, skipped)
		}
		if err := h.fill(h.room[:min(skipped, to-h.at)]); err != nil {
			return err
		}
	}
	return nil
}
