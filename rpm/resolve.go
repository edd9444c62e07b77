package rpm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ore"
	"ore/deb/fetch"
	"ore/install/workplace"
	"ore/rpm/repomd"
)

// Arch is the architecture that environments are made for, by Debian's name, as
// everywhere; packages of it have x86_64, or noarch.
const Arch = "amd64"

// Resolve closes the wishes under dependencies. The environment has neither files
// nor steps.
func (m *Maker) Resolve(ctx context.Context, w ore.Wants) (ore.Environment, error) {
	env, err := m.resolve(ctx, w)
	if err != nil {
		return ore.Environment{}, fmt.Errorf("resolve %s: %w", w.Base, err)
	}
	return env, nil
}

func (m *Maker) resolve(ctx context.Context, w ore.Wants) (env ore.Environment, err error) {
	if err := Check(w); err != nil {
		return env, err
	}
	if err := m.folders(); err != nil {
		return env, err
	}
	release, err := m.use()
	if err != nil {
		return env, err
	}
	defer release()
	work, err := workplace.Open(ctx, m.path(workDir))
	if err != nil {
		return env, err
	}
	defer work.Remove()
	o := order{Work: work.Dir, In: filepath.Join(work.Dir, "in"), Resolve: &resolveOrder{}}
	for i, r := range w.Repositories {
		name := repositoryName(i)
		if err := m.index(ctx, r, filepath.Join(o.In, "repos", name, "repodata")); err != nil {
			return env, fmt.Errorf("repository %s: %w", r.URI, err)
		}
		o.Resolve.Repositories = append(o.Resolve.Repositories, name)
	}
	for _, p := range w.Packages {
		o.Resolve.Wishes = append(o.Resolve.Wishes, wish(p))
	}
	m.Watch.Tell(ore.Event{Stage: "resolve", Text: w.Base.String()})
	said, err := m.work(ctx, o)
	if err != nil {
		return env, err
	}
	return environment(w, said.Packages)
}

func repositoryName(i int) string { return "r" + strconv.Itoa(i) }

// wish is p as dnf takes it: name-version, name-version-release or
// name-epoch:version-release.
func wish(p ore.Wish) string {
	if p.Version == "" {
		return p.Name
	}
	return p.Name + "-" + p.Version
}

// index fetches the indexes of a repository and puts them into the folder dir.
func (m *Maker) index(ctx context.Context, r ore.Repository, dir string) error {
	uri, err := address(r.URI)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	client, done := m.client()
	defer done()
	page, err := client.Page(ctx, uri+"/"+repomd.Name, fetch.Validators{}, repomd.Limit)
	if err != nil {
		return err
	}
	list, err := repomd.Parse(page.Body)
	if err != nil {
		return err
	}
	var files []fetch.File
	var total int64
	for _, i := range list {
		files = append(files, fetch.File{URLs: []string{uri + "/" + i.Path}, Path: m.path(indexesDir, i.Name()), Size: i.Size, Digest: i.Digest})
		total += i.Size
	}
	m.Watch.Tell(ore.Event{Stage: "index", Text: r.URI, Total: total})
	if err := client.All(ctx, files, nil); err != nil {
		return err
	}
	for _, i := range list {
		if err := place(m.path(indexesDir, i.Name()), filepath.Join(dir, i.Name())); err != nil {
			return err
		}
	}
	text, err := repomd.Write(list)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, filepath.Base(repomd.Name)), text, 0o644)
}

// client returns what fetches, and how to end its use.
func (m *Maker) client() (c *fetch.Client, done func()) {
	if m.Client != nil {
		return m.Client, func() {}
	}
	c = fetch.New()
	return c, c.CloseIdle
}

// environment makes the lock of what dnf chose.
func environment(w ore.Wants, list []found) (ore.Environment, error) {
	env := ore.Environment{Version: ore.EnvironmentVersion, Base: w.Base, Arch: Arch}
	for _, p := range w.Packages {
		env.Manual = append(env.Manual, p.Name)
	}
	given := make([][]string, len(w.Repositories))
	for _, f := range list {
		n, err := strconv.Atoi(strings.TrimPrefix(f.Repository, repositoryName(0)[:1]))
		if err != nil || n < 0 || n >= len(w.Repositories) {
			return env, fmt.Errorf("package %s: dnf found it in %q, which is none of the repositories", f.Name, f.Repository)
		}
		p, err := f.locked(w.Repositories[n])
		if err != nil {
			return env, fmt.Errorf("package %s: %w", f.Name, err)
		}
		env.Packages = append(env.Packages, p)
		given[n] = append(given[n], p.String())
	}
	for i, r := range w.Repositories {
		slices.Sort(given[i])
		s := ore.LockedSource{Suite: repositoryName(i), Components: given[i]}
		if len(r.Key) > 0 {
			s.Key = ore.DigestOf(r.Key)
		}
		env.Sources = append(env.Sources, s)
	}
	env.Sort()
	return env, nil
}

// locked is the package as a lock has it.
func (f found) locked(r ore.Repository) (ore.Package, error) {
	p := ore.Package{Name: f.Name, Version: f.Version, Arch: f.Arch, Path: f.Path, Size: f.Size, Base: true}
	if f.Base != "" && !strings.HasPrefix(f.Base, "file:///in/") {
		return p, fmt.Errorf("it lies at %s: name that as its repository", f.Base)
	}
	var err error
	if p.Archive, err = address(r.URI); err != nil {
		return p, err
	}
	p.Digest, err = repomd.Digest(f.Kind, f.Hash)
	return p, err
}
