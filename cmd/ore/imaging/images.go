// Package imaging is the command 'ore images' and its subcommands: what the
// cache of this host holds, and what becomes of it.
package imaging

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"ore/cache"
	"ore/cluster/results"
	"ore/cmd/ore/view"
	"ore/image"
	"ore/image/export"
	"ore/image/sbom"
	"ore/install/kept"
	"ore/job"
	"ore/site"
	"ore/site/recheck"
)

// Shell is what the commands need of the program around them.
type Shell struct {
	Out, Err io.Writer
	JSON     *bool // whether results are given as JSON
	Open     func(context.Context) (*site.Site, error)
	View     func() *view.View
	Tell     func(image.Manifest) error // shows an image
	Usage    func(error) error          // makes an error the user's
	Exit     func(code int) error       // ends the program so, with nothing more said
	Complete cobra.CompletionFunc       // offers the keys of images
}

// Command returns the command.
func Command(a *Shell) *cobra.Command {
	c := &cobra.Command{
		Use:     "images",
		Short:   "List, inspect, remove, verify and export images",
		Aliases: []string{"image"},
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newList(a), newShow(a), newRemove(a), newPrune(a), newVerify(a), newPin(a), newExport(a), newPrepare(a), newRefresh(a))
	return c
}

// withSite opens the site for one command.
func (a *Shell) withSite(f func(ctx context.Context, s *site.Site, args []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		s, err := a.Open(c.Context())
		if err != nil {
			return err
		}
		defer s.Close()
		return f(c.Context(), s, args)
	}
}

// print writes v as indented JSON.
func (a *Shell) print(v any) error {
	e := json.NewEncoder(a.Out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// say writes a line.
func (a *Shell) say(format string, args ...any) {
	fmt.Fprintf(a.Out, format+"\n", args...)
}

func newList(a *Shell) *cobra.Command {
	return &cobra.Command{
		Use: "ls", Short: "List images, the last used first", Aliases: []string{"list"}, Args: cobra.NoArgs,
		RunE: a.withSite(func(ctx context.Context, s *site.Site, _ []string) error {
			all, err := s.Cache.List(ctx)
			if err != nil {
				return err
			}
			if *a.JSON {
				return a.print(all)
			}
			t := view.Rows(a.Out, "key", "base", "packages", "size", "own", "used", "uses", "state", "asked for")
			for _, e := range all {
				t.AppendRow(table.Row{e.Key.Short(), e.Suite, e.Packages, view.Bytes(e.Bytes), view.Bytes(e.Own), view.Ago(e.Used), e.Uses, state(e), view.Cut(strings.Join(e.Wanted, " "), 50)})
			}
			t.Render()
			// Beside the rows, which are all that was asked for.
			if gain, err := gained(ctx, s); err == nil && gain.Images > 0 {
				tellGain(a.Err, gain)
			}
			return nil
		}),
	}
}

func newShow(a *Shell) *cobra.Command {
	return &cobra.Command{
		Use: "show KEY", Short: "Show one image with its layers and packages", Args: cobra.ExactArgs(1), ValidArgsFunction: a.Complete,
		RunE: a.withSite(func(ctx context.Context, s *site.Site, args []string) error {
			m, err := find(ctx, s, args[0])
			if err != nil {
				return err
			}
			if *a.JSON {
				return a.print(m)
			}
			if err := a.Tell(m); err != nil {
				return err
			}
			signed, err := s.Cache.Signature(ctx, m.Key)
			if err != nil {
				return err
			}
			a.say("signer  %s", cmp.Or(signed.Key, "nobody"))
			for i, l := range m.Layers {
				a.say("layer %d %s %s %s", i, l.Digest, view.Bytes(l.Size), l.Compression)
			}
			for _, p := range m.Environment.Packages {
				a.say("package %s", p)
			}
			return nil
		}),
	}
}

func find(ctx context.Context, s *site.Site, prefix string) (image.Manifest, error) {
	e, err := s.Cache.Match(ctx, prefix)
	if err != nil {
		return image.Manifest{}, err
	}
	return s.Cache.Find(ctx, e.Key)
}

func newRemove(a *Shell) *cobra.Command {
	return &cobra.Command{
		Use: "rm KEY...", Short: "Remove images that no job uses", Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.Complete,
		RunE: a.withSite(func(ctx context.Context, s *site.Site, args []string) error {
			var errs []error
			for _, arg := range args {
				e, err := s.Cache.Match(ctx, arg)
				if err == nil {
					err = a.forget(ctx, s, e)
				}
				errs = append(errs, err)
			}
			freed, err := s.PruneTrees(ctx)
			if freed > 0 {
				a.say("%s of unpacked trees freed", view.Bytes(freed))
			}
			return errors.Join(append(errs, err)...)
		}),
	}
}

func (a *Shell) forget(ctx context.Context, s *site.Site, e cache.Entry) error {
	freed, err := s.Cache.Forget(ctx, e.Key)
	if err != nil {
		return err
	}
	a.say("removed %s, %s freed", e.Key.Short(), view.Bytes(freed))
	return nil
}

func newPrune(a *Shell) *cobra.Command {
	var keep, builds string
	var dry bool
	c := &cobra.Command{
		Use: "prune", Short: "Remove the least valuable images until the rest fits a size", Args: cobra.NoArgs,
		Long: `Remove images until the rest fits into --keep, the least valuable first: those
that save the fewest seconds for the space that removing them frees. What is kept
to make builds faster (unpacked trees, decoded packages, then .debs and .rpms, which locks
may need) is bounded by --keep-builds, what was not used for longest first.`,
		RunE: a.withSite(func(ctx context.Context, s *site.Site, _ []string) error {
			quota, err := job.ParseSize(keep)
			if err != nil {
				return a.Usage(err)
			}
			bound, err := job.ParseSize(builds)
			if err != nil {
				return a.Usage(err)
			}
			if dry {
				fates, err := s.Cache.Fates(ctx, quota)
				if err != nil {
					return err
				}
				return a.tellFates(fates)
			}
			freed, err := s.Cache.Prune(ctx, quota)
			if err != nil {
				return err
			}
			more, err := s.PruneBuilds(ctx, bound)
			if err != nil {
				return err
			}
			a.say("%s of images and %s of builds freed", view.Bytes(freed), view.Bytes(more))
			return s.PruneTools(ctx)
		}),
	}
	c.Flags().StringVar(&keep, "keep", "10G", "`size` that the images may have together")
	c.Flags().StringVar(&builds, "keep-builds", job.FormatSize(kept.Limit), "`size` that what builds use again may have together")
	c.Flags().BoolVar(&dry, "dry-run", false, "only say of each image whether it would go, and why")
	return c
}

// tellFates says of each image what keeping it is worth, and whether it goes.
func (a *Shell) tellFates(fates []cache.Fate) error {
	if *a.JSON {
		return a.print(fates)
	}
	t := view.Rows(a.Out, "key", "goes", "frees", "to make again", "requests in 1000", "used", "why", "asked for")
	for _, f := range fates {
		goes := "no"
		if f.Evict {
			goes = "yes"
		}
		t.AppendRow(table.Row{f.Entry.Key.Short(), goes, view.Bytes(f.Bytes), fmt.Sprintf("%.1f s", f.Seconds), fmt.Sprintf("%.2f", f.Rate),
			view.Ago(f.Entry.Used), f.Why, view.Cut(strings.Join(f.Entry.Wanted, " "), 30)})
	}
	t.Render()
	return nil
}

func newVerify(a *Shell) *cobra.Command {
	again := false
	c := &cobra.Command{
		Use: "verify [KEY...]", Short: "Read images again and compare them with their digests", ValidArgsFunction: a.Complete,
		Long: `Read the layers of images again and compare them with their digests, and their
manifests with their signatures. What does not match is moved away and its images
are taken off the list, so that the next request builds them anew. With --rebuild,
images are built from nothing again and their trees are compared: the one from
nothing takes the place of the other.`,
		RunE: a.withSite(func(ctx context.Context, s *site.Site, args []string) error {
			if again {
				return a.rebuild(ctx, s, args)
			}
			if len(args) == 0 {
				return a.verifyAll(ctx, s)
			}
			all, err := s.Cache.List(ctx)
			if err != nil {
				return err
			}
			bad, seen := 0, 0
			for _, e := range all {
				if !selected(e, args) {
					continue
				}
				seen++
				if err := s.Verify(ctx, e.Key); err != nil {
					bad++
					fmt.Fprintf(a.Err, "ore: image %s: %v: build it again\n", e.Key.Short(), err)
					continue
				}
				a.say("%s ok", e.Key.Short())
			}
			if seen == 0 && len(args) > 0 {
				return fmt.Errorf("verify %s: no image begins so: see 'ore images ls'", strings.Join(args, " "))
			}
			if bad > 0 {
				return a.Exit(1)
			}
			return nil
		}),
	}
	c.Flags().BoolVar(&again, "rebuild", false, "build from nothing and compare")
	return c
}

// rebuild compares images with the same from nothing.
func (a *Shell) rebuild(ctx context.Context, s *site.Site, args []string) error {
	if len(args) == 0 {
		return a.Usage(errors.New("verify --rebuild: which image: give the beginning of its key"))
	}
	v := a.View()
	r := s.Rechecker(v.Watch)
	var all []recheck.Outcome
	for _, arg := range args {
		e, err := s.Cache.Match(ctx, arg)
		var o recheck.Outcome
		if err == nil {
			o, err = r.One(ctx, e.Key)
		}
		if err != nil {
			v.Close()
			return err
		}
		all = append(all, o)
	}
	v.Close()
	if *a.JSON {
		if err := a.print(all); err != nil {
			return err
		}
	}
	bad := false
	for _, o := range all {
		bad = bad || !o.Same
		if !*a.JSON {
			a.say("%s", o)
		}
	}
	if bad {
		return a.Exit(1)
	}
	return nil
}

// verifyAll verifies all images.
func (a *Shell) verifyAll(ctx context.Context, s *site.Site) error {
	r, err := s.Cache.VerifyAll(ctx)
	if err != nil {
		return err
	}
	if *a.JSON {
		if err := a.print(r); err != nil {
			return err
		}
	} else {
		for _, i := range r.Images {
			if i.Err == nil {
				a.say("%s ok", i.Entry.Key.Short())
			}
		}
		a.say("%s read", view.Bytes(r.Bytes))
	}
	bad := r.Bad()
	for _, i := range bad {
		fmt.Fprintf(a.Err, "ore: image %s: %v: build it again\n", i.Entry.Key.Short(), i.Err)
	}
	if len(bad) > 0 {
		return a.Exit(1)
	}
	return nil
}

func newPin(a *Shell) *cobra.Command {
	off := false
	c := &cobra.Command{
		Use: "pin KEY...", Short: "Keep images whatever they are worth", Args: cobra.MinimumNArgs(1), ValidArgsFunction: a.Complete,
		RunE: a.withSite(func(ctx context.Context, s *site.Site, args []string) error {
			var errs []error
			for _, arg := range args {
				e, err := s.Cache.Match(ctx, arg)
				if err == nil {
					err = s.Cache.Pin(ctx, e.Key, !off)
				}
				errs = append(errs, err)
			}
			return errors.Join(errs...)
		}),
	}
	c.Flags().BoolVar(&off, "off", false, "let them be removed again")
	return c
}

// state says in a word or two what is special about an image.
func state(e cache.Entry) string {
	var words []string
	if e.Pinned {
		words = append(words, "pinned")
	}
	if n := len(e.Outdated); n > 0 {
		words = append(words, fmt.Sprintf("%d newer", n))
	}
	return strings.Join(words, ", ")
}

// writeMaterials writes an image's bill of materials.
func writeMaterials(m image.Manifest, path string) error {
	b, err := sbom.SPDX(m)
	if err != nil {
		return err
	}
	return results.WriteWhole(path, b)
}

func selected(e cache.Entry, prefixes []string) bool {
	for _, p := range prefixes {
		if strings.HasPrefix(string(e.Key), p) {
			return true
		}
	}
	return len(prefixes) == 0
}

func newExport(a *Shell) *cobra.Command {
	var format, size string
	c := &cobra.Command{
		Use: "export KEY FILE", Short: "Write an image as tar, OCI layout, ext4, qcow2 or vmdk, or its bill of materials",
		Long: `Write an image for other programs: a tar archive, an OCI image layout (for skopeo,
podman and registries), or the file system of a disk as ext4, qcow2 or vmdk. A disk
has no boot loader and no kernel: it is started with a kernel of its host's. The
format spdx (FILE.spdx.json) is not the image but the list of what is in it.`,
		Example:           "  ore images export 1f0c32 blast.qcow2\n  ore images export 1f0c32 blast-oci --format oci",
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: a.Complete,
		RunE: a.withSite(func(ctx context.Context, s *site.Site, args []string) error {
			to := export.Target{Path: args[1]}
			materials := format == "spdx" || format == "" && strings.HasSuffix(args[1], ".spdx.json")
			var err error
			if materials {
				to.Format = export.Tar // none of it is written
			} else if to.Format, err = export.ParseFormat(format, args[1]); err != nil {
				return a.Usage(err)
			}
			if size != "" {
				if to.Size, err = job.ParseSize(size); err != nil {
					return a.Usage(err)
				}
			}
			if _, err := os.Stat(args[1]); err == nil {
				return fmt.Errorf("export %s: it exists already: remove it or choose another name", args[1])
			}
			m, err := find(ctx, s, args[0])
			if err != nil {
				return err
			}
			if materials {
				return writeMaterials(m, args[1])
			}
			return s.Export(ctx, m, to)
		}),
	}
	c.Flags().StringVar(&format, "format", "", "tar, oci, ext4, qcow2, vmdk, spdx; default: by the file's ending")
	c.Flags().StringVar(&size, "size", "", "`size` of a disk's file system; default: its content and a quarter more")
	return c
}
