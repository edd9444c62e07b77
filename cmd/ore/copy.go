package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"ore/cluster"
	"ore/guest"
	"ore/site"
)

func newCopy(a *app) *cobra.Command {
	var ranks string
	c := &cobra.Command{
		Use:   "cp SOURCE... DESTINATION",
		Short: "Copy files to or from kept machines",
		Long: `Copy files and folders to or from kept machines. A place on a machine is written
NAME:PATH; what is copied there goes to all machines, or those of --rank, into
the folder PATH. What is copied from a machine goes into DESTINATION if that is a
folder or ends with a slash, else it gets that name. From several machines, each
one's goes into a folder of DESTINATION.`,
		Example: "  ore cp data.csv bed:/job\n  ore cp --rank 1 bed:/var/log/syslog .",
		Args:    cobra.MinimumNArgs(2),
		RunE: a.withSite(func(ctx context.Context, s *site.Site, args []string) error {
			to := args[len(args)-1]
			from := args[:len(args)-1]
			name, dir, there := place(to)
			if there {
				return a.copyIn(ctx, s, name, dir, copySet{ranks: ranks, files: from})
			}
			if len(from) != 1 {
				return usageError{fmt.Errorf("cp: several sources from machines: copy them one by one")}
			}
			name, file, there := place(from[0])
			if !there {
				return usageError{fmt.Errorf("cp %s %s: neither is on a machine: write NAME:PATH", from[0], to)}
			}
			return a.copyOut(ctx, s, name, file, copySet{ranks: ranks, files: []string{to}})
		}),
	}
	c.Flags().StringVar(&ranks, "rank", "", "`ranks` such as 0 or 0,2-4; default: all to copy there, 0 to copy from")
	return c
}

// copySet is which machines and host files a copy is about.
type copySet struct {
	ranks string
	files []string
}

// place splits NAME:PATH. A path with a slash before the colon is the host's.
func place(s string) (name, file string, ok bool) {
	name, file, ok = strings.Cut(s, ":")
	return name, file, ok && name != "" && !strings.Contains(name, "/")
}

// openBed opens the kept machines called name.
func openBed(s *site.Site, name string) (bed, error) {
	r, err := s.Bed(name)
	if err != nil {
		return bed{}, err
	}
	n, err := s.Attach(r)
	return bed{n, r}, err
}

func (a *app) copyIn(ctx context.Context, s *site.Site, name, dir string, set copySet) error {
	b, err := openBed(s, name)
	if err != nil {
		return err
	}
	defer b.Close()
	machines, err := b.choose(ctx, set.ranks)
	if err != nil {
		return err
	}
	if dir == "" {
		dir = cluster.JobDir
	}
	for _, m := range machines {
		if err := cluster.PutFiles(ctx, b.Client, m, dir, set.files); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) copyOut(ctx context.Context, s *site.Site, name, file string, set copySet) error {
	b, err := openBed(s, name)
	if err != nil {
		return err
	}
	defer b.Close()
	ranks := set.ranks
	if ranks == "" {
		ranks = "0"
	}
	machines, err := b.choose(ctx, ranks)
	if err != nil {
		return err
	}
	if !path.IsAbs(file) {
		file = path.Join(cluster.JobDir, file)
	}
	file = path.Clean(file)
	for _, m := range machines {
		to := set.files[0]
		if len(machines) > 1 {
			to = filepath.Join(to, m) + "/"
		}
		if err := fetchFiles(ctx, b, m, file, to); err != nil {
			return err
		}
	}
	return nil
}

// literal is the pattern that matches name and nothing else: machines are asked
// for files by the patterns of path.Match.
func literal(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
}

// fetchFiles brings one file or folder of a machine to the place to as cp(1)
// does: into a folder that is there or that a slash ends, else under that name.
// What is not there leaves nothing here.
func fetchFiles(ctx context.Context, b bed, machine, file, to string) error {
	if info, err := os.Stat(to); err == nil && info.IsDir() || strings.HasSuffix(to, "/") {
		to = filepath.Join(to, path.Base(file))
	}
	if info, err := os.Lstat(to); err == nil && info.IsDir() {
		return extract(ctx, b, machine, file, filepath.Dir(to)) // one folder over another
	}
	near := filepath.Dir(to)
	for {
		if _, err := os.Stat(near); err == nil || near == filepath.Dir(near) {
			break
		}
		near = filepath.Dir(near)
	}
	aside, err := os.MkdirTemp(near, ".ore-cp-") // not elsewhere: it is renamed
	if err != nil {
		return fmt.Errorf("cp: %w", err)
	}
	defer os.RemoveAll(aside)
	if err := extract(ctx, b, machine, file, aside); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o777); err != nil {
		return fmt.Errorf("cp: %w", err)
	}
	if err := os.Rename(filepath.Join(aside, path.Base(file)), to); err != nil {
		return fmt.Errorf("cp: %w", err)
	}
	return nil
}

// extract brings one file or folder of a machine into the folder to.
func extract(ctx context.Context, b bed, machine, file, to string) error {
	root, err := os.OpenRoot(to)
	if err != nil {
		return fmt.Errorf("cp: %w", err)
	}
	defer root.Close()
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(b.Get(ctx, machine, path.Dir(file), []string{literal(path.Base(file))}, pw)) }()
	got, err := guest.Extract(root, pr, guest.Limits{})
	pr.CloseWithError(err)
	if err == nil && len(got) == 0 {
		err = fmt.Errorf("%s: there is no such file", file)
	}
	if err != nil {
		return fmt.Errorf("cp from %s: %w", machine, err)
	}
	return nil
}
