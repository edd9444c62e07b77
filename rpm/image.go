package rpm

import (
	"context"

	"ore"
	"ore/image"
	"ore/install"
)

// Image makes the image that r asks for: the tree of its packages, by m, unless b
// knows that base, and what else r has over it, by b. The repositories are those
// that the environment was resolved with. r.Based is told of the base as in a build
// by b.
func (m *Maker) Image(ctx context.Context, b *install.Builder, r install.Request, repositories []ore.Repository) (image.Manifest, error) {
	env := r.Environment
	known, err := b.Have(env)
	if err != nil {
		return image.Manifest{}, err
	}
	if known.Base != nil {
		return b.Build(ctx, r)
	}
	base, err := m.Build(ctx, env, repositories)
	if err != nil {
		return image.Manifest{}, err
	}
	if err := b.Adopt(ctx, base); err != nil {
		return image.Manifest{}, err
	}
	if r.Based != nil {
		r.Based(base)
	}
	if len(env.Files) > 0 || len(env.Steps) > 0 {
		return b.Build(ctx, r)
	}
	base.Environment, base.Key = env, env.Key()
	return base, nil
}
