package site

import (
	"context"
	"errors"

	"ore"
	"ore/cache"
	"ore/image"
	"ore/install"
	"ore/install/kept"
)

// installed says what builds of env can go on from. A base that was fetched
// before the site was told whom to trust, from somebody whom it does not, is
// disowned: builds would go on from it without asking for its image.
func (s *Site) installed(ctx context.Context, env ore.Environment) (install.Have, error) {
	b := s.builder(nil, nil)
	have, err := b.Have(env)
	if err != nil || have.Base == nil {
		return have, err
	}
	base := env.BaseOnly().Key()
	_, found := s.Cache.Find(ctx, base)
	made := s.Cache.CheckOrigin(ctx, have.Base.Digest)
	if !distrusted(found) && !distrusted(made) {
		return have, made // what is wrong with its image otherwise is no matter of trust
	}
	if _, err := s.Cache.Forget(ctx, base); err != nil && !errors.Is(err, cache.ErrInUse) {
		return have, err
	}
	if err := kept.Below(b.Dir).Disown(ctx, base, have.Base.Digest); err != nil {
		return have, err
	}
	return b.Have(env)
}

// distrusted says whether an error is that nobody who is trusted answers for something.
func distrusted(err error) bool {
	return errors.Is(err, image.ErrUntrusted) || errors.Is(err, image.ErrForged)
}
