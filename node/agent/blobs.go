package agent

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"ore"
	"ore/chain"
	"ore/image"
	"ore/node/kit"
)

// blobs is what a host keeps for jobs, and how it comes and goes.
type blobs struct {
	store  *image.Store
	layout kit.Layout
	peer   *chain.Peer
	used   string // folder
	chain  string // folder
	quota  int64

	keeping singleflight.Group

	mu      sync.Mutex // guards offered
	offered map[ore.Digest]chain.Blob
}

func openBlobs(ctx context.Context, c Config, chainDir string) (*blobs, error) {
	store, err := image.OpenStore(c.Dir)
	if err != nil {
		return nil, err
	}
	if _, err := store.Sweep(); err != nil {
		return nil, err
	}
	b := &blobs{
		store: store, layout: kit.Layout{Store: store, Dir: filepath.Join(c.Dir, "laid")},
		used: filepath.Join(c.Dir, "used"), chain: chainDir, quota: c.Quota, offered: map[ore.Digest]chain.Blob{},
	}
	for _, d := range []string{b.used, b.layout.Dir} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	b.peer, err = chain.Start(ctx, chain.Config{Dir: chainDir, Listener: c.Chain, Busy: busy, Log: c.Log})
	return b, err
}

// close ends the transfers and removes what is over the quota.
func (b *blobs) close() error {
	err := b.peer.Close()
	b.mu.Lock()
	clear(b.offered)
	b.mu.Unlock()
	return errors.Join(err, b.evict(context.Background()))
}

// nameOf is a blob's name in the chain.
func nameOf(d ore.Digest) (chain.Digest, error) {
	var n chain.Digest
	if d.Hex() == "" {
		return n, fmt.Errorf("blob %q: malformed digest", d)
	}
	err := n.UnmarshalText([]byte(d.Hex()))
	return n, err
}

// hold keeps a blob that is here from being removed.
func (b *blobs) hold(ctx context.Context, d ore.Digest) (release func(), err error) {
	release, err = b.store.Hold(ctx, image.Manifest{Layers: []image.Layer{{Digest: d}}})
	if err == nil {
		b.touch(d)
	}
	return release, err
}

// touch notes that a blob was used now. If that fails it counts as unused, and
// is removed earlier than it might.
func (b *blobs) touch(d ore.Digest) {
	path, now := filepath.Join(b.used, d.Hex()), time.Now()
	if os.Chtimes(path, now, now) != nil {
		_ = os.WriteFile(path, nil, 0o600)
	}
}

// keep takes a blob from what the chain brought, after all of its bytes have
// been compared with its digest. Of several jobs that wait for it one does so.
func (b *blobs) keep(ctx context.Context, d ore.Digest) error {
	name, err := nameOf(d)
	if err != nil {
		return err
	}
	_, err, _ = b.keeping.Do(d.Hex(), func() (any, error) {
		if _, err := b.store.Path(d); err == nil {
			return nil, nil // another one was quicker
		}
		return nil, b.peer.Hand(name, func(path string) error {
			return b.store.Take(context.WithoutCancel(ctx), d, path)
		})
	})
	if err != nil {
		return fmt.Errorf("keep blob %s: %w", d.Short(), err)
	}
	return ctx.Err()
}

// offer has the chain give a blob that is held.
func (b *blobs) offer(ctx context.Context, d ore.Digest) (chain.Blob, error) {
	path, err := b.store.Path(d)
	if err != nil {
		return chain.Blob{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if o, ok := b.offered[d]; ok {
		return o, nil
	}
	o, err := Cut(ctx, b.peer, d, path)
	if err == nil {
		b.offered[d] = o
	}
	return o, err
}

// tidy removes from the chain's folder what the store has by now. What is in
// use there goes the next time.
func (b *blobs) tidy() {
	list, err := os.ReadDir(b.chain)
	if err != nil {
		return // it is gone with the agent
	}
	for _, e := range list {
		raw, err := hex.DecodeString(e.Name())
		if err != nil || len(raw) != len(chain.Digest{}) {
			continue // a part, or its list
		}
		if _, err := b.store.Path(ore.NewDigest([32]byte(raw))); err == nil {
			_ = b.peer.Forget(chain.Digest(raw))
		}
	}
}

// evict removes the least recently used blobs that nobody holds, until the rest
// is within the quota. What is offered has to stay until the agent ends.
func (b *blobs) evict(ctx context.Context) error {
	sizes, err := b.store.Blobs()
	if err != nil {
		return err
	}
	var total int64
	var order []ore.Digest
	when := map[ore.Digest]time.Time{}
	b.mu.Lock()
	for d, n := range sizes {
		total += n
		if _, ok := b.offered[d]; ok {
			continue
		}
		order = append(order, d)
		if info, err := os.Stat(filepath.Join(b.used, d.Hex())); err == nil {
			when[d] = info.ModTime()
		}
	}
	b.mu.Unlock()
	slices.SortFunc(order, func(x, y ore.Digest) int { return when[x].Compare(when[y]) })
	for _, d := range order {
		if total <= b.quota || ctx.Err() != nil {
			break
		}
		gone, err := b.store.RemoveUnheld(d)
		if err != nil {
			return err
		}
		if gone {
			total -= sizes[d]
			if err := errors.Join(b.layout.Forget(d), os.RemoveAll(filepath.Join(b.used, d.Hex()))); err != nil {
				return err
			}
		}
	}
	return nil
}
