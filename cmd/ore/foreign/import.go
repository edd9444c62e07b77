// Package foreign is the command import: it makes a job file of what another
// installer's files describe.
package foreign

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/spf13/cobra"

	"ore/foreign"
	"ore/foreign/draft"
	"ore/foreign/names"
)

// flags are those of the command.
type flags struct {
	table   string
	classes []string
}

// Command returns the command import; usage marks an error as a fault in the
// words of the command line.
func Command(usage func(error) error) *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use:   "import kickstart|preseed|fai|lucie FILE",
		Short: "Make a job file of another installer's description",
		Long: `Make a job file of what another installer's description says about packages, disks,
users, scripts and the network. It goes to standard output; what could not be
carried over is listed on standard error, line by line, with the reason.

FILE is a file, - for standard input, or a folder: FAI's configuration space (name the
classes of the machine with --class), or one of Lucie's files. The names of RPM packages
become Debian's by a table, which --map extends: lines of a name and Debian's names for it.`,
		Example: `  ore import kickstart anaconda-ks.cfg >job.yaml
  ore import fai /srv/fai/config --class DEFAULT,FAIBASE,CLUSTER >job.yaml`,
		Args:      cobra.ExactArgs(2),
		ValidArgs: foreign.Kinds(),
		RunE: func(c *cobra.Command, args []string) error {
			if !slices.Contains(foreign.Kinds(), args[0]) {
				return usage(fmt.Errorf("import %q: unknown kind: use kickstart, preseed, fai or lucie", args[0]))
			}
			all, err := read(args[1], c.InOrStdin())
			if err != nil {
				return err
			}
			return f.run(c.OutOrStdout(), c.ErrOrStderr(), args[0], all)
		},
	}
	c.Flags().StringVar(&f.table, "map", "", "`file` with names of RPM packages and Debian's for them")
	c.Flags().StringSliceVar(&f.classes, "class", nil, "FAI `classes` of the machine")
	return c
}

func (f flags) run(out, left io.Writer, kind string, from space) error {
	r := foreign.Request{Kind: kind, Name: from.name, Sources: from.files, Classes: f.classes, Names: names.RPM()}
	if f.table != "" {
		t, err := os.Open(f.table)
		if err != nil {
			return fmt.Errorf("import: read table: %w", advised(err))
		}
		defer t.Close()
		if err := r.Names.Read(t, f.table); err != nil {
			return fmt.Errorf("import: %w", err)
		}
	}
	res, err := foreign.Import(r)
	if err != nil {
		return err
	}
	for _, l := range append(from.left, res.Left...) {
		fmt.Fprintln(left, l)
	}
	_, err = out.Write(res.Job)
	return err
}

// space is what was read, and what of a folder was not.
type space struct {
	name  string // for people
	files []foreign.Source
	left  []draft.Left
}

// standardInput is what is read from there, for people.
const standardInput = "standard input"

// read reads what the user named, from stdin for -.
func read(name string, stdin io.Reader) (space, error) {
	if name != "-" {
		all, err := sources(name)
		all.name = name
		return all, err
	}
	s, err := limited(standardInput, stdin)
	if err != nil {
		return space{}, fmt.Errorf("import: read %s: %w", standardInput, err)
	}
	return space{name: standardInput, files: []foreign.Source{s}}, nil
}

// sources reads a file, or all files of a folder in their order. A link counts as
// what it leads to, if that is a file of the folder: classes that have the same are
// commonly written that way.
func sources(name string) (space, error) {
	info, err := os.Stat(name)
	if err != nil {
		return space{}, fmt.Errorf("import: %w", advised(err))
	}
	if !info.IsDir() {
		s, err := source(name, name, os.Open)
		if err != nil {
			return space{}, fmt.Errorf("import: %w", advised(err))
		}
		return space{files: []foreign.Source{s}}, nil
	}
	root, err := os.OpenRoot(name)
	if err != nil {
		return space{}, fmt.Errorf("import: %w", advised(err))
	}
	defer root.Close()
	var all space
	err = fs.WalkDir(root.FS(), ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if len(all.files) == foreign.MaxFiles {
			return fmt.Errorf("%s: more than %d files: name the one that is meant", name, foreign.MaxFiles)
		}
		to, err := root.Stat(p) // which leads nowhere outside of the folder
		if err != nil || !to.Mode().IsRegular() {
			all.left = append(all.left, draft.Left{File: p, Line: 1, What: path.Base(p), Why: "it is neither a file nor a link to one of this folder: put a copy of what is meant in its place"})
			return nil
		}
		s, err := source(p, p, root.Open)
		all.files = append(all.files, s)
		return err
	})
	if err != nil {
		return space{}, fmt.Errorf("import: %w", advised(err))
	}
	return all, nil
}

// source reads a file.
func source(at, name string, open func(string) (*os.File, error)) (foreign.Source, error) {
	f, err := open(at)
	if err != nil {
		return foreign.Source{}, err
	}
	defer f.Close()
	return limited(name, f)
}

// limited reads as far as a file may be long, and a byte, so that a longer one is
// refused.
func limited(name string, f io.Reader) (foreign.Source, error) {
	b, err := io.ReadAll(io.LimitReader(f, foreign.MaxFile+1))
	return foreign.Source{Name: name, Data: b}, err
}

// advised says what to do about a file that cannot be read.
func advised(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w: have it made readable for you, or give a copy that is", err)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: correct the path", err)
	}
	return err
}
