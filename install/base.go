package install

import (
	"bufio"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strconv"

	"golang.org/x/sync/errgroup"

	"ore"
	"ore/install/beside"
	"ore/install/dpkg"
	"ore/install/kept"
	"ore/install/tree"
	"ore/squashfs"
)

// nativeArch is the architecture that environments are made for.
const nativeArch = "amd64"

// merged are the folders that suites with a merged /usr have as symbolic links
// into it, and the packages whose presence says that the suite is such a one.
// Newer suites ship the links in base-files, which finds them there.
var (
	mergedDirs     = [...]string{"bin", "sbin", "lib", "lib64"}
	mergedPackages = [...]string{"usrmerge", "usr-is-merged"}
)

// baseNodes is what is kept of a base beside its layer: all that the layer
// cannot say.
type baseNodes struct {
	Epoch int64
	Nodes []tree.Node
}

// base makes the base's tree and begins to seal it, or takes what is there.
func (w *worker) base(ctx context.Context, g *errgroup.Group, l *loader, s *stack) error {
	if w.Base != "" {
		if err := w.reuseBase(ctx, s); err != nil {
			return err
		}
		return w.startPython(ctx, g, l, s.lower)
	}
	if err := wait(ctx, l.base); err != nil {
		return err
	}
	w.epoch = newest(l.base)
	if err := w.startPython(ctx, g, l, nil); err != nil {
		return err
	}
	p := w.newPhase(l.base, nil, w.path(treePlace))
	if err := p.skeleton(); err != nil {
		return err
	}
	end := beside.Yield()
	err := p.install(ctx)
	end()
	if err != nil {
		return err
	}
	if err := asApt(p.view(), w.sb); err != nil {
		return err
	}
	s.lower = []string{p.upper}
	found, err := tree.Scan(p.upper, false)
	if err != nil {
		return err
	}
	g.Go(func() error { return s.sealBase(ctx, p, found) })
	return nil
}

// newest returns the newest time in the packages.
func newest(set []*loaded) int64 {
	var t int64
	for _, x := range set {
		for i := range x.Nodes {
			t = max(t, x.Nodes[i].ModTime)
		}
	}
	return t
}

// newPhase returns a phase that writes to the folder place.
func (w *worker) newPhase(set []*loaded, lower []string, place string) *phase {
	p := &phase{
		worker: w, set: set, lower: lower, upper: place, root: place,
		placed: map[string]placed{}, owner: map[string]*dpkg.Package{},
		lost: map[string]map[string]bool{}, configured: map[string]bool{},
	}
	if p.overlaid() {
		p.root, p.work = place+".merged", place+".work"
	}
	return p
}

// skeleton makes what must be there before the first package: what mmdebstrap
// makes, too.
func (p *phase) skeleton() error {
	if err := os.MkdirAll(p.upper, 0o755); err != nil {
		return fmt.Errorf("make tree: %w", err)
	}
	v := p.view()
	if err := mergeUsr(v, p.set); err != nil {
		return err
	}
	for _, d := range []string{"etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/sources.list.d",
		dpkg.Dir + "/updates", dpkg.Dir + "/alternatives", triggersDir, infoDir, "var/log/apt", "var/lib/apt/lists/partial", "var/cache/apt"} {
		if err := makeAll(v, d); err != nil {
			return err
		}
	}
	if err := v.Mkdir("tmp", 0o1777, 0, 0); err != nil {
		return err
	}
	if err := v.WriteFile("etc/fstab", 0o644, []byte("# UNCONFIGURED FSTAB FOR BASE SYSTEM\n")); err != nil {
		return err
	}
	return v.WriteFile(dpkg.Dir+"/arch", 0o644, []byte(nativeArch+"\n"))
}

// mergeUsr makes the links of a merged /usr if the base has it.
func mergeUsr(v *tree.View, base []*loaded) error {
	if !slices.ContainsFunc(base, func(x *loaded) bool { return slices.Contains(mergedPackages[:], x.Name) }) {
		return nil
	}
	for _, d := range mergedDirs {
		if err := v.Mkdir("usr/"+d, 0o755, 0, 0); err != nil {
			return err
		}
		n := &tree.Node{Entry: squashfs.Entry{Path: d, Mode: fs.ModeSymlink | 0o777, Link: "usr/" + d}}
		if _, err := v.Put(n, ""); err != nil {
			return err
		}
	}
	return nil
}

// makeAll makes a folder and those above it.
func makeAll(v *tree.View, name string) error {
	if _, err := v.Place(name); err != nil {
		return err
	}
	return v.Mkdir(name, 0o755, 0, 0)
}

// devices are the entries of /dev that a tree has when nothing is mounted there
// (FHS 3.0, 6.1.3), as mmdebstrap makes them. They are never on the build's
// disk, where an ordinary user could not make them.
func devices(epoch int64) []tree.Node {
	var list []tree.Node
	add := func(name string, mode fs.FileMode, major, minor uint32, link string) {
		list = append(list, tree.Node{Entry: squashfs.Entry{
			Path: "dev/" + name, Mode: mode, Major: major, Minor: minor, Link: link, ModTime: epoch,
		}})
	}
	const char = fs.ModeDevice | fs.ModeCharDevice | 0o666
	for _, d := range []struct {
		name         string
		major, minor uint32
	}{{"console", 5, 1}, {"full", 1, 7}, {"null", 1, 3}, {"ptmx", 5, 2}, {"random", 1, 8}, {"tty", 5, 0}, {"urandom", 1, 9}, {"zero", 1, 5}} {
		add(d.name, char, d.major, d.minor, "")
	}
	for name, link := range map[string]string{"fd": "", "stdin": "/0", "stdout": "/1", "stderr": "/2"} {
		add(name, fs.ModeSymlink|0o777, 0, 0, "/proc/self/fd"+link)
	}
	add("pts", fs.ModeDir|0o755, 0, 0, "")
	add("shm", fs.ModeDir|0o755, 0, 0, "")
	return list
}

// reuseBase takes the base's nodes from their file, and its tree from the cache
// or out of the layer.
func (w *worker) reuseBase(ctx context.Context, s *stack) error {
	b, err := readNodes(w.Nodes)
	if err != nil {
		return err
	}
	w.epoch = b.Epoch
	for i := range b.Nodes {
		s.merged[b.Nodes[i].Path] = &b.Nodes[i]
	}
	s.sealedLayers = 1
	close(s.baseReady)
	s.lower = []string{w.Tree}
	if _, err := os.Lstat(w.Tree); err == nil {
		kept.Touch(w.Tree)
		return nil
	}
	// On the disk, although memory would be faster: here it is kept, and the
	// builds after this one find it.
	w.restored = w.disk(treePlace)
	s.lower = []string{w.restored}
	return w.restore(ctx, b.Nodes)
}

// readNodes reads what is kept of a base beside its layer.
func readNodes(name string) (b baseNodes, err error) {
	f, err := os.Open(name)
	if err != nil {
		return b, fmt.Errorf("read base: %w", err)
	}
	defer f.Close()
	if err := gob.NewDecoder(bufio.NewReader(f)).Decode(&b); err != nil {
		return b, fmt.Errorf("read base: %s: %w", name, err)
	}
	return b, nil
}

// restore unpacks the base's layer into the folder w.restored.
func (w *worker) restore(ctx context.Context, nodes []tree.Node) error {
	f, err := os.Open(w.Base)
	if err != nil {
		return fmt.Errorf("restore base: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return fmt.Errorf("restore base: %w", err)
	}
	r, err := squashfs.NewReader(f, st.Size())
	if err != nil {
		return fmt.Errorf("restore base: %w", err)
	}
	stage := w.disk("stage/base")
	for _, d := range []string{stage, w.restored} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("restore base: %w", err)
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for part := range runtime.NumCPU() {
		g.Go(func() error { return stagePart(ctx, r, nodes, stage, part) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("restore base: %w", err)
	}
	v := tree.NewView(w.sb, w.restored)
	for i := range nodes {
		n := nodes[i]
		if len(n.Path) > 4 && n.Path[:4] == "dev/" {
			continue
		}
		if _, err := v.Put(&n, stage+"/"+strconv.Itoa(i)); err != nil {
			return fmt.Errorf("restore base: %w", err)
		}
	}
	return nil
}

// stagePart stages every n-th file, n being the number of cores.
func stagePart(ctx context.Context, r *squashfs.Reader, nodes []tree.Node, stage string, part int) error {
	for i := part; i < len(nodes); i += runtime.NumCPU() {
		n := &nodes[i]
		if !n.Regular() || n.Hardlink != "" {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		in, err := r.Open(n.Path)
		if err != nil {
			return err
		}
		out, err := tree.Stage(stage+"/"+strconv.Itoa(i), n)
		if err != nil {
			return errors.Join(err, in.Close())
		}
		_, err = io.Copy(out, in)
		if err := errors.Join(err, in.Close(), out.Close()); err != nil {
			return err
		}
	}
	return nil
}

// packages unpacks and configures what lies over the base and seals it.
func (w *worker) packages(ctx context.Context, l *loader, s *stack) error {
	if len(l.rest) == 0 && len(w.Environment.Sources) == 0 {
		return nil
	}
	if err := wait(ctx, l.rest); err != nil {
		return err
	}
	p := w.newPhase(l.rest, s.lower, w.path("packages"))
	if err := os.MkdirAll(p.upper, 0o755); err != nil {
		return fmt.Errorf("make tree: %w", err)
	}
	var err error
	if p.configured, err = p.configuredBelow(); err != nil {
		return err
	}
	if err := w.sources(p.view()); err != nil {
		return err
	}
	if len(l.rest) > 0 {
		if err := p.install(ctx); err != nil {
			return err
		}
	}
	env := w.Environment
	env.Files, env.Steps = nil, nil
	w.watch.Tell(ore.Event{Stage: "configure", Final: true})
	return s.seal(ctx, p, env.Key())
}
