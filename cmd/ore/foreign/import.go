// Package foreign is the command import: it makes a job file of what another
// installer's files describe.
package foreign

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"ore/foreign"
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

FILE is a file, or a folder: FAI's configuration space (name the classes of the
machine with --class), or one of Lucie's files. The names of RPM packages become
Debian's by a table, which --map extends: lines of a name and Debian's names for it.`,
		Example: `  ore import kickstart anaconda-ks.cfg >job.yaml
  ore import fai /srv/fai/config --class DEFAULT,FAIBASE,CLUSTER >job.yaml`,
		Args:      cobra.ExactArgs(2),
		ValidArgs: foreign.Kinds(),
		RunE: func(c *cobra.Command, args []string) error {
			if !slices.Contains(foreign.Kinds(), args[0]) {
				return usage(fmt.Errorf("import %q: unknown kind: use kickstart, preseed, fai or lucie", args[0]))
			}
			return f.run(c.OutOrStdout(), c.ErrOrStderr(), args[0], args[1])
		},
	}
	c.Flags().StringVar(&f.table, "map", "", "`file` with names of RPM packages and Debian's for them")
	c.Flags().StringSliceVar(&f.classes, "class", nil, "FAI `classes` of the machine")
	return c
}

func (f flags) run(out, left io.Writer, kind, path string) error {
	r := foreign.Request{Kind: kind, Name: path, Classes: f.classes, Names: names.RPM()}
	if f.table != "" {
		t, err := os.Open(f.table)
		if err != nil {
			return fmt.Errorf("import: read table: %w: correct the path", err)
		}
		defer t.Close()
		if err := r.Names.Read(t, f.table); err != nil {
			return fmt.Errorf("import: %w", err)
		}
	}
	var err error
	if r.Sources, err = sources(path); err != nil {
		return err
	}
	res, err := foreign.Import(r)
	if err != nil {
		return err
	}
	for _, l := range res.Left {
		fmt.Fprintln(left, l)
	}
	_, err = out.Write(res.Job)
	return err
}

// sources reads a file, or all files of a folder in their order.
func sources(path string) ([]foreign.Source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("import: %w: correct the path", err)
	}
	if !info.IsDir() {
		s, err := source(path, path)
		return []foreign.Source{s}, err
	}
	var all []foreign.Source
	err = filepath.WalkDir(path, func(p string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		if len(all) == foreign.MaxFiles {
			return fmt.Errorf("%s: more than %d files: name the one that is meant", path, foreign.MaxFiles)
		}
		name, err := filepath.Rel(path, p)
		if err != nil {
			return err
		}
		s, err := source(p, filepath.ToSlash(name))
		all = append(all, s)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("import: %w", err)
	}
	return all, nil
}

// source reads a file as far as one may be long, and a byte, so that a longer
// one is refused.
func source(path, name string) (foreign.Source, error) {
	f, err := os.Open(path)
	if err != nil {
		return foreign.Source{}, fmt.Errorf("import: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, foreign.MaxFile+1))
	if err != nil {
		return foreign.Source{}, fmt.Errorf("import: %w", err)
	}
	return foreign.Source{Name: name, Data: b}, nil
}
