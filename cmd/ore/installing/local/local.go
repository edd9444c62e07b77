// Package local makes this host's site serve the machines of package installing.
package local

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"

	"ore"
	cli "ore/cmd/ore/installing"
	"ore/image"
	"ore/install/recipe"
	"ore/netboot"
	"ore/netboot/roster"
	"ore/plan"
	"ore/site"
	"ore/site/installing"
	"ore/site/installing/choice"
)

// Site is s for the machines on the list in a folder. It closes s. With view,
// progress is shown while something is made.
func Site(s *site.Site, list string, view func() (ore.Watcher, func())) *cli.Site {
	n := &installing.Network{Site: s, Roster: list, Address: netboot.Blob, Packages: netboot.Here + "/packages", Captured: netboot.Mine + "/captured"}
	closing := []io.Closer{s, n}
	said := "" // of choices, the last one
	return &cli.Site{
		System: func(ctx context.Context, w cli.Want) (roster.System, error) {
			watch, end := view()
			defer end()
			c, err := choice.For(ctx, s, choice.Wish{Job: installing.Netbooted(w.Job, w.Firmware), From: w.From, Restart: w.Restart}, watch)
			if err != nil {
				return roster.System{}, err
			}
			if c.Why != said && c.Why != "" { // many machines are mostly one choice
				watch.Tell(ore.Event{Stage: "note", Text: c.Why})
				said = c.Why
			}
			n.From, n.Watch = recipe.Strategy(c.From), watch
			told, err := n.Tell(ctx, w.Job, installing.Host{Name: w.Name, ID: w.MAC.String(), Firmware: w.Firmware, Slow: c.Restart == plan.ByFirmware, Discard: w.Discard})
			return roster.System{Kernel: told.Kernel, Initramfs: []ore.Digest{told.Initramfs}, Arguments: told.Arguments, Recipe: told.Recipe, Becomes: told.Becomes}, err
		},
		Disk: func(ctx context.Context, j ore.Job, f ore.Firmware) (image.Manifest, bool, error) {
			watch, end := view()
			defer end()
			return installing.WholeDisk(ctx, s, j, f, watch)
		},
		Blob: n.Blob,
		Loaders: func(ctx context.Context) (l netboot.Loaders, err error) {
			l.BIOS, l.UEFI, err = n.Loaders(ctx)
			return l, err
		},
		Rest: func(watch ore.Watcher) (http.Handler, error) {
			f, err := n.Further()
			if err != nil {
				return nil, err
			}
			t := n.Take(netboot.Asks, watch)
			closing = append(closing, f, t)
			mux := http.NewServeMux()
			mux.Handle("/packages/", http.StripPrefix("/packages", f))
			mux.Handle("/captured/", http.StripPrefix("/captured", t))
			return mux, nil
		},
		Learn: func(m roster.Machine, y roster.System) error {
			if m.Tries != 1 {
				return nil // where it lost its power, nobody knows what was left of its work
			}
			return choice.Learn(s, y.Recipe, m.Stages)
		},
		Sweep: func(systems []roster.System) error {
			var blobs []ore.Digest
			var recipes [][]byte
			for _, y := range systems {
				blobs, recipes = append(append(blobs, y.Kernel), y.Initramfs...), append(recipes, y.Recipe)
			}
			return n.Sweep(blobs, recipes)
		},
		Close: func() (err error) {
			for _, c := range slices.Backward(closing) {
				err = errors.Join(err, c.Close())
			}
			return err
		},
	}
}
