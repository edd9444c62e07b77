package installing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ore"
	"ore/cluster"
	"ore/deb/proxy"
	"ore/image"
	"ore/install/recipe"
	"ore/node"
	"ore/node/installing"
	"ore/plan"
	"ore/site"
	"ore/site/disks"
	"ore/site/inputs"
	"ore/site/installing/leaving"
)

// program is where the installer's machine has this program, and command what it
// runs there.
const (
	program = "/usr/local/sbin/ore"
	command = "installer"
)

// Maker has the machines of one job install themselves.
type Maker struct {
	Site *site.Site
	ID   string // of the job
	Job  ore.Job
	From recipe.Strategy // "" for the default; FromMirror besides those of a recipe
	// Discard has what machines installed not be kept as an image.
	Discard bool
	Watch   ore.Watcher

	// Elsewhere says that machines are on hosts that have no part of this one: all
	// that machines need is blobs, which reach each host once.
	Elsewhere bool
	// Loose says that a machine's disk may be of another size than the job says, and is
	// then written the tree of its image instead of a disk image.
	Loose bool
	// Depot is the address of a depot that somebody else serves (see [Maker.Serve]),
	// from which each machine then takes all, for itself: http://HOST:PORT, or
	// unix:PATH on this host. "" for none.
	Depot string

	direct bool             // each machine fetches packages from the mirror, for itself: see FromMirror
	begun  *ore.Environment // what the machines' disks were made for, nil for the one that they get
	left   *leaving.Reader  // of machines elsewhere; nil where nobody can read it
}

// Use sets c up for machines that install themselves, if those of j do.
func (m Maker) Use(c *cluster.Config) {
	if m.Job.Machines.Root != ore.OnDisk {
		return
	}
	if m.Elsewhere {
		m.left = &leaving.Reader{}
		c.Installed = m.left.Installed
	}
	if m.From == FromMirror {
		m.From, m.direct = recipe.Packages, true
	}
	d := &decider{Images: c.Images, maker: m}
	c.Install, c.Memory, c.Images = d.order, func() json.RawMessage { return d.maker.memory() }, d
	c.Ask = c.Ask.Onto(string(m.From), plan.Directly)
	if m.Elsewhere || m.Depot != "" || m.direct {
		c.Learn = nil // what other hosts and another's link take says nothing of this one
	}
}

// order is a cluster.Install.
func (m Maker) order(ctx context.Context, img image.Manifest, machines []node.Machine) (_ *installing.Order, release func() error, err error) {
	if m.From == "" { // nobody decided, or who did has ended
		m.From = recipe.Whole
		if len(img.Layers) == 0 {
			m.From = recipe.Packages
		}
	}
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
	for _, l := range layers(r) {
		if m.Depot == "" {
			o.Blobs = append(o.Blobs, l.Digest)
		}
	}
	var captured *capturing
	if m.Depot == "" { // another's takes no image
		captured = m.capture(ctx, r)
	}
	defer func() {
		if err != nil && captured != nil {
			captured.receiver.Close()
		}
	}()
	for i, each := range machines {
		r.Name, r.Seed, r.Capture = each.Name, m.ID+"/"+each.Name, ""
		m.begin(&r)
		if i == 0 && captured != nil { // one is enough
			r.Capture, captured.machine = captured.address(), each.Name
		}
		if err := r.Check(); err != nil {
			return nil, nil, err
		}
		root, err := rootOf(r, m.Job.Machines.Disk)
		if err != nil {
			return nil, nil, fmt.Errorf("machines: %w", err)
		}
		o.Machines[each.Name] = installing.Machine{Recipe: r.Encode(), Root: root}
	}
	closed, err := m.open(ctx, s, o, captured)
	if err != nil {
		return nil, nil, err
	}
	return o, func() error { return errors.Join(closed(), s.release()) }, nil
}

// open has machines reach what they install from: by this host's depot, by that of
// their own host, or by another one.
func (m Maker) open(ctx context.Context, s *stock, o *installing.Order, captured *capturing) (closed func() error, err error) {
	closed = func() error { return nil }
	socket, local := strings.CutPrefix(m.Depot, "unix:")
	switch {
	case local:
		o.Depot = socket
	case m.Depot != "":
	case m.Elsewhere:
		if o.Bundle, err = m.bundle(ctx, s, o.Blobs); err == nil && captured != nil {
			closed = m.left.Expect(ctx, captured.left())
		}
	default:
		o.Depot = filepath.Join(m.Site.Folder(m.ID), "depot")
		var d *depot
		if d, err = openDepot(o.Depot, s, captured); err == nil {
			closed = func() error { return errors.Join(d.Close(), os.RemoveAll(o.Depot)) }
		}
	}
	return closed, err
}

// stock is what is kept ready for machines.
type stock struct {
	files map[ore.Digest]string
	proxy *proxy.Proxy
	late  *late // what is stocked only once somebody asks for it; nil for nothing
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
func (m Maker) recipe(ctx context.Context, s *stock, img image.Manifest) (r recipe.Recipe, err error) {
	r = recipe.Recipe{
		Version: recipe.Version, Storage: disks.Of(m.Job.Machines.Storage), System: m.Job.Machines.System,
		Environment: img.Environment, Strategy: m.From, Blobs: map[ore.Digest]recipe.Source{},
	}
	switch m.From {
	case recipe.Whole, recipe.Disk:
		r.Image = &img
	case recipe.Base:
		base, err := s.hold(m.base(ctx))
		if err != nil {
			return r, fmt.Errorf("make the base: %w", err)
		}
		r.Image, r.Partial = &base, base.Key != img.Environment.Key()
	}
	var all []image.Layer
	if r.Image != nil && (m.From != recipe.Disk || m.Loose) {
		all = r.Image.Layers
	}
	if m.From == recipe.Disk {
		if err := m.whole(ctx, s, &r); err != nil {
			return r, err
		}
		all = append(slices.Clip(all), r.Disk.Layer)
	}
	for _, l := range all {
		p, err := m.Site.Cache.Verified(ctx, l.Digest)
		if err != nil {
			return r, err
		}
		s.files[l.Digest], r.Blobs[l.Digest] = p, m.source(l.Digest, l.Size)
	}
	if r.Finished() != nil {
		if err := m.look(ctx, &r); err != nil {
			return r, err
		}
		return r, m.beside(ctx, s, &r)
	}
	if r.Archive, err = m.archives(); err != nil {
		return r, err
	}
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

// at is the depot's address, as machines see it.
func (m Maker) at() string {
	if m.Depot != "" && !strings.HasPrefix(m.Depot, "unix:") {
		return m.Depot
	}
	return gateway
}

// source says where machines find a blob.
func (m Maker) source(d ore.Digest, size int64) recipe.Source {
	s := recipe.Source{Size: size, From: []string{m.at() + "/blobs/sha256/" + d.Hex()}}
	if m.Depot == "" {
		s.From = slices.Insert(s.From, 0, installing.BlobsPath+"/"+d.Hex())
	}
	return s
}
