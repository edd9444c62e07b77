package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ore"
	"ore/cluster/results"
	"ore/cmd/ore/flags"
	"ore/cmd/ore/view"
	"ore/image"
	"ore/site"
)

func newBuild(a *app) *cobra.Command {
	var asked flags.Job
	c := &cobra.Command{
		Use:     "build [flags]",
		Short:   "Make the image of an environment, or find it made",
		Example: "  ore build -p ncbi-blast+\n  ore build --lock job.lock",
		Args:    cobra.NoArgs,
	}
	c.RunE = a.onJob(onJob{flags: &asked, check: noCommand, do: func(ctx context.Context, s *site.Site, j ore.Job) error {
		v := a.view(ore.Job{})
		begun := time.Now()
		img, err := s.Build(ctx, j.Wants, v.Watch)
		v.Close()
		if err != nil {
			return err
		}
		return a.tellImage(img, time.Since(begun))
	}})
	asked.Environment(c)
	asked.Locks(c)
	return c
}

// tellImage shows an image; took is what giving it took, zero if that is over.
func (a *app) tellImage(m image.Manifest, took time.Duration) error {
	if a.json {
		return a.print(m)
	}
	a.say("image   %s", m.Digest())
	a.say("key     %s", m.Key)
	a.say("tree    %s", m.Tree)
	a.say("holds   %d packages, %d files, %s unpacked", len(m.Environment.Packages), m.Files, view.Bytes(m.Bytes))
	a.say("layers  %d, %s", len(m.Layers), view.Bytes(m.Size()))
	if took > 0 {
		a.say("took    %.2f s", took.Seconds())
	}
	return nil
}

func newLock(a *app) *cobra.Command {
	var asked flags.Job
	var out string
	c := &cobra.Command{
		Use:   "lock [flags]",
		Short: "Write down every version and hash of an environment",
		Long: `Resolve an environment and write the lock: every package with its version and
hash, the files and steps, and the kernel that each hypervisor would start. The
packages of a lock are kept on this host; 'ore build', 'ore run' and 'ore up'
take it with --lock, and refuse a lock whose packages can be had no more, with
their names.`,
		Example: "  ore lock -f job.yaml -o job.lock\n  ore build --lock job.lock",
		Args:    cobra.NoArgs,
	}
	c.RunE = a.onJob(onJob{flags: &asked, check: noCommand, do: func(ctx context.Context, s *site.Site, j ore.Job) error {
		v := a.view(ore.Job{})
		l, err := s.Lock(ctx, j.Wants, v.Watch)
		v.Close()
		if err != nil {
			return err
		}
		return a.writeLock(l, out)
	}})
	asked.Environment(c)
	c.Flags().StringVarP(&out, "write", "o", "", "write the lock to this `file` instead of standard output")
	return c
}

// writeLock writes l to the file out, or to standard output for "" and "-".
func (a *app) writeLock(l site.Lock, out string) error {
	b, err := json.MarshalIndent(l, "", " ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if out == "" || out == "-" {
		_, err = a.io.out.Write(b)
		return err
	}
	if err := results.WriteWhole(out, b); err != nil {
		return fmt.Errorf("write lock: %w: name a file in a folder that you can write to", err)
	}
	return nil
}
