package installing

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"ore"
	"ore/cluster"
	"ore/deb/fetch"
	"ore/deb/proxy"
	"ore/image"
	"ore/install/recipe"
	"ore/node"
	"ore/node/installing"
	"ore/site"
	"ore/site/inputs"
)

// program is where the installer's machine has this program, and command what it
// runs there.
const (
	program = "/usr/local/sbin/ore"
	command = "installer"
)

// Maker has the machines of one job install themselves.
type Maker struct {
	Site  *site.Site
	ID    string // of the job
	Job   ore.Job
	From  recipe.Strategy // "" for the default
	Watch ore.Watcher
}

// Use sets c up for machines that install themselves, if those of j do.
func (m Maker) Use(c *cluster.Config) {
	if m.Job.Machines.Root != ore.OnDisk {
		return
	}
	if m.From == "" {
		m.From = recipe.Whole
	}
	c.Install = m.order
	if m.From != recipe.Whole {
		c.Images = unmade{c.Images}
	}
}

// unmade does not make images: machines install what they would have.
type unmade struct{ cluster.Images }

// Make gives what an image would be, without layers.
func (u unmade) Make(_ context.Context, mk cluster.Make, _ ore.Watcher) (image.Manifest, func(), error) {
	return image.Manifest{Version: image.ManifestVersion, Key: mk.Environment.Key(), Environment: mk.Environment}, func() {}, nil
}

// order is a cluster.Install.
func (m Maker) order(ctx context.Context, img image.Manifest, machines []node.Machine) (_ *installing.Order, release func() error, err error) {
	s := &stock{files: map[ore.Digest]string{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.release())
		}
	}()
	o := &installing.Order{Command: []string{program, command}, Machines: map[string]installing.Machine{}}
	if o.Image, err = s.hold(Image(ctx, m.Site, m.Watch)); err != nil {
		return nil, nil, fmt.Errorf("make the installer: %w", err)
	}
	if o.Program, err = m.program(ctx, s); err != nil {
		return nil, nil, fmt.Errorf("make the installer: %w", err)
	}
	r, err := m.recipe(ctx, s, img)
	if err != nil {
		return nil, nil, err
	}
	if r.Image != nil {
		for _, l := range r.Image.Layers {
			o.Blobs = append(o.Blobs, l.Digest)
		}
	}
	for _, each := range machines {
		r.Name, r.Seed = each.Name, m.ID+"/"+each.Name
		if err := r.Check(); err != nil {
			return nil, nil, err
		}
		root, err := rootOf(r, m.Job.Machines.Disk)
		if err != nil {
			return nil, nil, fmt.Errorf("machines: %w", err)
		}
		o.Machines[each.Name] = installing.Machine{Recipe: r.Encode(), Root: root}
	}
	o.Depot = filepath.Join(m.Site.Folder(m.ID), "depot")
	d, err := openDepot(o.Depot, s.files, s.proxy)
	if err != nil {
		return nil, nil, err
	}
	return o, func() error { return errors.Join(d.Close(), os.RemoveAll(o.Depot), s.release()) }, nil
}

// stock is what is kept ready for machines.
type stock struct {
	files map[ore.Digest]string
	proxy *proxy.Proxy
	holds []func()
}

// hold keeps an image until the stock is released.
func (s *stock) hold(m image.Manifest, release func(), err error) (image.Manifest, error) {
	if err == nil {
		s.holds = append(s.holds, release)
	}
	return m, err
}

func (s *stock) release() error {
	for _, f := range s.holds {
		f()
	}
	s.holds = nil
	return nil
}

// program makes this program a blob that machines mount.
func (m Maker) program(ctx context.Context, s *stock) (ore.Digest, error) {
	k, err := inputs.Open(filepath.Join(m.Site.Dirs.Cache, "inputs"), m.Site.Cache)
	if err != nil {
		return "", err
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	img, err := s.hold(k.Input(ctx, self, m.Watch))
	if err != nil {
		return "", err
	}
	return img.Layers[0].Digest, nil
}

// recipe makes what the recipes of all machines have in common.
func (m Maker) recipe(ctx context.Context, s *stock, img image.Manifest) (recipe.Recipe, error) {
	r := recipe.Recipe{
		Version: recipe.Version, Storage: onItsDisk(m.Job.Machines.Storage), System: m.Job.Machines.System,
		Environment: img.Environment, Strategy: m.From, Blobs: map[ore.Digest]recipe.Source{},
	}
	switch m.From {
	case recipe.Whole:
		r.Image = &img
	case recipe.Base:
		base, err := s.hold(m.base(ctx))
		if err != nil {
			return r, fmt.Errorf("make the base: %w", err)
		}
		r.Image, r.Partial = &base, base.Key != img.Environment.Key()
	}
	if r.Image != nil {
		layers, err := paths(ctx, m.Site.Cache.Store, *r.Image)
		if err != nil {
			return r, err
		}
		for _, l := range r.Image.Layers {
			s.files[l.Digest] = layers[l.Digest]
			r.Blobs[l.Digest] = source(l.Digest, l.Size)
		}
	}
	if r.Finished() != nil {
		return r, nil
	}
	r.Archive = []string{"proxy:" + gateway + "/packages"}
	return r, m.packages(ctx, s, &r)
}

// base gives the image of the base alone.
func (m Maker) base(ctx context.Context) (image.Manifest, func(), error) {
	img, err := m.Site.Build(ctx, ore.Wants{Base: m.Job.Wants.Base}, m.Watch)
	if err != nil {
		return img, nil, err
	}
	return m.Site.Cache.Acquire(ctx, img.Key)
}

// source says where machines find a blob.
func source(d ore.Digest, size int64) recipe.Source {
	return recipe.Source{Size: size, From: []string{installing.BlobsPath + "/" + d.Hex(), gateway + "/blobs/sha256/" + d.Hex()}}
}

// packages stocks what an environment is installed from: packages, the contents
// of its files, and the certificates of its archives.
func (m Maker) packages(ctx context.Context, s *stock, r *recipe.Recipe) error {
	a, err := m.Site.Archive(ctx, m.Job.Wants)
	if err != nil {
		return err
	}
	if s.proxy, err = proxy.New(proxy.Config{Dir: filepath.Join(m.Site.Dirs.Cache, "deb", "proxy"), Watch: m.Watch}); err != nil {
		return err
	}
	var files []fetch.File
	for _, p := range r.Environment.Packages {
		f, err := a.File(p)
		if err != nil {
			return err
		}
		files = append(files, f)
	}
	if err := s.proxy.Know(files...); err != nil {
		return err
	}
	contents, err := m.Site.Contents(ctx, m.Job.Wants.Files)
	if err != nil {
		return err
	}
	for _, f := range r.Environment.Files {
		if f.Digest != "" {
			s.files[f.Digest] = contents[f.Digest]
			r.Blobs[f.Digest] = source(f.Digest, f.Size)
		}
	}
	for _, rep := range m.Job.Wants.Repositories {
		d, err := m.Site.Cache.PutBytes(ctx, rep.Key)
		if err != nil {
			return err
		}
		if s.files[d], err = m.Site.Cache.Path(d); err != nil {
			return err
		}
		r.Blobs[d] = source(d, int64(len(rep.Key)))
	}
	return nil
}
