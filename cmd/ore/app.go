package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ore"
	"ore/cmd/ore/view"
	"ore/image"
	"ore/plan"
	"ore/site"
	"ore/site/afterwards"
	elsewhere "ore/site/remote"
	"ore/site/settings"
)

// app is what all commands share.
type app struct {
	io      stdio
	mirror  string
	keyring string
	json    bool
	quiet   bool
	refresh bool
	caches  []string
	push    bool
}

// flags adds the flags that every command takes.
func (a *app) flags(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&a.mirror, "mirror", os.Getenv("ORE_MIRROR"), "Debian mirror `URI`; default: ORE_MIRROR, else the host's apt configuration")
	f.StringVar(&a.keyring, "keyring", "", "`file` with the certificates that sign the mirror")
	f.StringArrayVar(&a.caches, "cache", strings.Fields(os.Getenv("ORE_CACHE")), "`address` of a cache elsewhere, https://HOST:PORT, oci://HOST/REPOSITORY or, without TLS, oci+http://HOST/REPOSITORY; default: ORE_CACHE, else the settings; the token for it is taken from ORE_CACHE_TOKEN")
	f.BoolVar(&a.push, "cache-push", false, "give the caches of --cache what is built here")
	f.BoolVar(&a.json, "json", false, "give the whole result as JSON on standard output")
	f.BoolVarP(&a.quiet, "quiet", "q", false, "show no progress")
	f.BoolVar(&a.refresh, "refresh", false, "ask the mirror for new indexes, however fresh the known ones are")
}

// open opens this host's site, pinned to a lock if there is one.
func (a *app) open(ctx context.Context, pinned *site.Lock) (*site.Site, error) {
	if err := checkMirror(a.mirror); err != nil {
		return nil, usageError{err}
	}
	dirs, err := site.FindDirs(os.Getenv)
	if err != nil {
		return nil, err
	}
	c := site.Config{Dirs: dirs, Mirror: a.mirror, Keyring: a.keyring, Pinned: pinned, Later: afterwards.Start}
	if a.refresh {
		c.MaxAge = -time.Second
	}
	if err := a.settle(&c); err != nil {
		return nil, err
	}
	return site.Open(ctx, c)
}

// settle takes in what the settings say and flags do not.
func (a *app) settle(c *site.Config) error {
	var s settings.Settings
	if path := settings.Find(os.Getenv); path != "" {
		var err error
		if s, err = settings.Read(path, os.Getenv("HOME")); err != nil {
			return err
		}
	}
	c.Mirror, c.Keyring = cmp.Or(c.Mirror, s.Mirror), cmp.Or(c.Keyring, s.Keyring)
	c.Superset, c.Quota, c.Budget = s.Superset, int64(s.Quota), time.Duration(s.Prepare)
	c.Hedge = plan.DefaultHedge()
	c.Hedge.Off = s.Hedge != nil && !*s.Hedge
	if s.TrustedKeys != "" {
		var err error
		if c.Trusted, err = image.ReadKeys(s.TrustedKeys); err != nil {
			return err
		}
	}
	if len(a.caches) > 0 {
		for _, u := range a.caches {
			at := elsewhere.Address{URL: u, Token: os.Getenv("ORE_CACHE_TOKEN"), Push: a.push}
			if _, err := elsewhere.Open(at, elsewhere.Local{}); err != nil { // it does not connect
				return usageError{err}
			}
			c.Caches = append(c.Caches, at)
		}
		return nil
	}
	for _, o := range s.Caches {
		at := elsewhere.Address{URL: o.URL, CA: o.CA, Push: o.Push}
		if o.TokenFile != "" {
			b, err := os.ReadFile(o.TokenFile)
			if err != nil {
				return fmt.Errorf("cache %s: its token: %w: put the token that 'ore cache token' printed there", o.URL, err)
			}
			at.Token = strings.TrimSpace(string(b))
		}
		c.Caches = append(c.Caches, at)
	}
	return nil
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
