package install

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sync/errgroup"

	"ore"
	"ore/deb/archive"
	"ore/install/exact"
	"ore/install/kept"
	"ore/install/layer"
	"ore/install/load"
	"ore/install/pack"
	"ore/install/sandbox"
	"ore/install/sandbox/instead"
	"ore/install/tree"
	"ore/install/wire"
)

// Sandbox is what the worker needs of the place that it works in. The real one
// is [sandbox.Sandbox]; its methods may be called concurrently.
type Sandbox interface {
	tree.Owners
	// Overlay mounts the folders lower, lowest first, with upper over them, at
	// target. The returned function unmounts it.
	Overlay(lower []string, upper, work, target string) (unmount func() error, err error)
	// Run runs a program in a tree and returns when it and all that it left
	// behind have ended. An error that matches *sandbox.ExitError means that
	// the program did not succeed.
	Run(ctx context.Context, c sandbox.Command) error
}

var _ Sandbox = (*sandbox.Sandbox)(nil)

// worker is one build inside the sandbox.
type worker struct {
	wire.Order
	sb    Sandbox
	say   *wire.Speaker
	watch ore.Watcher
	epoch int64 // the newest time in the base's packages

	loading *load.Loader
	others  instead.Set // what stands in for programs over the base
	python  compilation // whose stand-in is among them
	sets    exact.Sets  // the packages of the image that is started from and of the environment

	restored string // the base's tree if this build unpacked it from its layer
	scratch  string // where trees are made: in memory, or Work itself
}

// spareThreads are the threads that may run Go code beyond one a core. Decoding
// keeps every core busy for seconds, and the Go scheduler takes turns of 10 ms;
// with threads to spare it is the kernel that shares the cores, which lets what
// has waited long run at once: the goroutine that starts the next script.
const spareThreads = 4

// Worker does the work of a build inside a sandbox that a [Builder] spawned: it
// reads the order from in and writes messages to out. The command line that
// leads here is the Builder's Args.
func Worker(ctx context.Context, in io.Reader, out io.Writer) error {
	say := wire.NewSpeaker(out)
	done, err := work(ctx, in, say)
	var no *refusal
	if errors.As(err, &no) {
		return say.Say(wire.Message{Refused: no.why})
	}
	if err != nil {
		return say.Say(wire.Failed(err))
	}
	return say.Say(wire.Message{Done: done})
}

func work(ctx context.Context, in io.Reader, say *wire.Speaker) (_ *layer.Outcome, err error) {
	w := &worker{say: say, watch: say.Watch()}
	if err := json.NewDecoder(in).Decode(&w.Order); err != nil {
		return nil, fmt.Errorf("read order: %w", err)
	}
	sb, err := sandbox.Enter(sandbox.Options{Owners: w.Owners})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sb.Close()) }()
	w.sb = sb
	runtime.GOMAXPROCS(runtime.NumCPU() + spareThreads)
	var debs int64
	for _, p := range w.Environment.Packages {
		debs += p.Size
	}
	w.scratch = w.disk("memory")
	// What is to be moved to a disk is made there.
	ok := w.Into == ""
	if ok {
		if ok, err = tree.Memory(w.scratch, debs); err != nil {
			return nil, err
		}
	}
	if !ok {
		w.scratch = w.Work
	}
	return w.build(ctx)
}

// build is the way of a build, as the package's documentation has it.
func (w *worker) build(ctx context.Context) (*layer.Outcome, error) {
	g, gctx := errgroup.WithContext(ctx)
	l, err := w.loader()
	if err != nil {
		return nil, err
	}
	defer l.Close()
	defer w.python.close()
	g.Go(func() error { return l.Run(gctx) })
	s := &stack{worker: w, tree: layer.New(), baseReady: make(chan struct{})}
	g.Go(func() error { return w.phases(gctx, g, l, s) })
	if err := g.Wait(); err != nil {
		return nil, err
	}
	done, err := s.whole()
	if err != nil {
		return nil, err
	}
	if w.Into != "" {
		return done, s.move(ctx)
	}
	return done, w.keepTree()
}

// loader returns what loads the packages that this build must unpack.
func (w *worker) loader() (*load.Loader, error) {
	packs, err := pack.Open(w.Packs, w.Options, new(archive.Decoders).Decode)
	if err != nil {
		return nil, err
	}
	w.loading, err = load.New(load.Options{
		Packages: w.Environment.Packages, Debs: w.Debs, Packs: packs, Dir: w.path("stage"), Watch: w.watch,
		Skip: func(p ore.Package) bool {
			return p.Base && w.Base != "" || w.From != nil && exact.Has(w.From.Packages, p)
		},
	})
	if err != nil {
		return nil, err
	}
	if w.From != nil && w.From.Made {
		return w.loading, nil // no package comes
	}
	return w.loading, w.python.prepare(w, packs)
}

// phases goes through the phases; sealing the base runs beside the others.
func (w *worker) phases(ctx context.Context, g *errgroup.Group, l *load.Loader, s *stack) error {
	if err := w.base(ctx, g, l, s); err != nil {
		return err
	}
	if err := w.start(ctx, s); err != nil {
		return err
	}
	if w.From == nil || !w.From.Made {
		if w.Base != "" {
			w.python.start(ctx, g, s.lower)
		}
		if err := w.packages(ctx, l, s); err != nil {
			return w.orRefuse(err)
		}
		if err := w.files(ctx, s); err != nil {
			return err
		}
	}
	if err := w.steps(ctx, s); err != nil {
		return err
	}
	return s.ready(ctx)
}

// path names a file or folder of this build that only the worker sees.
func (w *worker) path(name string) string { return filepath.Join(w.scratch, name) }

// disk names one that the builder sees, too, or that may grow large.
func (w *worker) disk(name string) string { return filepath.Join(w.Work, name) }

// treePlace is where the base's tree lies in a build that makes it.
const treePlace = "tree"

// keepTree gives a base's tree that is on the disk its place in the cache,
// unless another build was faster. The tree is whole: all that reads it is over.
func (w *worker) keepTree() error {
	made := w.restored
	if made == "" {
		made = w.path(treePlace)
		if w.scratch != w.Work {
			return nil // it goes with the memory
		}
	}
	if _, err := os.Lstat(w.Tree); err == nil {
		return nil
	}
	_, err := kept.Keep(made, w.Tree, w.Owners)
	return err
}
