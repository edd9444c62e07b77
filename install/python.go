package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"ore"
	"ore/deb/control"
	"ore/install/bytecode"
	"ore/install/output"
	"ore/install/sandbox"
	"ore/install/skeleton"
	"ore/install/tree"
)

// startPython has the modules of a Python over the base compiled beside all else,
// if there is one, and lets the stand-in for it wait for that.
func (w *worker) startPython(ctx context.Context, g *errgroup.Group, l *loader, lower []string) error {
	p := bytecode.Find(l.names())
	if p == "" {
		return nil
	}
	program, lock, err := p.StandIn(w.path("standin"), w.path("lent"))
	if err != nil {
		return err
	}
	w.others.Programs = append(w.others.Programs, program)
	w.others.Lend = w.path("lent")
	g.Go(func() error {
		defer lock.Close() // now the stand-in goes on
		if err := w.compile(ctx, p, l, lower); err != nil && ctx.Err() == nil {
			// Then the interpreter itself runs, and says what is wrong.
			w.watch.Tell(ore.Event{Stage: "configure", Text: err.Error()})
		}
		return ctx.Err()
	})
	return nil
}

// names lists the packages over the base.
func (l *loader) names() []string {
	var list []string
	for _, x := range l.rest {
		list = append(list, x.name)
	}
	return list
}

// compile finds what p's scripts have compiled, or has it compiled, and lays it out.
func (w *worker) compile(ctx context.Context, p bytecode.Python, l *loader, lower []string) error {
	needs, err := l.closure(ctx, p.Minimal(), "lib"+string(p)+"-stdlib", string(p))
	if err != nil {
		return err
	}
	var calls []bytecode.Call
	for _, s := range p.Sources() {
		from, by := needs[s[0]], needs[s[1]]
		if from == nil || by == nil || !p.Asks(by.Files["postinst"]) {
			continue
		}
		var names []string
		for i := range from.Nodes {
			names = append(names, from.Nodes[i].Path)
		}
		calls = append(calls, bytecode.Call{Files: p.Modules(names)})
	}
	if len(calls) == 0 {
		return nil
	}
	set := make([]*loaded, 0, len(needs))
	for _, x := range needs {
		set = append(set, x)
	}
	slices.SortFunc(set, func(a, b *loaded) int { return cmp.Compare(a.rank, b.rank) })
	key := string(w.Environment.BaseOnly().Key())
	for _, x := range set {
		if p := w.Environment.Packages[x.rank]; !p.Base {
			key += "\n" + string(p.Digest)
		}
	}
	store, place := bytecode.Store(w.Compiled), ore.Key(ore.DigestOf([]byte(key)).Hex())
	kept, err := store.Get(place)
	if errors.Is(err, fs.ErrNotExist) {
		if err = w.compileIn(ctx, compilation{p, calls, set}, lower, l); err == nil {
			kept, err = calls, store.Put(place, calls)
		}
	}
	if err != nil {
		return err
	}
	return bytecode.Lay(w.path("lent"), kept)
}

// closure loads the named packages and all that they need, as far as this build
// unpacks them.
func (l *loader) closure(ctx context.Context, names ...string) (map[string]*loaded, error) {
	byName := map[string]*loaded{}
	for _, x := range l.all {
		byName[x.name] = x
	}
	needs := map[string]*loaded{}
	for queue := names; len(queue) > 0; queue = queue[1:] {
		x := byName[queue[0]]
		if x == nil || needs[x.name] != nil {
			continue
		}
		if err := wait(ctx, []*loaded{x}); err != nil {
			return nil, err
		}
		needs[x.name] = x
		for _, field := range []string{"Pre-Depends", "Depends"} {
			groups, err := control.Relations(x.Paragraph.Get(field))
			if err != nil {
				return nil, fmt.Errorf("%s of %s: %w", field, x.name, err)
			}
			for _, group := range groups {
				for _, r := range group {
					queue = append(queue, r.Name)
				}
			}
		}
	}
	return needs, nil
}

// compilation is what one Python compiles, and the packages that it needs for it.
type compilation struct {
	bytecode.Python
	calls []bytecode.Call
	set   []*loaded
}

// compileIn makes the calls in a tree of the set alone, over lower.
func (w *worker) compileIn(ctx context.Context, c compilation, lower []string, l *loader) (err error) {
	t := w.newPhase(nil, lower, w.path("python"))
	if err := os.MkdirAll(t.upper, 0o755); err != nil {
		return fmt.Errorf("compile: %w", err)
	}
	v := t.view()
	if !t.overlaid() {
		if err := skeleton.MergeUsr(v, controls(l.base)); err != nil {
			return err
		}
	}
	for _, x := range c.set {
		if err := w.fill(ctx, v, x, l); err != nil {
			return fmt.Errorf("compile: %s: %w", x.name, err)
		}
	}
	if err := t.mount(); err != nil {
		return err
	}
	if t.overlaid() {
		defer func() { err = errors.Join(err, unix.Unmount(t.root, 0)) }()
	}
	return bytecode.Make(ctx, t.root, c.calls, func(ctx context.Context, files []string) error {
		out := &output.Lines{Stage: "configure"}
		err := w.sb.Run(ctx, sandbox.Command{Root: t.root, Args: c.Command(files), Env: w.environment(), Stdout: out, Stderr: out})
		if err != nil {
			return fmt.Errorf("%w: %s", err, out.Tail())
		}
		return nil
	})
}

// unneeded is what no compiler reads, and half of what a package has.
const unneeded = "usr/share/"

// fill puts the package's files into the tree, from its pack.
func (w *worker) fill(ctx context.Context, v *tree.View, x *loaded, l *loader) error {
	stage := w.path("stage/python-" + strconv.Itoa(x.rank))
	if err := os.MkdirAll(stage, 0o755); err != nil {
		return err
	}
	pk, err := l.packs.Get(ctx, x.pack.Digest, w.Debs[x.rank], func(i int, n *tree.Node) (io.WriteCloser, error) {
		if strings.HasPrefix(n.Path, unneeded) {
			return nil, nil
		}
		return tree.Stage(stage+"/"+strconv.Itoa(i), n)
	})
	if err != nil {
		return err
	}
	defer pk.Close()
	for i := range x.Nodes {
		n := x.Nodes[i]
		if strings.HasPrefix(n.Path, unneeded) || strings.HasPrefix(n.Hardlink, unneeded) {
			continue
		}
		if _, err := v.Put(&n, stage+"/"+strconv.Itoa(i)); err != nil {
			return err
		}
	}
	return nil
}
