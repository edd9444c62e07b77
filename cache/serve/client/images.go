package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"ore"
	"ore/cache/serve/wire"
	"ore/image"
	"ore/image/chunk/delta"
)

// Found is an image that the cache has.
type Found struct {
	Manifest  image.Manifest
	Signature image.Signature // zero if nobody signed it
	Namespace string
	Traffic   int64 // bytes that came over the wire
}

// Find returns the image of key. near may be a manifest of an image like it,
// which makes the answer shorter. The error matches image.ErrMissing if there is
// none.
func (c *Client) Find(ctx context.Context, key ore.Key, near *image.Manifest) (Found, error) {
	f, err := c.find(ctx, key, near)
	if err != nil {
		return f, fmt.Errorf("find image %s: %w", key.Short(), err)
	}
	return f, nil
}

func (c *Client) find(ctx context.Context, key ore.Key, near *image.Manifest) (Found, error) {
	var f Found
	q := call{method: http.MethodGet, path: "/v1/images/" + string(key)}
	var old []byte
	if near != nil {
		old = near.Encode()
		q.query = url.Values{"have": {string(ore.DigestOf(old))}}
	}
	r, err := c.send(ctx, q)
	if err != nil {
		return f, err
	}
	b, err := readAll(r.Body, wire.MaxManifest)
	if err != nil {
		return f, err
	}
	f.Traffic, f.Namespace = int64(len(b)), r.Header.Get(wire.HeaderNamespace)
	if r.Header.Get(wire.HeaderFrom) == "" {
		old = nil
	}
	text, err := delta.Decode(old, b, wire.MaxManifest)
	if err != nil {
		return f, err
	}
	if want := ore.Digest(r.Header.Get(wire.HeaderManifest)); ore.DigestOf(text) != want {
		return f, fmt.Errorf("manifest %s: %w", want.Short(), image.ErrRotten)
	}
	if f.Manifest, err = image.DecodeManifest(text); err != nil {
		return f, err
	}
	if f.Manifest.Key != key {
		return f, fmt.Errorf("manifest of image %s: %w", f.Manifest.Key.Short(), image.ErrRotten)
	}
	if f.Signature, err = signatureOf(r.Header.Get(wire.HeaderSignature)); err != nil {
		return f, err
	}
	if c.Check != nil {
		err = c.Check(f.Manifest, f.Signature)
	}
	return f, err
}

func signatureOf(text string) (s image.Signature, err error) {
	if text == "" {
		return s, nil
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return s, fmt.Errorf("signature: %w", err)
	}
	return s, nil
}

// Candidates returns images from which env may be made, the best first, most at
// most.
func (c *Client) Candidates(ctx context.Context, env ore.Environment, most int) ([]wire.Candidate, error) {
	all, err := c.candidates(ctx, env, most)
	if err != nil {
		return nil, fmt.Errorf("candidates: %w", err)
	}
	return all, nil
}

func (c *Client) candidates(ctx context.Context, env ore.Environment, most int) ([]wire.Candidate, error) {
	question, err := wire.Pack(wire.Wanted{Environment: env, Max: most})
	if err != nil {
		return nil, err
	}
	r, err := c.send(ctx, call{method: http.MethodPost, path: "/v1/candidates", body: question})
	if err != nil {
		return nil, err
	}
	b, err := readAll(r.Body, maxAnswer)
	if err != nil {
		return nil, err
	}
	var all []wire.Candidate
	if err := wire.Unpack(b, maxAnswer, &all); err != nil {
		return nil, fmt.Errorf("cache %s: answer: %w", c.base.Host, err)
	}
	for i := range all {
		if !all[i].Complete(env) {
			return nil, fmt.Errorf("cache %s: answer: a candidate lacks what was not asked for", c.base.Host)
		}
	}
	return all, nil
}

// Images lists what the client sees.
func (c *Client) Images(ctx context.Context) ([]wire.Listed, error) {
	var all []wire.Listed
	err := c.ask(ctx, call{method: http.MethodGet, path: "/v1/images"}, &all)
	return all, err
}

// Forget removes an image of the client's own namespace.
func (c *Client) Forget(ctx context.Context, key ore.Key) error {
	var none struct{}
	return c.ask(ctx, call{method: http.MethodDelete, path: "/v1/images/" + string(key)}, &none)
}

// Stats tells how the client's namespace and the server do.
func (c *Client) Stats(ctx context.Context) (wire.Stats, error) {
	var s wire.Stats
	err := c.ask(ctx, call{method: http.MethodGet, path: "/v1/stats"}, &s)
	return s, err
}

// Healthy asks once whether the server works.
func (c *Client) Healthy(ctx context.Context) error {
	var h struct{ Healthy bool }
	return c.ask(ctx, call{method: http.MethodGet, path: "/v1/health", once: true}, &h)
}
