package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"ore"
	"ore/cmd/ore/view"
	"ore/site"
)

// app is what all commands share.
type app struct {
	io      stdio
	mirror  string
	keyring string
	json    bool
	quiet   bool
	refresh bool
}

// flags adds the flags that every command takes.
func (a *app) flags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&a.mirror, "mirror", os.Getenv("ORE_MIRROR"), "Debian mirror `URI`; default: ORE_MIRROR, else the host's apt configuration")
	f.StringVar(&a.keyring, "keyring", "", "`file` with the certificates that sign the mirror")
	f.BoolVar(&a.json, "json", false, "give the whole result as JSON on standard output")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "show no progress")
	f.BoolVar(&a.refresh, "refresh", false, "ask the mirror for new indexes, however fresh the known ones are")
}

// open opens this host's site, pinned to a lock if there is one.
func (a *app) open(ctx context.Context, pinned *site.Lock) (*site.Site, error) {
	dirs, err := site.FindDirs(os.Getenv)
	if err != nil {
		return nil, err
	}
	c := site.Config{Dirs: dirs, Mirror: a.mirror, Keyring: a.keyring, Pinned: pinned}
	if a.refresh {
		c.MaxAge = -time.Second
	}
	return site.Open(ctx, c)
}

// view returns the view of j for this command's connections.
func (a *app) view(j ore.Job) *view.View {
	return view.New(view.Config{Out: a.io.out, Err: a.io.err, Quiet: a.quiet || a.json, Machines: j.Machines.Count})
}

// print writes v as indented JSON to standard output.
func (a *app) print(v any) error {
	e := json.NewEncoder(a.io.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// say writes a line to standard output.
func (a *app) say(format string, args ...any) {
	fmt.Fprintf(a.io.out, format+"\n", args...)
}
