package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"ore/install/dpkg"
	"ore/install/layer"
	"ore/install/load"
	"ore/install/normal"
	"ore/install/tree"
)

// phase unpacks and configures a set of packages in a folder, over the folders
// of the phases before.
type phase struct {
	*worker
	set   []*load.Package
	lower []string     // host folders, lowest first
	upper string       // host folder that is written to
	marks layer.Upper  // of it: what packages brought there
	root  string       // where the whole tree appears: upper itself, or an overlay's mount
	work  string       // the overlay's
	off   func() error // ends the mount

	owner      map[string]*dpkg.Package   // of the files of this phase, by diverted name
	lost       map[string]map[string]bool // by package: files that went to one that replaces it
	configured map[string]bool            // packages that are, by their specs
}

// overlaid tells whether the phase has phases below it.
func (p *phase) overlaid() bool { return len(p.lower) > 0 }

// mount makes the whole tree appear at root.
func (p *phase) mount() error {
	if !p.overlaid() {
		return nil
	}
	for _, d := range []string{p.upper, p.work, p.root} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("mount tree: %w", err)
		}
	}
	var err error
	p.off, err = p.sb.Overlay(p.lower, p.upper, p.work, p.root)
	return err
}

// unmount ends mount.
func (p *phase) unmount() error {
	if !p.overlaid() {
		return nil
	}
	return p.off()
}

// mounted runs f while the whole tree appears at root.
func (p *phase) mounted(f func() error) error {
	if err := p.mount(); err != nil {
		return err
	}
	return errors.Join(f(), p.unmount())
}

// view returns the tree as seen without mounting.
func (p *phase) view() *tree.View {
	layers := []string{p.upper}
	for _, l := range slices.Backward(p.lower) {
		layers = append(layers, l)
	}
	return tree.NewView(p.sb, layers...)
}

// install unpacks and configures the set. Of what is still being loaded it waits
// for no more than it needs.
func (p *phase) install(ctx context.Context) error {
	list := []load.Wave{{Unpack: p.set}} // where nothing could run before all is there
	if p.overlaid() {
		var err error
		if list, err = p.loading.Waves(ctx, p.set); err != nil {
			return err
		}
	}
	for i, wv := range list {
		if err := p.unpack(ctx, wv.Unpack); err != nil {
			return err
		}
		if i == len(list)-1 || len(wv.First) == 0 {
			continue
		}
		if err := p.mounted(func() error { return p.configure(ctx, load.Controls(wv.First)) }); err != nil {
			return err
		}
	}
	return p.mounted(func() error {
		if err := p.configure(ctx, nil); err != nil {
			return err
		}
		return normal.Normalise(p.root)
	})
}

// unpack runs the preinsts of a wave and puts its files. In the base's tree it
// is the other way round: preinsts need programs, and nothing is there before
// (what mmdebstrap and debootstrap do, too).
func (p *phase) unpack(ctx context.Context, members []*load.Package) error {
	heads, err := load.Heads(ctx, members)
	if err != nil {
		return err
	}
	scripts := dpkg.Preinsts(heads)
	run := func() error {
		if len(scripts) == 0 {
			return nil
		}
		return p.mounted(func() error { return p.preinst(ctx, scripts) })
	}
	if p.overlaid() {
		if err := run(); err != nil {
			return err
		}
	}
	if err := p.put(ctx, members); err != nil {
		return err
	}
	if !p.overlaid() {
		if err := run(); err != nil {
			return err
		}
	}
	return nil
}
