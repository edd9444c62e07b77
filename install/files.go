package install

import (
	"context"
	"fmt"
	"os"

	"ore"
	"ore/install/files"
)

// files puts the environment's files over the tree, all of them root's, and
// seals them.
func (w *worker) files(ctx context.Context, s *stack) error {
	if len(w.Environment.Files) == 0 {
		return nil
	}
	p := w.newPhase(nil, s.lower, w.disk("files"))
	if err := os.MkdirAll(p.upper, 0o755); err != nil {
		return fmt.Errorf("add files: %w", err)
	}
	put := files.Putter{View: p.view(), Sources: w.Files, Staged: w.disk("file"), Epoch: w.epoch}
	for i, f := range w.Environment.Files {
		w.watch.Tell(ore.Event{Stage: "files", Text: f.Path, Done: int64(i), Total: int64(len(w.Environment.Files))})
		if err := put.Put(f); err != nil {
			return fmt.Errorf("add file %s: %w", f.Path, err)
		}
	}
	env := w.Environment
	env.Steps = nil
	if err := s.lay(ctx, p); err != nil {
		return err
	}
	return s.seal(ctx, env.Key())
}
