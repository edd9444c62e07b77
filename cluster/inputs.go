package cluster

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sync/errgroup"
)

// staged is what goes into one folder of a machine.
type staged struct {
	dir   string
	files []string // host paths, each under its base name; folders whole
	links []string // names in the folder above that are linked in
}

// stageIn puts the job's inputs on all machines.
func (r *run) stageIn(ctx context.Context, machines map[string]Node) error {
	g, ctx := errgroup.WithContext(ctx)
	for name, n := range machines {
		g.Go(func() error {
			return r.put(ctx, n, name, staged{dir: JobDir, files: r.copies()})
		})
	}
	return g.Wait()
}

// copies are the inputs that each machine gets a copy of.
func (r *run) copies() []string {
	var all []string
	for _, in := range r.job.Run.Inputs {
		if in.Mount == "" {
			all = append(all, in.Source)
		}
	}
	return all
}

func (r *run) put(ctx context.Context, n Node, machine string, s staged) error {
	pr, pw := io.Pipe()
	var g errgroup.Group
	g.Go(func() error {
		err := s.write(pw)
		pw.CloseWithError(err)
		return err
	})
	err := n.Put(ctx, machine, s.dir, pr)
	pr.CloseWithError(errors.Join(err, io.ErrClosedPipe))
	if werr := g.Wait(); werr != nil && !errors.Is(werr, io.ErrClosedPipe) {
		err = werr
	}
	if err != nil {
		return fmt.Errorf("inputs of %s: %w", machine, err)
	}
	return nil
}

// write writes the folder as a tar stream.
func (s staged) write(w io.Writer) error {
	t := tar.NewWriter(w)
	for _, f := range s.files {
		if err := addTree(t, f, filepath.Base(f)); err != nil {
			return err
		}
	}
	for _, l := range s.links {
		h := &tar.Header{Typeflag: tar.TypeSymlink, Name: l, Linkname: path.Join("..", l), Mode: 0o777}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
	}
	return t.Close()
}

// addTree adds the host file or folder at p as name. The top of an input may be
// a symbolic link and is followed; links inside a folder stay links.
func addTree(t *tar.Writer, p, name string) error {
	top, err := filepath.EvalSymlinks(p)
	if err != nil {
		return err
	}
	return filepath.WalkDir(top, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, file)
		if err != nil {
			return err
		}
		return addOne(t, file, path.Join(name, filepath.ToSlash(rel)))
	})
}

func addOne(t *tar.Writer, file, name string) error {
	info, err := os.Lstat(file)
	if err != nil {
		return err
	}
	link := ""
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		if link, err = os.Readlink(file); err != nil {
			return err
		}
	case !info.Mode().IsRegular() && !info.IsDir():
		return fmt.Errorf("input %s: a %s: only files, folders and links can be sent", file, info.Mode().Type())
	}
	h, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	// Whose the file is on this host means nothing in the machine.
	h.Name, h.Uid, h.Gid, h.Uname, h.Gname, h.Format = name, 0, 0, "", "", tar.FormatPAX
	if err := t.WriteHeader(h); err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.CopyN(t, f, h.Size); err != nil {
		return fmt.Errorf("input %s: %w", file, err)
	}
	return nil
}
