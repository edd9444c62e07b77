package site

import (
	"context"
	"errors"
	"fmt"
	"time"

	"ore"
	"ore/cluster"
	"ore/image"
	"ore/plan"
)

// unusedTool is how long a program on the shelf is kept that nobody asked for.
const unusedTool = 30 * 24 * time.Hour

// Build makes the image of a wish, or gives the one that exists.
func (s *Site) Build(ctx context.Context, w ore.Wants, watch ore.Watcher) (image.Manifest, error) {
	m := &images{site: s}
	env, err := m.Lock(ctx, w, watch)
	if err != nil {
		return image.Manifest{}, err
	}
	return s.make(ctx, m, cluster.Make{Wants: w, Environment: env}, watch)
}

// BuildLocked makes the image of a lock.
func (s *Site) BuildLocked(ctx context.Context, w ore.Wants, env ore.Environment, watch ore.Watcher) (image.Manifest, error) {
	w.Base = env.Base
	m := &images{site: s, locked: &env}
	if _, err := m.Lock(ctx, w, watch); err != nil {
		return image.Manifest{}, err
	}
	return s.make(ctx, m, cluster.Make{Wants: w, Environment: env}, watch)
}

func (s *Site) make(ctx context.Context, m *images, mk cluster.Make, watch ore.Watcher) (image.Manifest, error) {
	var err error
	if mk.Have, err = m.Have(ctx, mk.Environment); err != nil {
		return image.Manifest{}, err
	}
	mk.Plan = plan.Choose(mk.Environment, 0, mk.Have, s.Rates())
	return m.Make(ctx, mk, watch)
}

// Lock is what 'ore lock' writes: the environment, and the kernels that would
// be started.
type Lock struct {
	Key         ore.Key
	Environment ore.Environment
	Kernels     map[string]ore.Package // by hypervisor
}

// Lock resolves a wish and fetches its packages, which are kept.
func (s *Site) Lock(ctx context.Context, w ore.Wants, watch ore.Watcher) (Lock, error) {
	m := &images{site: s}
	env, err := m.Lock(ctx, w, watch)
	if err != nil {
		return Lock{}, err
	}
	a, err := s.archive(ctx, w, watch)
	if err != nil {
		return Lock{}, err
	}
	if err := a.FetchAll(ctx, env.Packages, watch); err != nil {
		return Lock{}, err
	}
	l := Lock{Key: env.Key(), Environment: env, Kernels: map[string]ore.Package{}}
	for hypervisor, pkg := range map[string]string{"uml": "user-mode-linux", "qemu": kernelOf(w)} {
		if l.Kernels[hypervisor], err = s.kernelPackage(ctx, pkg); err != nil {
			return l, err
		}
	}
	return l, nil
}

func kernelOf(w ore.Wants) string {
	if w.Kernel != "" {
		return w.Kernel
	}
	return cloudKernel
}

func (s *Site) kernelPackage(ctx context.Context, name string) (ore.Package, error) {
	a, err := s.archive(ctx, ore.Wants{Base: toolBase()}, nil)
	if err != nil {
		return ore.Package{}, err
	}
	list, err := a.Needs(ctx, ore.Wish{Name: name})
	if err != nil {
		return ore.Package{}, err
	}
	for _, p := range list {
		if p.Name == name {
			return p, nil
		}
	}
	return ore.Package{}, fmt.Errorf("kernel %s: not in the archive", name)
}

// Plan says what running j would do.
func (s *Site) Plan(ctx context.Context, j ore.Job) (ore.Environment, plan.Plan, error) {
	m := &images{site: s}
	env, err := m.Lock(ctx, j.Wants, nil)
	if err != nil {
		return env, plan.Plan{}, err
	}
	have, err := m.Have(ctx, env)
	if err != nil {
		return env, plan.Plan{}, err
	}
	return env, plan.Choose(env, j.Machines.Count, have, s.Rates()), nil
}

// KeptConfig is ClusterConfig for machines that outlive this process.
func (s *Site) KeptConfig(id string, watch ore.Watcher) cluster.Config {
	c := s.ClusterConfig(id, watch)
	c.Engine = &local{site: s, keep: true, watch: watch}
	return c
}

// Down ends kept machines and forgets them.
func (s *Site) Down(ctx context.Context, r Record) error {
	if s.State(r) == Running {
		n, err := s.Attach(r)
		if err != nil {
			return err
		}
		defer n.Close()
		if err := n.Release(ctx); err != nil {
			return fmt.Errorf("end %s: %w", r.ID, err)
		}
		if err := s.gone(ctx, r.ID); err != nil {
			return err
		}
	}
	if _, err := s.Sweep(); err != nil {
		return err
	}
	return s.Forget(r)
}

// Verify reads all layers of an image and compares them with their digests.
func (s *Site) Verify(ctx context.Context, key ore.Key) error {
	m, err := s.Cache.Find(ctx, key)
	if err != nil {
		return err
	}
	var errs []error
	for _, l := range m.Layers {
		errs = append(errs, s.Cache.Verify(ctx, l.Digest))
	}
	return errors.Join(errs...)
}

// PruneTools removes programs that nobody has used for long.
func (s *Site) PruneTools(ctx context.Context) error {
	sh, err := s.tools(ctx, nil)
	if err != nil {
		return err
	}
	return sh.Prune(ctx, unusedTool)
}
