package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sync/errgroup"

	"ore"
	"ore/deb/control"
	"ore/install/bytecode"
	"ore/install/dpkg"
	"ore/install/layer"
	"ore/install/load"
	"ore/install/output"
	"ore/install/pack"
	"ore/install/sandbox"
	"ore/install/sandbox/instead"
	"ore/install/skeleton"
)

// compilation is what the scripts of a Python have compiled, which is done beside
// all else.
type compilation struct {
	*worker
	bytecode.Python // "" for none
	instead         *bytecode.StandIn
	packs           *pack.Store // of what packages brought
	compiled        *pack.Store // of what came of calls
	kept            *pack.Pack  // that of these calls, once done is closed; nil for none
	calls           []bytecode.Call
	lower           []string      // of the tree that the compiler runs in
	done            chan struct{} // closed when all is over
}

// prepare finds the Python over the base, if there is one, lets a stand-in for it
// wait, and has loaded first what the compiler needs.
func (c *compilation) prepare(w *worker, packs *pack.Store) (err error) {
	c.Python = bytecode.Find(w.loading.Names())
	if c.Python == "" {
		return nil
	}
	c.worker, c.packs, c.done = w, packs, make(chan struct{})
	if c.instead, err = c.StandIn(w.path("standin"), w.path("lent")); err != nil {
		return err
	}
	w.others.Programs = append(w.others.Programs, c.instead.Programs[:]...)
	w.others.Lend = w.path("lent")
	if c.compiled, err = pack.Open(w.Compiled, w.Options, nil); err != nil {
		return err
	}
	if c.kept, err = c.compiled.Find(c.key()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, x := range c.loading.Rest {
		if x.Head == nil { // it is loaded at once, and may be needed
			c.loading.Hasten(x)
		}
	}
	needs, err := c.closure(func(x *load.Package) (*dpkg.Package, error) { return x.Head, nil })
	if err != nil {
		return err
	}
	for _, x := range needs {
		err = errors.Join(err, c.want(x, bytecode.Needed))
	}
	for _, o := range c.Origins() {
		err = errors.Join(err, c.want(c.loading.Get(o.From), o.Module), c.want(c.loading.Get(o.By), nil))
	}
	return err
}

// close frees what was kept. Nothing runs any more.
func (c *compilation) close() {
	if c.kept != nil {
		c.kept.Close() // it was only read
	}
}

// want has files of x, which may be nil, staged for the compiler.
func (c *compilation) want(x *load.Package, files func(string) bool) error {
	if x == nil || x.Twice != nil {
		return nil
	}
	c.loading.Hasten(x)
	if x.Head == nil || files == nil {
		return nil
	}
	x.Twice = files
	if err := os.Mkdir(x.Again(), 0o755); err != nil {
		return fmt.Errorf("compile: %w", err)
	}
	return nil
}

// start has the modules compiled in a tree over lower.
func (c *compilation) start(ctx context.Context, g *errgroup.Group, lower []string) {
	if c.Python == "" {
		return
	}
	c.lower = lower
	g.Go(func() error {
		defer close(c.done)
		defer c.instead.Close() // now nothing waits for it
		if err := c.run(ctx); err != nil && ctx.Err() == nil {
			// Then the interpreter itself runs, and says what is wrong.
			c.watch.Tell(ore.Event{Stage: "configure", Text: err.Error()})
		}
		return ctx.Err()
	})
}

// run lays out what was kept, or has it compiled.
func (c *compilation) run(ctx context.Context) (err error) {
	if c.kept == nil {
		return c.make(ctx)
	}
	if c.calls, err = c.Kept(c.kept); err != nil {
		return err
	}
	if err := c.instead.Calls(c.calls); err != nil {
		return err
	}
	for i, call := range c.calls {
		if err := c.instead.Lay(i, call); err != nil {
			return err
		}
	}
	return nil
}

// place notes in placed which files of a tree are in the pack of what was compiled,
// so that a layer need not compress them again.
func (c *compilation) place(ctx context.Context, placed map[string]layer.Source) error {
	if c.Python == "" {
		return nil
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	if c.kept == nil {
		return nil
	}
	for i, n := range c.kept.Nodes {
		n.ModTime = c.epoch
		placed[n.Path] = layer.Source{Node: n, Pack: c.kept, Index: i, Rank: len(c.Environment.Packages)}
	}
	return nil
}

// key names what the compiled modules depend on: the packages that have the
// interpreter and the modules, and which of them this build unpacks.
func (c *compilation) key() ore.Digest {
	key := string(c.Environment.BaseOnly().Key())
	for _, o := range c.Origins() {
		for _, name := range []string{o.From, o.By} {
			for _, p := range c.Environment.Packages {
				if p.Name == name {
					key += fmt.Sprintf("\n%s %t", p.Digest, c.loading.Get(name) != nil)
				}
			}
		}
	}
	return ore.DigestOf([]byte(key))
}

// make compiles what the scripts of this build's packages will have compiled, in
// a tree of the interpreter, what it needs, and the modules.
func (c *compilation) make(ctx context.Context) error {
	needs, err := c.closure(func(x *load.Package) (*dpkg.Package, error) {
		err := load.Wait(ctx, x)
		return x.Package, err
	})
	if err != nil {
		return err
	}
	sources := map[*load.Package]*bytecode.Source{}
	for _, x := range needs {
		sources[x] = c.source(x, bytecode.Needed)
	}
	for _, o := range c.Origins() {
		from, by := c.loading.Get(o.From), c.loading.Get(o.By)
		if from == nil || by == nil {
			continue
		}
		if err := load.Wait(ctx, from, by); err != nil {
			return err
		}
		if !o.Asks(from.Pack, by.Pack) {
			continue
		}
		if call := o.Call(from.Nodes); len(call.Files) > 0 {
			c.calls = append(c.calls, call)
		}
		if sources[from] == nil {
			sources[from] = c.source(from, o.Module)
		}
	}
	if len(c.calls) == 0 {
		return nil
	}
	if err := errors.Join(c.instead.Calls(c.calls), c.compile(ctx, sources)); err != nil {
		return err
	}
	c.kept, err = bytecode.Keep(c.compiled, c.key(), c.calls)
	return err
}

// source is what the compiler gets of a package.
func (c *compilation) source(x *load.Package, files func(string) bool) *bytecode.Source {
	return &bytecode.Source{
		Digest: x.Pack.Digest, Deb: c.Debs[x.Rank], Nodes: x.Nodes,
		Wants: files, Stage: x.Again(), Staged: x.Twice != nil,
	}
}

// closure returns the interpreter's package and all that it needs, as far as this
// build unpacks them. What know knows nothing of is left out.
func (c *compilation) closure(know func(*load.Package) (*dpkg.Package, error)) ([]*load.Package, error) {
	var needs []*load.Package
	seen := map[string]bool{}
	for queue := []string{c.Minimal()}; len(queue) > 0; queue = queue[1:] {
		x := c.loading.Get(queue[0])
		if x == nil || seen[x.Asked.Name] {
			continue
		}
		seen[x.Asked.Name] = true
		p, err := know(x)
		if err != nil {
			return nil, err
		}
		if p == nil {
			continue
		}
		needs = append(needs, x)
		for _, field := range []string{"Pre-Depends", "Depends"} {
			groups, err := control.Relations(p.Paragraph.Get(field))
			if err != nil {
				return nil, fmt.Errorf("%s of %s: %w", field, x.Asked.Name, err)
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

// compile makes the calls, one after the other, in a tree of the sources alone, over lower.
func (c *compilation) compile(ctx context.Context, sources map[*load.Package]*bytecode.Source) (err error) {
	t := c.newPhase(nil, c.lower, c.path("python"))
	if err := os.MkdirAll(t.upper, 0o755); err != nil {
		return fmt.Errorf("compile: %w", err)
	}
	v := t.view()
	if !t.overlaid() {
		if err := skeleton.MergeUsr(v, load.Controls(c.loading.Base)); err != nil {
			return err
		}
	}
	for _, x := range c.loading.All { // in the order of the environment
		if s := sources[x]; s != nil {
			if err := s.Fill(ctx, v, c.packs); err != nil {
				return fmt.Errorf("%s: %w", x.Asked.Name, err)
			}
		}
	}
	if err := t.mount(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.unmount()) }()
	// What is made there no script sees, or changes, before it has been read.
	made := c.path("made")
	run := func(ctx context.Context, args []string, said io.Writer) error {
		out := &output.Lines{Stage: "configure"}
		err := c.sb.Run(ctx, sandbox.Command{
			Root: t.root, Args: args, Env: c.environment(), Stdout: said, Stderr: out, Instead: instead.Set{Lend: made},
		})
		if err != nil {
			return fmt.Errorf("%w: %s", err, out.Tail())
		}
		return nil
	}
	return c.Make(ctx, made, c.calls, run, func(i int) error { return c.instead.Adopt(i, bytecode.Folder(made, i)) })
}
