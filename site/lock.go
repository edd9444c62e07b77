package site

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"ore"
	"ore/deb"
)

// Lock is what 'ore lock' writes: the environment, and the kernels that would
// be started.
type Lock struct {
	Key         ore.Key
	Environment ore.Environment
	Kernel      string                   // the kernel that the job asked for, "" for none
	Kernels     map[string][]ore.Package // by the name asked for: that package and what it needs
	Suites      map[string]string        // by the same name: the suite that they are of
}

// ReadLock reads a lock file.
func ReadLock(path string) (*Lock, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read lock: %w: make it with 'ore lock', or correct --lock", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read lock: %w: name a file that you can read", err)
	}
	var l Lock
	if err := json.Unmarshal(b, &l); err != nil {
		return nil, fmt.Errorf("read lock %s: %w: make it again with 'ore lock'", path, err)
	}
	if l.Environment.Version != ore.EnvironmentVersion || len(l.Environment.Packages) == 0 {
		return nil, fmt.Errorf("read lock %s: not a lock of this version of ore: make it again with 'ore lock'", path)
	}
	if key := l.Environment.Key(); key != l.Key {
		return nil, fmt.Errorf("read lock %s: its key is %s, but what it says has %s: it was changed: make it again with 'ore lock'", path, l.Key.Short(), key.Short())
	}
	return &l, nil
}

// Pin changes w to what the lock was made from, so far as that is not in the
// environment.
func (l *Lock) Pin(w *ore.Wants) {
	w.Base, w.Kernel = l.Environment.Base, l.Kernel
}

// Lock resolves a wish and fetches its packages and kernels, which are kept.
func (s *Site) Lock(ctx context.Context, w ore.Wants, watch ore.Watcher) (Lock, error) {
	m := &images{site: s}
	env, err := m.Lock(ctx, w, watch)
	if err != nil {
		return Lock{}, err
	}
	if err := s.fetchAll(ctx, w, env, watch); err != nil {
		return Lock{}, err
	}
	l := Lock{Key: env.Key(), Environment: env, Kernel: w.Kernel, Kernels: map[string][]ore.Package{}, Suites: map[string]string{}}
	return l, s.lockKernels(ctx, &l, watch)
}

// lockKernels adds the kernels that would be started.
func (s *Site) lockKernels(ctx context.Context, l *Lock, watch ore.Watcher) error {
	tools, err := s.archive(ctx, ore.Wants{Base: toolBase()}, watch)
	if err != nil {
		return err
	}
	uml, choice, err := s.umlArchive(ctx, watch)
	if err != nil {
		return err
	}
	if choice.Lacks != "" {
		choice.Suite = toolBase().Suite
	}
	for _, k := range []struct {
		name, suite string
		from        *deb.Archive
	}{{umlPackage, choice.Suite, uml}, {kernelOf(l.Kernel), toolBase().Suite, tools}} {
		list, err := k.from.Needs(ctx, ore.Wish{Name: k.name})
		if err == nil {
			err = k.from.FetchAll(ctx, list, watch)
		}
		if err != nil {
			return fmt.Errorf("kernel: %w", err)
		}
		l.Kernels[k.name], l.Suites[k.name] = list, k.suite
	}
	return nil
}

// kernelOf is the kernel of machines under QEMU, given the one asked for.
func kernelOf(asked string) string {
	if asked != "" {
		return asked
	}
	return cloudKernel
}

// locked returns what the lock that the site is pinned to says about a program
// of the shelf; ok is false if it says nothing.
func (s *Site) locked(a *deb.Archive, names []string) (packages []ore.Package, ok bool, err error) {
	if s.Pinned == nil || len(names) != 1 {
		return nil, false, nil
	}
	packages, ok = s.Pinned.Kernels[names[0]]
	if !ok {
		return nil, false, nil
	}
	var gone *deb.GoneError
	if err := a.Check(ore.Environment{Packages: packages}); errors.As(err, &gone) {
		return nil, true, fmt.Errorf("kernel %s: %w", names[0], err)
	}
	return packages, true, nil
}

// offered names what a shelf resolves names by: what the archive offers, and
// the lock.
func (s *Site) offered(offer ore.Digest) (string, error) {
	if s.Pinned == nil {
		return string(offer), nil
	}
	b, err := json.Marshal(s.Pinned.Kernels)
	if err != nil {
		return "", err
	}
	return string(offer) + " " + string(ore.DigestOf(b)), nil
}
