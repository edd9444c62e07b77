package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"ore"
	"ore/image"
	"ore/install/accounts"
	"ore/install/apt"
	"ore/install/exact"
	"ore/install/guard"
	"ore/install/load"
	"ore/install/normal"
	"ore/install/output"
	"ore/install/pack"
	"ore/install/restore"
	"ore/install/sandbox"
	"ore/install/tree"
	"ore/install/wire"
)

// refusal says why a build cannot start from an image.
type refusal struct{ why string }

// Error says it.
func (r *refusal) Error() string { return "start from another image: " + r.why }

// orRefuse makes a refusal of a script that failed in a build that starts from
// another image: in one from the base it may do its work.
func (w *worker) orRefuse(err error) error {
	var failed *sandbox.ExitError
	if w.From != nil && errors.As(err, &failed) {
		return &refusal{err.Error()}
	}
	return err
}

// startFrom prepares the start from another image, if that is asked for.
func (b *Builder) startFrom(r Request, p places, base bool) (*wire.Candidate, error) {
	if r.From == nil {
		return nil, nil
	}
	if why := exact.Alike(*r.From, r.Environment); why != "" {
		return nil, &refusal{why}
	}
	if !base {
		return nil, &refusal{"its base was not made here"}
	}
	c := &wire.Candidate{Packages: r.From.Environment.Packages, Capabilities: r.From.Capabilities, Tree: r.From.Tree, Seen: r.Seen, Try: r.Try}
	c.Made, c.Steps, c.Apart, c.Bare = exact.Made(*r.From), r.From.Environment.Steps, r.From.Apart, exact.Bare(*r.From)-1
	for _, l := range r.From.Layers[1:] {
		name, err := b.Store.Path(l.Digest)
		if errors.Is(err, image.ErrMissing) {
			return nil, &refusal{"a layer of it is gone"}
		}
		if err != nil {
			return nil, err
		}
		c.Layers = append(c.Layers, wire.Lower{Layer: name, Tree: filepath.Join(filepath.Dir(p.tree), "layer-"+l.Digest.Hex())})
	}
	return c, nil
}

// Usable tells why a build of env cannot start from an image, as far as the
// packages that are decoded tell, and debs, files of others; "" if it can. A build
// that cannot after all starts from the base.
func (b *Builder) Usable(ctx context.Context, from image.Manifest, env ore.Environment, seen exact.Memory, debs map[ore.Digest]string) (why string, err error) {
	p, err := b.places(env)
	if err != nil {
		return "", err
	}
	packs, err := pack.Open(p.packs, b.Options, nil)
	if err != nil {
		return "", err
	}
	return exact.Judge(ctx, exact.Source{Packs: packs, Debs: debs}, from, env, exact.Known().With(seen))
}

// refuse tells early, when all packages are at hand and none is decoded, that a
// build cannot start from the image that is asked for.
func (b *Builder) refuse(ctx context.Context, r Request, p places, debs []string) error {
	if r.From == nil || r.Try {
		return nil
	}
	packs, err := pack.Open(p.packs, b.Options, nil)
	if err != nil {
		return err
	}
	from := exact.Source{Packs: packs, Debs: map[ore.Digest]string{}}
	for i, d := range debs {
		from.Debs[r.Environment.Packages[i].Digest] = d
	}
	why, err := exact.Judge(ctx, from, *r.From, r.Environment, exact.Known().With(r.Seen))
	if err == nil && why != "" {
		err = &refusal{why}
	}
	return err
}

// start lays the candidate's layers over the base.
func (w *worker) start(ctx context.Context, s *stack) error {
	if w.From == nil {
		return nil
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	s.base = map[string]bool{}
	for name := range s.tree.Names() {
		s.base[name] = true
	}
	s.bare = &before{s.lower, s.tree}
	for i, l := range w.From.Layers {
		o := restore.Options{Layer: l.Layer, Dir: w.disk(fmt.Sprintf("lower-%d", i)), Owners: w.sb, Watch: w.watch}
		dir, nodes, err := restore.Kept(ctx, o, l.Tree, w.Owners)
		if err != nil {
			return err
		}
		if i == w.From.Bare {
			s.bare.tree = s.tree.Clone()
		}
		s.tree.Lay(nodes)
		s.lower = append(slices.Clone(s.lower), dir)
		s.sealedLayers++
		if i < w.From.Bare {
			s.bare.lower = s.lower
		}
	}
	for _, c := range w.From.Capabilities {
		if n := s.tree.Get(c.Path); n != nil {
			n.Capability = c.Value
		}
	}
	out, err := s.tree.Outcome()
	if err == nil && out.Tree != w.From.Tree {
		err = &refusal{"its layers do not make the tree " + w.From.Tree.Short() + ", but " + out.Tree.Short()}
	}
	return err
}

// makeRoom removes what the candidate has too much, if nobody can tell
// afterwards that it was there.
func (w *worker) makeRoom(ctx context.Context, l *load.Loader, s *stack) error {
	p := w.newPhase(nil, s.lower, filepath.Join(w.scratch, "room"))
	if err := os.MkdirAll(p.upper, 0o755); err != nil {
		return fmt.Errorf("make tree: %w", err)
	}
	r := exact.Reader{View: p.view(), Seen: exact.Known().With(w.From.Seen)}
	var err error
	if w.sets, err = r.Sort(w.From.Packages, w.Environment); err != nil {
		return err
	}
	for _, x := range l.Rest {
		w.sets.Miss(x.Package, r.Seen)
	}
	why := w.sets.Apart()
	if why == "" && !w.From.Try {
		why = w.sets.Known()
	}
	if why != "" {
		return &refusal{why}
	}
	if err := w.say.Say(wire.Message{Tried: w.sets.Tried()}); err != nil || len(w.sets.Extra) == 0 {
		return err
	}
	gone, err := p.purge(ctx)
	if err != nil {
		return err
	}
	if err := s.lay(ctx, p); err != nil {
		return err
	}
	for name, n := range s.tree.Names() {
		if gone.Concerns(n.UID, n.GID) {
			return &refusal{"/" + name + " belongs to a user of a package that is removed"}
		}
	}
	return nil
}

// purge removes the extra packages and what is known to be left of them. Triggers
// wait until the missing ones are configured.
func (p *phase) purge(ctx context.Context) (gone *accounts.Gone, err error) {
	args := []string{"dpkg", "--purge", "--force-depends", "--no-triggers"}
	for _, f := range p.worker.sets.Extra {
		args = append(args, f.Package.Name)
	}
	err = p.mounted(func() error {
		err := guard.Services(p.root, func() error {
			others, err := p.standIns()
			if err != nil {
				return err
			}
			const stage = "remove" // plan learns from its events what removing a package takes
			p.watch.Tell(ore.Event{Stage: stage, Text: fmt.Sprintf("%d packages", len(p.worker.sets.Extra))})
			defer p.watch.Tell(ore.Event{Stage: stage, Final: true})
			out := &output.Lines{Watch: p.watch, Stage: stage, Mark: "Removing "}
			err = p.sb.Run(ctx, sandbox.Command{
				Root: p.root, Args: args, Env: p.environment(), Stdout: out, Stderr: out, Instead: others,
			})
			if err != nil {
				return fmt.Errorf("remove packages: %w: the output ends with:\n%s", err, out.Tail())
			}
			return nil
		})
		if err != nil {
			return err
		}
		people, paths := p.worker.sets.Leaves()
		if err := normal.Remove(p.root, paths); err != nil {
			return err
		}
		gone, err = accounts.Remove(p.root, people)
		return err
	})
	return gone, err
}

// verify looks at the finished tree for what would give its way away.
func (w *worker) verify(s *stack) error {
	f := exact.Finished{Sets: w.sets, Base: s.base, Tree: s.tree, View: s.view(), Capabilities: w.From.Capabilities}
	why, err := f.Check()
	if err == nil && why != "" {
		err = &refusal{why}
	}
	return err
}

// settleStates brings into order what depends on the order in which packages
// came: apt's list of packages that came along, and the numbers of users.
func (p *phase) settleStates(s *stack) error {
	base := tree.NewView(p.sb, p.lower[0])
	old, err := base.ReadFile(apt.States)
	if err != nil {
		return err
	}
	v := p.view()
	now, err := v.ReadFile(apt.States)
	if err != nil {
		return err
	}
	if want := apt.Automatic(old, p.Environment); string(want) != string(now) {
		if err := v.WriteFile(apt.States, 0o644, want); err != nil {
			return err
		}
	}
	c, err := accounts.Order(base, v)
	if err != nil {
		return err
	}
	return p.mounted(func() error {
		if err := c.Write(p.root); err != nil || !c.Owners() {
			return err
		}
		return c.OwnAll(p.sb, p.root, p.upper, s.tree.Names())
	})
}
