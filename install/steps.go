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
	graph *graph.Graph
	lower []string    // host folders below the steps
	below *layer.Tree // the tree there
	done  []finished
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
	r := &stepper{worker: w, graph: g, lower: s.lower, below: s.tree.Clone()}
	for i := range w.Environment.Steps {
		f, err := r.step(ctx, i)
		if err != nil {
			return err
		}
		r.done = append(r.done, f)
	}
	w.watch.Tell(ore.Event{Stage: "steps", Text: "done", Final: true}) // what they took is learned by this
	for _, f := range r.done {
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
		return f, err
	case err == nil && r.inTheWay(i, f) == "":
		return f, nil
	case err != nil && !errors.As(err, &failed):
		return f, err
	}
	r.graph.SeeAll(i)
	return r.result(ctx, i)
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
	lower, below := slices.Clone(r.lower), r.below.Clone()
	for _, j := range r.graph.Seen(i) {
		lower = append(lower, r.done[j].dir)
		for _, c := range r.done[j].changes {
			below.Put(c)
		}
	}
	place := filepath.Join(filepath.Dir(r.Tree), "step-"+string(r.graph.Key(i)))
	p := r.newPhase(nil, lower, r.disk(fmt.Sprintf("step-%d", i)))
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
		var err error
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
