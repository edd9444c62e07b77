// Package remote gives caches elsewhere one shape, whatever they speak: a cache
// that 'ore cache serve' gives to a site (https), or an OCI registry (oci).
//
// A Cache is asked and fetched from within the time that its caller allows; it
// starts nothing by itself. What comes is verified by package client or package
// registry before the store shows it. A registry finds exact images only.
package remote

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"ore"
	"ore/cache/registry"
	"ore/cache/serve/client"
	"ore/image"
	"ore/plan"
)

// Address says where a cache is and who asks.
type Address struct {
	URL   string // https://HOST:PORT, with #sha256:FINGERPRINT to pin its certificate; or oci://HOST/REPOSITORY, oci+http:// without TLS
	Token string // for https
	CA    string // file of the authorities to trust for https, "" for the host's
	Push  bool   // what is built here is given to it
}

// Local is what a cache needs of this host.
type Local struct {
	Store *image.Store
	Dir   string                                          // for unfinished fetches
	Check func(m image.Manifest, s image.Signature) error // whether an image is trusted; nil takes all
}

// Image is an image that a cache has.
type Image struct {
	Manifest  image.Manifest
	Signature image.Signature // zero if nobody signed it
}

// Cache is a cache elsewhere. Its methods may be called concurrently.
type Cache struct {
	Name string // for people, and for its link in plans: the address without secrets
	Push bool

	local    Local
	received atomic.Int64     // bytes that came since it was opened
	asked    pace             // the last question
	client   *client.Client   // of a served cache, or
	registry *registry.Remote // of a registry
}

// Open returns the cache at a. It does not connect.
func Open(a Address, l Local) (*Cache, error) {
	c := &Cache{Name: a.URL, Push: a.Push, local: l}
	var err error
	if strings.HasPrefix(a.URL, registry.Scheme) || strings.HasPrefix(a.URL, registry.SchemePlain) {
		c.registry, err = registry.Open(a.URL)
		return c, err
	}
	u, err := url.Parse(a.URL)
	if err != nil || u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("cache %q: not an address: write https://HOST:PORT, or oci://HOST/REPOSITORY (oci+http:// without TLS)", a.URL)
	}
	c.Name = Name(a.URL)
	config := client.Config{URL: a.URL, Token: a.Token, Check: l.Check, Dir: filepath.Join(l.Dir, u.Host),
		Received: c.came}
	if a.CA != "" {
		if config.CA, err = os.ReadFile(a.CA); err != nil {
			return nil, fmt.Errorf("cache %s: %w", c.Name, err)
		}
	}
	c.client, err = client.New(config)
	return c, err
}

// Name returns what the cache at an address is called: the address without secrets.
func Name(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" {
		return address // a registry's has none
	}
	return u.Scheme + "://" + u.Host
}

func (c *Cache) came(n int64) {
	c.received.Add(n)
	c.asked.came(time.Now(), n)
}

// Close ends what connections are idle.
func (c *Cache) Close() {
	if c.client != nil {
		c.client.Close()
	}
}

// Find returns the image of key. The error matches [image.ErrMissing] if there
// is none. near may be the manifest of an image like it, which shortens the
// answer.
func (c *Cache) Find(ctx context.Context, key ore.Key, near *image.Manifest) (Image, error) {
	if c.client != nil {
		f, err := c.client.Find(ctx, key, near)
		return Image{f.Manifest, f.Signature}, err
	}
	f, err := c.registry.Find(ctx, key)
	if err != nil {
		return Image{}, err
	}
	i := Image{Manifest: f.Manifest}
	if f.Signatures != nil {
		if err := json.Unmarshal(f.Signatures, &i.Signature); err != nil {
			return Image{}, fmt.Errorf("find %s in %s: signature: %w", key.Short(), c.Name, err)
		}
	}
	if c.local.Check != nil {
		err = c.local.Check(i.Manifest, i.Signature)
	}
	return i, err
}

// Try returns what asking has shown of the link; false if nothing was asked.
func (c *Cache) Try() (plan.LinkTry, bool) { return c.asked.try() }

// Received returns how many bytes of images and answers have come so far.
func (c *Cache) Received() int64 { return c.received.Load() }

// Fetch brings the layers of m into the store, and returns how many bytes came
// over the link. near are images in the store that may be relatives.
func (c *Cache) Fetch(ctx context.Context, m image.Manifest, near []image.Manifest) (int64, error) {
	if c.client != nil {
		t, err := c.client.Fetch(ctx, m, c.local.Store, near)
		return t.Received, err
	}
	bytes, err := lacking(c.local.Store, m)
	if err != nil {
		return 0, err
	}
	return bytes, c.registry.Pull(ctx, m, c.local.Store, c.came)
}

// Give sends an image to the cache. took is what making it cost.
func (c *Cache) Give(ctx context.Context, i Image, took time.Duration) error {
	if c.client != nil {
		return c.client.Push(ctx, c.local.Store, client.Pushed{Manifest: i.Manifest, Signature: i.Signature, BuildTime: took})
	}
	var signature []byte
	if i.Signature.Key != "" {
		var err error
		if signature, err = json.Marshal(i.Signature); err != nil {
			return err
		}
	}
	return c.registry.Push(ctx, c.local.Store, i.Manifest, signature)
}

// Share has one of all clients that ask for key build it: build makes the image
// and gives it to the cache. It says whether that was this one; if not, the
// cache has the image now. A registry cannot keep clients apart, so there each
// builds.
func (c *Cache) Share(ctx context.Context, key ore.Key, watch ore.Watcher, build func(context.Context, ore.Watcher) error) (bool, error) {
	if c.client == nil {
		return true, build(ctx, watch)
	}
	return c.client.Share(ctx, key, watch, build)
}
