package site

import (
	"context"
	"errors"

	"ore"
	"ore/image"
	"ore/install"
)

// installed says what builds of env can go on from. A base that was fetched
// before the site was told whom to trust, from somebody whom it does not, is
// forgotten: builds would go on from it without asking for its image.
func (s *Site) installed(ctx context.Context, env ore.Environment) (install.Have, error) {
	have, err := s.builder(nil, nil).Have(env)
	if err != nil || have.Base == nil {
		return have, err
	}
	base := env.BaseOnly().Key()
	_, err = s.Cache.Find(ctx, base)
	if !errors.Is(err, image.ErrUntrusted) && !errors.Is(err, image.ErrForged) {
		return have, nil // what is wrong with its image otherwise is no matter of trust
	}
	if _, err := s.Cache.Forget(ctx, base); err != nil {
		return have, err
	}
	return s.builder(nil, nil).Have(env)
}
