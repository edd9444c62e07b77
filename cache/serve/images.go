package serve

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ore"
	"ore/cache"
	"ore/cache/serve/wire"
	"ore/image"
	"ore/image/chunk"
	"ore/image/chunk/delta"
)

// list tells which images the client sees.
func (s *Server) list(r *request) error {
	spaces, err := s.readable(r.Context(), r.client)
	if err != nil {
		return err
	}
	all := []wire.Listed{}
	for _, p := range spaces {
		entries, err := p.List(r.Context())
		if err != nil {
			return err
		}
		for _, e := range entries {
			if !strings.HasPrefix(e.Suite, private+"/") {
				all = append(all, wire.Listed{Namespace: p.name, Entry: e})
			}
		}
	}
	return r.answer(all)
}

// private is the distribution of images that are inputs of jobs (package
// site/inputs): where the folder that is served is somebody's own, they are
// nobody else's.
const private = "input"

// lookup finds the image of a key among those that the client sees.
func (s *Server) lookup(ctx context.Context, i Identity, key ore.Key) (image.Manifest, *space, error) {
	spaces, err := s.readable(ctx, i)
	if err != nil {
		return image.Manifest{}, nil, err
	}
	var m image.Manifest
	for _, p := range spaces {
		m, err = p.Find(ctx, key)
		if err == nil && m.Environment.Base.Distribution == private {
			err = fmt.Errorf("image %s: %w", key.Short(), image.ErrMissing)
		}
		if err == nil {
			return m, p, nil
		}
		if !errors.Is(err, image.ErrMissing) {
			return m, nil, err
		}
	}
	return m, nil, err
}

// find sends a manifest as what changed from one that the client has.
func (s *Server) find(r *request) error {
	key, err := r.key()
	if err != nil {
		return err
	}
	m, p, err := s.lookup(r.Context(), r.client, key)
	if err != nil {
		return err
	}
	text := m.Encode()
	var old []byte
	if have := ore.Digest(r.URL.Query().Get("have")); have.Hex() != "" {
		if old, err = s.manifestBytes(r.Context(), r.client, have); err == nil {
			r.w.Header().Set(wire.HeaderFrom, string(have))
		}
	}
	b, err := delta.Encode(old, text)
	if err != nil {
		return err
	}
	h := r.w.Header()
	h.Set(wire.HeaderManifest, string(ore.DigestOf(text)))
	h.Set(wire.HeaderNamespace, p.name)
	h.Set(wire.HeaderSize, strconv.Itoa(len(text)))
	if err := p.sign(r.Context(), h, key); err != nil {
		return err
	}
	if err := p.Touch(r.Context(), key); err != nil {
		return err
	}
	return r.send("application/octet-stream", b)
}

// manifestBytes reads a manifest that the client may see.
func (s *Server) manifestBytes(ctx context.Context, i Identity, d ore.Digest) ([]byte, error) {
	path, err := s.readableBlob(ctx, i, d)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > wire.MaxManifest {
		return nil, errors.Join(err, image.ErrMissing)
	}
	b, err := os.ReadFile(path)
	if err == nil && ore.DigestOf(b) != d {
		err = image.ErrRotten
	}
	return b, err
}

// candidates tells which images are near to an environment, of all namespaces
// that the client sees.
func (s *Server) candidates(r *request) error {
	var want wire.Wanted
	b, err := r.read(wire.MaxManifest)
	if err != nil {
		return err
	}
	if err := wire.Unpack(b, wire.MaxManifest, &want); err != nil {
		return refuse(http.StatusBadRequest, "body: %w", err)
	}
	spaces, err := s.readable(r.Context(), r.client)
	if err != nil {
		return err
	}
	most := min(max(want.Max, 1), wire.MaxCandidates)
	all := []wire.Candidate{}
	seen := map[ore.Key]bool{}
	for _, p := range spaces {
		found, err := p.Candidates(r.Context(), want.Environment, most)
		if err != nil {
			return err
		}
		for _, c := range found {
			if seen[c.Key] {
				continue
			}
			m, err := p.Manifest(c.Manifest)
			if errors.Is(err, image.ErrMissing) {
				continue // it was evicted meanwhile
			}
			if err != nil {
				return err
			}
			seen[c.Key] = true
			one := wire.Candidate{Namespace: p.name, Candidate: c, Layers: m.Layers}
			one.Shorten(want.Environment)
			all = append(all, one)
		}
	}
	slices.SortStableFunc(all, func(a, b wire.Candidate) int {
		if a.Exact != b.Exact {
			if a.Exact {
				return -1
			}
			return 1
		}
		return cmp.Compare(b.Score, a.Score)
	})
	packed, err := wire.Pack(all[:min(most, len(all))])
	if err != nil {
		return err
	}
	return r.send("application/gzip", packed)
}

// register lists an image whose layers the client can read.
func (s *Server) register(r *request) error {
	var reg wire.Registration
	// Base64 makes four bytes of three.
	if err := r.decode(wire.MaxManifest/3*4+wire.MaxJSON, &reg); err != nil {
		return err
	}
	m, err := image.DecodeManifest(reg.Manifest)
	if err == nil && !bytes.Equal(m.Encode(), reg.Manifest) {
		err = errors.New("manifest: not in its canonical form")
	}
	if err != nil {
		return refusal{http.StatusBadRequest, err}
	}
	if s.Check != nil {
		if err := s.Check(m, reg.Signature); err != nil {
			return refuse(http.StatusForbidden, "register image %s: %w", m.Key.Short(), err)
		}
	}
	p, err := s.space(r.Context(), r.client.Namespace)
	if err != nil {
		return err
	}
	for _, l := range m.Layers {
		if err := s.own(r.Context(), r.client, p, l); err != nil {
			return err
		}
	}
	release, err := p.Hold(r.Context(), m)
	if err != nil {
		return err
	}
	defer release()
	r.pace(m.Size()) // the layers may be cut for it
	if err := p.CheckRoots(r.Context(), m); errors.Is(err, chunk.ErrList) {
		return refuse(http.StatusBadRequest, "register image %s: %w", m.Key.Short(), err)
	} else if err != nil {
		return err
	}
	d, err := p.RegisterSigned(r.Context(), m, reg.Signature, max(0, reg.BuildTime))
	if err != nil {
		return err
	}
	p.listed(m)
	_ = s.leases.release(leaseKey{p.name, m.Key}, "") // whoever waits can fetch it
	s.ahead(p, m, r.client)
	return r.answer(wire.Registered{Manifest: d})
}

// own makes sure that namespace p has a layer: one of the shared namespace is
// linked into it. A layer that the client cannot read is as one that does not
// exist.
func (s *Server) own(ctx context.Context, i Identity, p *space, l image.Layer) error {
	path, err := s.readableBlob(ctx, i, l.Digest)
	if errors.Is(err, image.ErrMissing) {
		return refuse(http.StatusConflict, "layer %s is not here: upload it first", l.Digest.Short())
	}
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.Size() != l.Size {
		return refuse(http.StatusConflict, "layer %s has %d bytes, not %d", l.Digest.Short(), info.Size(), l.Size)
	}
	if _, err := p.Path(l.Digest); err == nil {
		return nil
	}
	shared, err := s.space(ctx, wire.Shared)
	if err != nil {
		return err
	}
	below, err := filepath.Rel(shared.Dir(), path)
	if err != nil {
		return err
	}
	if err := os.Link(path, filepath.Join(p.Dir(), below)); err == nil || errors.Is(err, fs.ErrExist) {
		return nil
	}
	// Not on one file system: then as a copy.
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return p.PutStream(ctx, l.Digest, f)
}

// forget removes an image of the client's own namespace.
func (s *Server) forget(r *request) error {
	key, err := r.key()
	if err != nil {
		return err
	}
	p, err := s.space(r.Context(), r.client.Namespace)
	if err != nil {
		return err
	}
	if _, err := p.Find(r.Context(), key); err != nil {
		return err
	}
	if _, err := p.Forget(r.Context(), key); errors.Is(err, cache.ErrInUse) {
		return refusal{http.StatusConflict, err}
	} else if err != nil {
		return err
	}
	return r.answer(struct{}{})
}

// sign puts the signature of an image into the header of an answer.
func (p *space) sign(ctx context.Context, h http.Header, key ore.Key) error {
	sig, err := p.Signature(ctx, key)
	if err != nil || sig.Key == "" {
		return err
	}
	b, err := json.Marshal(sig)
	if err != nil {
		return err
	}
	h.Set(wire.HeaderSignature, base64.StdEncoding.EncodeToString(b))
	return nil
}
