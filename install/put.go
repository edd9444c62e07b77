package install

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"ore/install/dpkg"
	"ore/install/layer"
	"ore/install/load"
	"ore/install/tree"
)

// files of the database, relative to the tree.
const (
	statusFile    = dpkg.Dir + "/status"
	infoDir       = dpkg.Dir + "/info"
	triggersDir   = dpkg.Dir + "/triggers"
	interestsFile = triggersDir + "/File"
	pendingFile   = triggersDir + "/Unincorp"
)

// putter puts the files of one wave.
type putter struct {
	*phase
	view       *tree.View
	diversions dpkg.Diversions
	overrides  map[string]dpkg.Override
}

// put places the files of the packages, each as soon as it is loaded, and writes
// the database, as dpkg --unpack does.
func (p *phase) put(ctx context.Context, members []*load.Package) error {
	u := &putter{phase: p, view: p.view()}
	if err := u.rules(); err != nil {
		return err
	}
	for _, x := range members {
		if err := load.Wait(ctx, x); err != nil {
			return err
		}
		for i := range x.Nodes {
			if err := u.node(x, i); err != nil {
				return fmt.Errorf("unpack %s: %w", x.Spec(), err)
			}
		}
	}
	if err := u.register(members); err != nil {
		return err
	}
	return p.marks.Settle(filepath.Join(filepath.Dir(p.upper), "settled"))
}

// rules reads what redirects files and changes their owners.
func (u *putter) rules() error {
	var b [4][]byte
	for i, name := range []string{dpkg.Dir + "/diversions", dpkg.Dir + "/statoverride", "etc/passwd", "etc/group"} {
		var err error
		if b[i], err = u.view.ReadFile(name); err != nil {
			return err
		}
	}
	var err error
	if u.diversions, err = dpkg.ParseDiversions(b[0]); err != nil {
		return err
	}
	u.overrides, err = dpkg.ParseOverrides(b[1], b[2], b[3])
	return err
}

// node puts entry i of x.
func (u *putter) node(x *load.Package, i int) error {
	n := x.Nodes[i]
	name := n.Path
	n.Path = u.diversions.Place(x.Name, name)
	if n.Hardlink != "" {
		n.Hardlink = u.diversions.Place(x.Name, n.Hardlink)
	}
	if !n.Mode.IsDir() {
		if ours, err := u.claim(x, name, n.Path); err != nil || !ours {
			return err
		}
	}
	if o, ok := u.overrides[name]; ok && n.Hardlink == "" {
		n.UID, n.GID, n.Mode = o.UID, o.GID, n.Mode.Type()|tree.GoMode(o.Mode)
	}
	place, err := u.view.Put(&n, x.Stage+"/"+strconv.Itoa(i))
	if err != nil || place == "" {
		return err
	}
	if n.Hardlink == "" {
		n.Path = place
		u.marks.Placed[place] = layer.Source{Node: n, Pack: x.Pack, Index: i, Rank: x.Rank}
		return nil
	}
	target, err := u.view.Place(n.Hardlink)
	if err != nil {
		return err
	}
	if t, ok := u.marks.Placed[target]; ok {
		u.marks.Placed[place] = t
	}
	return nil
}

// claim settles whose file the name is when another package has it, too. A
// package that replaces another keeps or takes it; the other one loses it.
func (u *putter) claim(x *load.Package, name, diverted string) (bool, error) {
	other, err := u.holder(diverted)
	if err != nil {
		return false, err
	}
	switch {
	case other == nil || other == x.Package:
	case dpkg.Replaces(x.Package, other):
		u.lose(other, name)
	case dpkg.Replaces(other, x.Package):
		u.lose(x.Package, name)
		return false, nil
	default:
		return false, fmt.Errorf("/%s is also in package %s: the packages exclude each other", name, other.Spec())
	}
	u.owner[diverted] = x.Package
	return true, nil
}

// holder returns the package that has the file, nil for none. Whether one of
// the base's has it is looked up only if something is there.
func (u *putter) holder(name string) (*dpkg.Package, error) {
	if p := u.owner[name]; p != nil {
		return p, nil
	}
	if !u.overlaid() {
		return nil, nil
	}
	parent, err := u.view.Resolve(path.Dir(name))
	if err == nil {
		_, _, err = u.view.Lstat(path.Join(parent, path.Base(name)))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return u.holderBelow(name)
}

// holderBelow searches the lists of the packages below.
func (u *putter) holderBelow(name string) (*dpkg.Package, error) {
	dir, err := u.view.Resolve(infoDir)
	if err != nil {
		return nil, err
	}
	line := []byte("\n/" + name + "\n")
	for _, lower := range u.lower {
		list, err := os.ReadDir(lower + "/" + dir)
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			spec, ok := strings.CutSuffix(e.Name(), ".list")
			if !ok {
				continue
			}
			b, err := u.view.ReadFile(infoDir + "/" + e.Name())
			if err != nil {
				return nil, err
			}
			if bytes.Contains(b, line) {
				return u.below(spec)
			}
		}
	}
	return nil, nil
}

// below returns a package of a phase below, as far as the database knows it.
func (u *putter) below(spec string) (*dpkg.Package, error) {
	status, err := u.view.ReadFile(statusFile)
	if err != nil {
		return nil, err
	}
	name, _, _ := strings.Cut(spec, ":")
	for text := range strings.SplitSeq(string(status), "\n\n") {
		if strings.HasPrefix(text, "Package: "+name+"\n") {
			return dpkg.New(map[string][]byte{"control": []byte(text + "\n")}, nil, nil)
		}
	}
	return nil, fmt.Errorf("package %s has a list but no status", spec)
}

// lose notes that p's file went to another package.
func (u *putter) lose(p *dpkg.Package, name string) {
	if u.lost[p.Spec()] == nil {
		u.lost[p.Spec()] = map[string]bool{}
	}
	u.lost[p.Spec()][name] = true
}
