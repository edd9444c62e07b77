package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"ore/cache/serve/wire"
	"ore/image"
)

// Pushed is an image that is given to the cache.
type Pushed struct {
	Manifest  image.Manifest
	Signature image.Signature
	BuildTime time.Duration
}

// Push uploads the layers that the cache lacks and lists the image.
func (c *Client) Push(ctx context.Context, store *image.Store, p Pushed) error {
	if err := c.push(ctx, store, p); err != nil {
		return fmt.Errorf("push image %s: %w", p.Manifest.Key.Short(), err)
	}
	return nil
}

func (c *Client) push(ctx context.Context, store *image.Store, p Pushed) error {
	release, err := store.Hold(ctx, p.Manifest)
	if err != nil {
		return err
	}
	defer release()
	for _, l := range p.Manifest.Layers {
		if err := c.upload(ctx, store, l); err != nil {
			return fmt.Errorf("layer %s: %w", l.Digest.Short(), err)
		}
	}
	var done wire.Registered
	reg := wire.Registration{Manifest: p.Manifest.Encode(), Signature: p.Signature, BuildTime: p.BuildTime}
	if err := c.ask(ctx, call{method: http.MethodPost, path: "/v1/images", body: encode(reg)}, &done); err != nil {
		return err
	}
	if done.Manifest != p.Manifest.Digest() {
		return fmt.Errorf("the cache listed %s, not %s", done.Manifest.Short(), p.Manifest.Digest().Short())
	}
	return nil
}

// upload sends one layer, going on after interruptions.
func (c *Client) upload(ctx context.Context, store *image.Store, l image.Layer) error {
	var s wire.Session
	if err := c.ask(ctx, call{method: http.MethodPost, path: "/v1/uploads", body: encode(wire.Upload{Digest: l.Digest, Size: l.Size})}, &s); err != nil || s.Exists {
		return err
	}
	path, err := store.Path(l.Digest)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := c.body(ctx, f, l, s); err != nil {
		// Nobody will go on with it. The server would find out by itself, later.
		soon, cancel := context.WithTimeout(context.WithoutCancel(ctx), dialTime)
		defer cancel()
		var none struct{}
		_ = c.ask(soon, call{method: http.MethodDelete, path: "/v1/uploads/" + s.ID, once: true}, &none)
		return err
	}
	return c.ask(ctx, call{method: http.MethodPost, path: "/v1/uploads/" + s.ID + "/commit"}, &s)
}

// body sends the layer's bytes.
func (c *Client) body(ctx context.Context, f *os.File, l image.Layer, s wire.Session) error {
	failed := 0
	for s.Received < l.Size {
		before := s.Received
		part := io.NewSectionReader(f, s.Received, l.Size-s.Received)
		q := call{method: http.MethodPut, path: "/v1/uploads/" + s.ID, query: url.Values{"offset": {strconv.FormatInt(s.Received, 10)}}}
		r, err := c.try(ctx, q, part, part.Size())
		if err == nil {
			_, err = readAll(r.Body, maxRefusal)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		// How far it came only the server knows, and whether it is still there.
		if serr := c.ask(ctx, call{method: http.MethodGet, path: "/v1/uploads/" + s.ID}, &s); serr != nil {
			return errors.Join(err, serr)
		}
		if s.Received > before {
			failed = 0
			continue
		}
		if failed++; failed >= tries || err == nil {
			return fmt.Errorf("upload does not get on: %w", errors.Join(err, io.ErrNoProgress))
		}
		pause := min(firstPause<<failed, lastPause)
		if err := sleep(ctx, pause/2+rand.N(pause)); err != nil {
			return err
		}
	}
	return nil
}
