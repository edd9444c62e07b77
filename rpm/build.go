package rpm

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"ore"
	"ore/deb/fetch"
	"ore/image"
	"ore/install/sandbox"
	"ore/install/workplace"
	"ore/squashfs"
)

// unused is how long a package or an index is kept that nobody uses.
const unused = 30 * 24 * time.Hour

// Fetch fetches the packages of a lock, which are kept.
func (m *Maker) Fetch(ctx context.Context, env ore.Environment) error {
	if err := m.folders(); err != nil {
		return err
	}
	var files []fetch.File
	var total int64
	for _, p := range env.Packages {
		files = append(files, fetch.File{URLs: []string{p.Archive + "/" + p.Path}, Path: m.kept(p), Size: p.Size, Digest: p.Digest})
		total += p.Size
	}
	var mu sync.Mutex
	var done int64
	client, end := m.client()
	defer end()
	err := client.All(ctx, files, func(n int64) {
		mu.Lock()
		defer mu.Unlock()
		done += n
		m.Watch.Tell(ore.Event{Stage: "fetch", Done: done, Total: total})
	})
	if fetch.NotFound(err) {
		return fmt.Errorf("fetch packages: %w: the repository has other versions by now: lock again", err)
	}
	if err != nil {
		return fmt.Errorf("fetch packages: %w", err)
	}
	now := time.Now()
	for _, f := range files {
		_ = os.Chtimes(f.Path, now, now) // it is removed earlier then, nothing worse
	}
	return nil
}

func (m *Maker) kept(p ore.Package) string { return m.path(packagesDir, p.Digest.Hex()+".rpm") }

// Build makes the image of the packages of env, without its files and steps: that
// of env.BaseOnly(). The repositories are those that env was resolved with.
func (m *Maker) Build(ctx context.Context, env ore.Environment, repositories []ore.Repository) (image.Manifest, error) {
	env = env.BaseOnly()
	img, err := m.build(ctx, env, repositories)
	if err != nil {
		return image.Manifest{}, fmt.Errorf("build %s: %w", env.Key().Short(), image.Full(err))
	}
	return img, nil
}

func (m *Maker) build(ctx context.Context, env ore.Environment, repositories []ore.Repository) (img image.Manifest, err error) {
	if err := m.folders(); err != nil {
		return img, err
	}
	release, err := m.use()
	if err != nil {
		return img, err
	}
	defer release()
	if err := m.Fetch(ctx, env); err != nil {
		return img, err
	}
	work, err := workplace.Open(ctx, m.path(workDir))
	if err != nil {
		return img, err
	}
	defer work.Remove()
	o := order{Work: work.Dir, In: filepath.Join(work.Dir, "in")}
	if o.Install, err = m.lay(o.In, env, repositories); err != nil {
		return img, err
	}
	said, err := m.work(ctx, o)
	if err != nil {
		return img, err
	}
	layer := image.Layer{Compression: string(o.Install.Options.Compression), Key: env.Key()}
	layer.Digest, layer.Size, err = m.Store.Put(ctx, func(f *os.File) error {
		in, err := os.Open(filepath.Join(work.Dir, layerName))
		if err != nil {
			return err
		}
		defer in.Close()
		_, err = io.Copy(f, in)
		return err
	})
	if err != nil {
		return img, err
	}
	img = said.Done.Manifest(env)
	img.Layers = []image.Layer{layer}
	return img, m.sweep(time.Now().Add(-unused))
}

// lay puts the packages of env and the keys of their repositories into the folder
// in, and says what is to become of them.
func (m *Maker) lay(in string, env ore.Environment, repositories []ore.Repository) (*installOrder, error) {
	for _, d := range []string{"packages", "keys"} {
		if err := os.MkdirAll(filepath.Join(in, d), 0o755); err != nil {
			return nil, err
		}
	}
	o := &installOrder{Options: squashfs.Options{}}
	file := map[string]string{}
	for _, p := range env.Packages {
		name := p.Digest.Hex() + ".rpm"
		if err := place(m.kept(p), filepath.Join(in, "packages", name)); err != nil {
			return nil, err
		}
		file[p.String()] = name
		o.Expect = append(o.Expect, p.String())
		o.OwnsDNF = o.OwnsDNF || strings.HasPrefix(p.Name, "dnf") || strings.HasPrefix(p.Name, "libdnf")
	}
	slices.Sort(o.Expect)
	for i, s := range env.Sources {
		g := group{}
		for _, c := range s.Components {
			if file[c] == "" {
				return nil, fmt.Errorf("%s: the lock does not have it: lock again", c)
			}
			g.Files = append(g.Files, file[c])
			delete(file, c)
		}
		if s.Key != "" {
			k := slices.IndexFunc(repositories, func(r ore.Repository) bool { return ore.DigestOf(r.Key) == s.Key })
			if k < 0 {
				return nil, errChanged
			}
			g.Key = repositoryName(i) + ".key"
			if err := os.WriteFile(filepath.Join(in, "keys", g.Key), repositories[k].Key, 0o644); err != nil {
				return nil, err
			}
		}
		o.Groups = append(o.Groups, g)
	}
	if len(file) > 0 {
		return nil, fmt.Errorf("%d packages of the lock are of no repository: lock again", len(file))
	}
	return o, nil
}

// place gives a kept file another name in a folder of a run.
func place(kept, name string) error {
	if err := os.Link(kept, name); err != nil {
		return fmt.Errorf("place %s: %w", filepath.Base(name), err)
	}
	return nil
}

// sweep removes packages and indexes that were last used before the time given.
func (m *Maker) sweep(before time.Time) error {
	for _, d := range []string{packagesDir, indexesDir} {
		list, err := os.ReadDir(m.path(d))
		if err != nil {
			return err
		}
		for _, e := range list {
			if info, err := e.Info(); err == nil && info.ModTime().Before(before) {
				if err := os.Remove(m.path(d, e.Name())); err != nil && !os.IsNotExist(err) {
					return err
				}
			}
		}
	}
	return nil
}

// owners is where a worker of tier single notes who owns what.
func (o *order) owners(t sandbox.Tier) {
	if t == sandbox.Single {
		o.Owners = filepath.Join(o.Work, "owners")
	}
}
