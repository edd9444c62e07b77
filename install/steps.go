package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"ore"
	"ore/install/graph"
	"ore/install/guard"
	"ore/install/kept"
	"ore/install/layer"
	"ore/install/normal"
	"ore/install/output"
	"ore/install/sandbox"
)

// stepper runs the steps of an environment.
type stepper struct {
	*worker
	graph  *graph.Graph
	before            // what is below the steps
	from   *upon      // the image that has run some of them; nil for none
	done   []finished // of those that it has run the zero value
}

// before is what steps run over.
type before struct {
	lower []string // host folders
	tree  *layer.Tree
}

// upon is an image that has run steps.
type upon struct {
	before
	after   *graph.After
	changes layer.Changes // that its steps made
}

// finished is a step's folder and what it changed.
type finished struct {
	dir     string
	changes layer.Changes
}

// steps runs the environment's steps in the order of the lock and seals what
// they did as one layer. Each sees only what it needs (package graph), unless
// that is not enough for it or it gets in another one's way: then it sees all
// steps before it.
func (w *worker) steps(ctx context.Context, s *stack) error {
	if len(w.Environment.Steps) == 0 {
		return nil
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	g, err := graph.New(w.Environment)
	if err != nil {
		return err
	}
	r := &stepper{worker: w, graph: g, before: before{s.lower, s.tree.Clone()}}
	if w.From != nil && w.From.Made {
		if err := r.goOn(s.bare); err != nil {
			return err
		}
	}
	for i := range w.Environment.Steps {
		var f finished // that the image has run
		if r.from == nil || !r.from.after.Ran(i) {
			if f, err = r.step(ctx, i); err != nil {
				return err
			}
		}
		r.done = append(r.done, f)
	}
	w.watch.Tell(ore.Event{Stage: "steps", Text: "done", Final: true}) // what they took is learned by this
	s.apart = r.graph.Apart()
	for _, f := range r.done {
		if f.dir == "" {
			continue
		}
		for _, c := range f.changes {
			s.tree.Put(c)
		}
		s.lower = append(slices.Clone(s.lower), f.dir)
	}
	return s.seal(ctx, w.Environment.Key())
}

// step runs step i, first with what it needs, then with all that was before.
func (r *stepper) step(ctx context.Context, i int) (finished, error) {
	f, err := r.result(ctx, i)
	var failed *sandbox.ExitError
	switch {
	case !r.graph.Alone(i):
		return f, r.after(i, f, err)
	case err == nil && r.inTheWay(i, f) == "":
		if no := r.after(i, f, nil); no == nil || !r.from.after.Last(i) {
			return f, no
		}
	case err != nil && !errors.As(err, &failed):
		return f, err
	}
	r.graph.SeeAll(i)
	f, err = r.result(ctx, i)
	return f, r.after(i, f, err)
}

// goOn has the steps go on upon the image that is started from.
func (r *stepper) goOn(bare *before) error {
	after, why := r.graph.After(r.From.Steps, r.From.Apart)
	if why != "" {
		return &refusal{why}
	}
	r.from = &upon{before: r.before, after: after}
	if r.from.changes = r.tree.Since(bare.tree); after.Beside() {
		r.before = *bare
	}
	return nil
}

// after refuses a result that gets in the way of steps that were run before and that it
// does not see: one of these, or this one, would see more in a build from nothing. err
// is that of the step.
func (r *stepper) after(i int, f finished, err error) error {
	if err != nil || r.from == nil {
		return err
	}
	if all, _ := r.from.after.Sees(i); all {
		return nil
	}
	if name := layer.Collide(r.from.changes, f.changes); name != "" {
		return &refusal{fmt.Sprintf("step %s and those that it has run are in each other's way at /%s", r.Environment.Steps[i].Name, name)}
	}
	return nil
}

// seen returns what is below step i: that of all that the image has run, or none of it,
// and over that the folders of the other steps that it sees.
func (r *stepper) seen(i int) (lower, over []string, below *layer.Tree, err error) {
	b := r.before
	if r.from != nil {
		all, ok := r.from.after.Sees(i)
		if !ok {
			return nil, nil, nil, &refusal{fmt.Sprintf("step %s would see some of the steps that it has run, and not all", r.Environment.Steps[i].Name)}
		}
		if all {
			b = r.from.before
		}
	}
	below = b.tree.Clone()
	for _, j := range r.graph.Seen(i) {
		if r.done[j].dir == "" {
			continue // it is in b
		}
		over = append(over, r.done[j].dir)
		for _, c := range r.done[j].changes {
			below.Put(c)
		}
	}
	return b.lower, over, below, nil
}

// inTheWay returns a name where the step collides with one that it did not see.
func (r *stepper) inTheWay(i int, f finished) string {
	seen := r.graph.Seen(i)
	for j, other := range r.done {
		if !slices.Contains(seen, j) {
			if name := layer.Collide(other.changes, f.changes); name != "" {
				return name
			}
		}
	}
	return ""
}

// result returns the step's result: one that was kept, or it runs the step and
// keeps what it did, so that a build that fails later need not repeat it.
func (r *stepper) result(ctx context.Context, i int) (finished, error) {
	step, steps := r.Environment.Steps[i], int64(len(r.Environment.Steps))
	lower, over, below, err := r.seen(i)
	if err != nil {
		return finished{}, err
	}
	place, err := kept.Step(filepath.Dir(r.Tree), string(r.graph.Key(i))+r.From.Below(), over)
	if err != nil {
		return finished{}, err
	}
	p := r.newPhase(nil, slices.Concat(lower, over), r.disk(fmt.Sprintf("step-%d", i)))
	if _, err := os.Lstat(place); err == nil {
		r.watch.Tell(ore.Event{Stage: "steps", Text: step.Name + ": done before", Done: int64(i) + 1, Total: steps})
		p.upper, p.marks.Dir = place, place
		kept.Touch(place)
	} else {
		// Many say nothing themselves. What one takes is told by the numbers: any line of
		// output may be the name of a step.
		r.watch.Tell(ore.Event{Stage: "steps", Text: step.Name, Done: int64(i), Total: steps})
		if err := p.run(ctx, step); err != nil {
			return finished{}, err
		}
		if p.upper, err = kept.Keep(p.upper, place, r.Owners); err != nil {
			return finished{}, err
		}
		p.marks.Dir = p.upper
	}
	list, err := p.marks.Changes(below)
	if err != nil {
		return finished{}, fmt.Errorf("step %s: %w", step.Name, err)
	}
	return finished{dir: p.upper, changes: list}, nil
}

// run runs a step with /bin/sh -e. It may install packages itself, so
// policy-rc.d forbids services. start-stop-daemon is the real one: a step that
// asks dpkg whether all is as it should be is to hear that it is.
func (p *phase) run(ctx context.Context, step ore.Step) error {
	// A step that failed with what it needs runs a second time in a new folder.
	for _, dir := range []string{p.upper, p.work} {
		if err := sandbox.Remove(ctx, dir); err != nil {
			return fmt.Errorf("step %s: %w", step.Name, err)
		}
	}
	return p.mounted(func() error {
		err := guard.Policy(p.root, func() error {
			out := &output.Lines{Watch: p.watch, Stage: "steps"}
			err := p.sb.Run(ctx, sandbox.Command{
				Root: p.root, Args: []string{"/bin/sh", "-e", "-c", step.Run}, Env: p.environment(),
				Stdout: out, Stderr: out, Network: step.Network,
			})
			if err != nil {
				return fmt.Errorf("step %s: %w", step.Name, out.Explain(err))
			}
			return nil
		})
		if err != nil {
			return err
		}
		return normal.Normalise(p.root)
	})
}
