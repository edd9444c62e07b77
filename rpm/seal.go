package rpm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"ore"
	"ore/install/layer"
	"ore/install/normal"
	"ore/install/skeleton"
	"ore/install/tree"
)

// Where rpm's database is while the tree is made, and where some distributions'
// rpm looks for it instead (%_dbpath of its macros).
const (
	dbPlace    = "var/lib/rpm"
	otherPlace = "usr/lib/sysimage/rpm"
)

// forgotten are what dnf and rpm leave: patterns in the tree.
var forgotten = [...]string{
	dbPlace + "/.rpm.lock", dbPlace + "/rpmdb.sqlite-*", dbPlace + "/.migratedb",
	"var/log/dnf*", "var/log/hawkey.log", "var/cache/dnf",
}

// stood are the folders that every machine mounts something over or that it needs
// to start, with the mode that they have whatever a package says, 0 for that of the
// package.
var stood = [...]struct {
	name  string
	mode  fs.FileMode
	fixed bool
}{
	{".", 0o755, true}, {"dev", 0o755, true}, {"proc", 0o555, true}, {"sys", 0o555, true}, {"run", 0o755, true},
	{"tmp", 0o777 | fs.ModeSticky, true}, {"etc", 0o755, false}, {"root", 0o700, false}, {"var", 0o755, false},
	{"var/tmp", 0o777 | fs.ModeSticky, true},
}

// seal brings the tree into its final form, lists it, and writes the layer.
func (w *worker) seal(ctx context.Context, epoch int64) (*layer.Outcome, error) {
	if err := w.normalise(); err != nil {
		return nil, err
	}
	found, err := tree.Scan(w.tree, false)
	if err != nil {
		return nil, err
	}
	w.watch.Tell(ore.Event{Stage: "seal", Text: "layer 1", Total: int64(len(found))})
	upper := layer.Upper{Dir: w.tree, Owners: w.sb, Epoch: epoch}
	sources, err := upper.All(found)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	for i := range sources {
		sources[i].Node.ModTime = min(found[i].Stat.Mtim.Sec, epoch)
	}
	sources = slices.DeleteFunc(sources, func(s layer.Source) bool {
		return strings.HasPrefix(s.Node.Path, "dev/") || s.Node.Mode&fs.ModeSocket != 0
	})
	for _, n := range skeleton.Devices(epoch) {
		sources = append(sources, layer.Source{Node: n, Rank: -1})
	}
	layer.Link(sources)
	nodes := make([]tree.Node, len(sources))
	for i := range sources {
		nodes[i] = sources[i].Node
	}
	t := layer.New()
	t.Lay(nodes)
	t.Epoch = epoch
	out, err := t.Outcome()
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if err := layer.Write(ctx, filepath.Join(w.Work, layerName), sources, w.Install.Options); err != nil {
		return nil, fmt.Errorf("seal layer: %w", err)
	}
	w.watch.Tell(ore.Event{Stage: "seal", Text: "layer 1", Final: true})
	return out, nil
}

// normalise takes away what would make one build differ from another, and adds
// what every machine's tree has.
func (w *worker) normalise() error {
	root, err := os.OpenRoot(w.tree)
	if err != nil {
		return fmt.Errorf("normalise: %w", err)
	}
	defer root.Close()
	list := forgotten[:]
	if !w.Install.OwnsDNF {
		list = append(slices.Clip(list), "etc/dnf")
	}
	for _, pattern := range list {
		names, err := fs.Glob(root.FS(), pattern)
		if err != nil {
			return fmt.Errorf("normalise: %w", err)
		}
		for _, name := range names {
			if err := root.RemoveAll(name); err != nil {
				return fmt.Errorf("normalise: %w", err)
			}
		}
	}
	if err := normal.Normalise(w.tree); err != nil {
		return err
	}
	for _, d := range stood {
		if err := stand(root, d.name, d.mode, d.fixed); err != nil {
			return fmt.Errorf("normalise: %s: %w", d.name, err)
		}
	}
	return w.moveDatabase(root)
}

// stand sees to it that name is a folder, or a link to one.
func stand(root *os.Root, name string, mode fs.FileMode, fixed bool) error {
	info, err := root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		fixed = true
		if err := root.MkdirAll(name, 0o755); err != nil {
			return err
		}
	} else if err != nil || !info.IsDir() {
		return err
	}
	if !fixed {
		return nil
	}
	return root.Chmod(name, mode)
}

// elsewhere says whether the macros of a tree's own rpm have its database at
// otherPlace.
func elsewhere(macros string) bool {
	for line := range strings.Lines(macros) {
		f := strings.Fields(line)
		if len(f) == 2 && f[0] == "%_dbpath" {
			return strings.HasSuffix(f[1], "/sysimage/rpm")
		}
	}
	return false
}

// moveDatabase puts rpm's database where the tree's own rpm looks for it, and
// leaves a link to it, as distributions do.
func (w *worker) moveDatabase(root *os.Root) error {
	text, err := root.ReadFile("usr/lib/rpm/macros")
	if errors.Is(err, fs.ErrNotExist) {
		return nil // no rpm
	}
	if err != nil {
		return fmt.Errorf("move database: %w", err)
	}
	if !elsewhere(string(text)) {
		return nil
	}
	if err := root.MkdirAll(filepath.Dir(otherPlace), 0o755); err != nil {
		return fmt.Errorf("move database: %w", err)
	}
	if err := root.MkdirAll(otherPlace, 0o755); err != nil {
		return fmt.Errorf("move database: %w", err)
	}
	if err := root.Rename(dbPlace+"/rpmdb.sqlite", otherPlace+"/rpmdb.sqlite"); err != nil {
		return fmt.Errorf("move database: %w", err)
	}
	if err := root.RemoveAll(dbPlace); err != nil {
		return fmt.Errorf("move database: %w", err)
	}
	if err := root.Symlink("../../"+otherPlace, dbPlace); err != nil {
		return fmt.Errorf("move database: %w", err)
	}
	return nil
}
