// Package choice says how machines that boot from the network install themselves and
// start again, by what such machines took before, and learns that of those that are
// ready. What it goes by are the plan's rates of this site (package ore/plan), under a
// name of their own: what such machines are is nothing of this host's.
package choice

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"ore"
	"ore/install/recipe"
	"ore/plan"
	"ore/site"
	"ore/site/disks"
)

// machines is the name that rates of machines have which boot from the network.
const machines = "netboot"

// Wish is a machine that is to be, and what of its way is not to be chosen.
type Wish struct {
	Job     ore.Job // completed
	From    string  // what it installs from; "" for what is quickest
	Restart string  // how it starts again; "" for what is quickest
}

// Choice is a way.
type Choice struct {
	From    string
	Restart string // plan.ByKexec or plan.ByFirmware
	Why     string // in words, with what lost; "" where nothing was chosen
}

// For chooses for a machine. With nothing known it takes the image, and kexec.
func For(ctx context.Context, s *site.Site, w Wish, watch ore.Watcher) (Choice, error) {
	rates := s.Rates()
	c, why := Choice{From: w.From, Restart: w.Restart}, ""
	if c.Restart == "" {
		c.Restart, why = Restart(rates)
	}
	if c.From == "" {
		config := s.ClusterConfig("", watch)
		env, err := config.Images.Lock(ctx, w.Job.Wants, watch)
		if err != nil {
			return c, err
		}
		have, err := config.Images.Have(ctx, env)
		if err != nil {
			return c, err
		}
		have.Disk, have.Unfit = disks.Kept(ctx, s.Cache, env.Key(), w.Job.Machines), disks.Unfit(w.Job.Machines, env)
		ask := config.Ask
		ask.Environment = env
		p := plan.Choose(asked(ask, "", c.Restart), have, rates)
		c.From, c.Why = p.Chosen().Strategy, Text(p)
	}
	if why != "" {
		c.Why = strings.TrimPrefix(c.Why+"; "+why, "; ")
	}
	return c, nil
}

// asked is what a plan is asked for one such machine: others work at the same time, on
// cores of their own.
func asked(a plan.Ask, from, restart string) plan.Ask {
	a.Machines, a.Starts, a.Apart = 1, []string{machines}, true
	return a.Onto(from, restart)
}

// Text says in a line how machines install themselves, and what lost.
func Text(p plan.Plan) string {
	o := p.Chosen()
	s := "machines install themselves from " + o.Strategy
	if o.Known {
		s += fmt.Sprintf(", predicted %.1f s", o.Total.Middle)
	}
	for _, other := range p.Options[1:] {
		if other.Possible && other.Strategy != o.Strategy {
			return s + "; from " + other.Strategy + ": " + other.Why
		}
	}
	return s
}

// Restart chooses how a machine starts what it has installed, and says why where there
// was a choice: kexec, which falls back to the firmware where it fails, unless it is
// known to take longer.
func Restart(r plan.Rates) (by, why string) {
	kexec, known := r.Restarts(plan.ByKexec)
	firmware, also := r.Restarts(plan.ByFirmware)
	switch {
	case !known || !also:
		return plan.ByKexec, ""
	case firmware < kexec:
		return plan.ByFirmware, fmt.Sprintf("they restart through their firmware, predicted %.1f s; by kexec: predicted %.1f s later", firmware, kexec-firmware)
	}
	return plan.ByKexec, fmt.Sprintf("they restart by kexec, predicted %.1f s; through their firmware: predicted %.1f s later", kexec, firmware-kexec)
}

// Learn takes a machine that is ready into the site's rates: told is the recipe that it
// was given, and stages what it went through. Of one that went another way in the midst
// nothing is learned. It may be called concurrently.
func Learn(s *site.Site, told []byte, stages ore.Timeline) error {
	r, err := recipe.Parse(bytes.NewReader(told))
	if err != nil {
		return fmt.Errorf("learn what a machine took: %w", err)
	}
	if p, ok := foreseen(r, stages, s.Rates()); ok {
		s.ClusterConfig("", nil).Learn(stages, p)
	}
	return nil
}

// foreseen is the plan of the way that a machine went, false if that is not the recipe's
// whole way, or one that depends on others' links.
func foreseen(r recipe.Recipe, stages ore.Timeline, rates plan.Rates) (plan.Plan, bool) {
	note := func(stage string) string {
		i := slices.IndexFunc(stages, func(s ore.Stage) bool { return s.Name == stage })
		if i < 0 {
			return ""
		}
		return stages[i].Note
	}
	by, _, _ := strings.Cut(note(recipe.Restart), ":")
	instead := r.Finished() != nil && slices.ContainsFunc(stages, func(s ore.Stage) bool { return s.Name == recipe.Install })
	unfit := r.Disk != nil && !strings.HasPrefix(note(recipe.Root), "disk image")
	mirror := r.Finished() == nil && !strings.HasPrefix(r.Archive[0], "proxy:")
	if by != plan.ByKexec && by != plan.ByFirmware || instead || unfit || mirror {
		return plan.Plan{}, false
	}
	have := plan.Have{Base: true, Debs: map[ore.Digest]bool{}}
	for _, p := range r.Environment.Packages {
		have.Debs[p.Digest] = true
	}
	if r.Finished() != nil {
		have.Exact = r.Image
	} else if r.Image != nil && len(r.Image.Layers) > 0 {
		have.BaseLayer = r.Image.Layers[0]
	}
	if r.Disk != nil {
		have.Disk = &r.Disk.Layer
	}
	p := plan.Choose(asked(plan.Ask{Environment: r.Environment}, string(r.Strategy), by), have, rates)
	i := slices.IndexFunc(p.Options, func(o plan.Option) bool { return o.Possible && (o.Each || o.Way == plan.Exact) })
	if i < 0 {
		return p, false
	}
	p.Options = p.Options[i : i+1]
	return p, true
}
