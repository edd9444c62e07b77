package install

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"ore"
	"ore/install/guard"
	"ore/install/normal"
	"ore/install/sandbox"
	"ore/install/tree"
	"ore/squashfs"
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
	v := p.view()
	for i, f := range w.Environment.Files {
		w.watch.Tell(ore.Event{Stage: "files", Text: f.Path, Done: int64(i), Total: int64(len(w.Environment.Files))})
		if err := w.file(v, f); err != nil {
			return fmt.Errorf("add file %s: %w", f.Path, err)
		}
	}
	env := w.Environment
	env.Steps = nil
	return s.seal(ctx, p, env.Key())
}

// file puts one file. A folder that exists is kept and gets the mode asked for.
func (w *worker) file(v *tree.View, f ore.LockedFile) error {
	name := strings.TrimPrefix(f.Path, "/")
	n := &tree.Node{Entry: squashfs.Entry{Path: name, Mode: tree.GoMode(f.Mode), Size: f.Size, ModTime: w.epoch}}
	switch f.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return v.Mkdir(name, f.Mode&0o7777, 0, 0)
	case unix.S_IFLNK:
		n.Mode, n.Link = fs.ModeSymlink|fs.ModePerm, f.Link
		_, err := v.Put(n, "")
		return err
	}
	src, ok := w.Files[f.Digest]
	if !ok {
		return fmt.Errorf("its content %s was not given", f.Digest.Short())
	}
	staged := w.disk("file")
	if err := stageFile(staged, src, n); err != nil {
		return err
	}
	sum, err := hashFile(staged)
	if err != nil {
		return err
	}
	if got := ore.NewDigest(sum); got != f.Digest {
		return fmt.Errorf("%s changed since it was locked: resolve again", src)
	}
	_, err = v.Put(n, staged)
	return err
}

func stageFile(staged, src string, n *tree.Node) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := tree.Stage(staged, n)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	if err := os.WriteFile(to, b, 0o644); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	return nil
}

func isNotEmpty(err error) bool { return errors.Is(err, unix.ENOTEMPTY) }

// steps runs the environment's steps one after the other, in the order of the
// lock, which is one of their graph, and seals what they did as one layer.
func (w *worker) steps(ctx context.Context, s *stack) error {
	if len(w.Environment.Steps) == 0 {
		return nil
	}
	p := w.newPhase(nil, s.lower, w.disk("steps"))
	err := p.mounted(func() error {
		for _, step := range w.Environment.Steps {
			if err := p.step(ctx, step); err != nil {
				return err
			}
		}
		return normal.Normalise(p.root)
	})
	if err != nil {
		return err
	}
	return s.seal(ctx, p, w.Environment.Key())
}

// step runs one step with /bin/sh -e. It may install packages itself, so
// policy-rc.d forbids services. start-stop-daemon is the real one: a step that
// asks dpkg whether all is as it should be is to hear that it is.
func (p *phase) step(ctx context.Context, step ore.Step) error {
	return guard.Policy(p.root, func() error {
		out := &lines{watch: p.watch, stage: "steps"}
		err := p.sb.Run(ctx, sandbox.Command{
			Root: p.root, Args: []string{"/bin/sh", "-e", "-c", step.Run}, Env: p.environment(),
			Stdout: out, Stderr: out, Network: step.Network,
		})
		if err != nil {
			return fmt.Errorf("step %s: %w: the output ends with:\n%s", step.Name, err, out.tail())
		}
		return nil
	})
}
