package serve

import (
	"errors"
	"os"

	"ore"
	"ore/image"
	"ore/image/chunk"
)

// fresh is an image that was just registered, and by whom.
type fresh struct {
	space    *space
	manifest image.Manifest
	client   Identity
}

// ahead has the patches made that hosts with older images like m will ask for,
// so that not even the first of them waits.
func (s *Server) ahead(p *space, m image.Manifest, i Identity) {
	select {
	case s.fresh <- fresh{p, m, i}:
	default: // enough to do
	}
}

// prepareAlways makes patches until the server ends. What fails is made when it
// is asked for, and the error told to whoever asks.
func (s *Server) prepareAlways() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case f := <-s.fresh:
			_ = s.prepare(f)
		}
	}
}

// prepare makes the patches to one image from the images most like it.
func (s *Server) prepare(f fresh) error {
	near, err := f.space.Candidates(s.ctx, f.manifest.Environment, relatives+1)
	if err != nil {
		return err
	}
	open := func(d ore.Digest) (*os.File, chunk.Blob, error) { return s.openBlob(s.ctx, f.client, d) }
	var errs []error
	for _, c := range near {
		if c.Key == f.manifest.Key {
			continue
		}
		old, err := f.space.Manifest(c.Manifest)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		have := make([]ore.Digest, 0, len(old.Layers))
		known := map[ore.Digest]bool{}
		for _, l := range old.Layers {
			have, known[l.Digest] = append(have, l.Digest), true
		}
		for _, l := range f.manifest.Layers {
			if !known[l.Digest] {
				errs = append(errs, s.prepareLayer(l.Digest, have, open))
			}
		}
	}
	return errors.Join(errs...)
}

func (s *Server) prepareLayer(d ore.Digest, have []ore.Digest, open opener) error {
	file, target, err := open(d)
	if err != nil {
		return err
	}
	defer file.Close()
	from, old, err := s.nearest(s.ctx, target, have, open)
	if err != nil || from == nil {
		return err
	}
	defer from.Close()
	_, err = s.derived.patch(s.ctx, old, target)
	return err
}
