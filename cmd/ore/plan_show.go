package main

import (
	"fmt"
	"strings"
	"time"

	"ore"
	"ore/cmd/ore/view"
	"ore/job"
	"ore/plan"
)

// shownOptions is how many ways that lost are shown with their stages: the
// runner-up. The others get a line each.
const shownOptions = 1

// tellPlan shows a plan to a person; looked is what looking for what exists took.
func (a *app) tellPlan(j ore.Job, env ore.Environment, p plan.Plan, looked time.Duration) {
	a.say("environment  %s, %d packages, key %s", env.Base, len(env.Packages), p.Key.Short())
	a.say("machines     %d, each with %d CPU, %s memory, %s disk (%s)", j.Machines.Count, j.Machines.CPUs,
		job.FormatSize(j.Machines.Memory), job.FormatSize(j.Machines.Disk), j.Machines.Hypervisor)
	a.say("before       %.2f s to resolve, and to find what exists: a run does so, too, and only then has this plan", looked.Seconds())
	if !p.Chosen().Known {
		a.say("unknown      is what was not measured here yet: run 'ore doctor --calibrate' (3 s), or just run it")
	}
	for _, n := range p.Notes {
		a.say("note         %s", n)
	}
	for i, o := range p.Options {
		switch {
		case i == 0:
			a.say("way          %s", wayOf(o))
		case i <= shownOptions && o.Possible:
			a.say("runner-up    %s: %s", wayOf(o), o.Why)
		default:
			a.say("not          %s: %s", wayOf(o), o.Why)
			continue
		}
		a.tellOption(o)
	}
}

// wayOf names an option with what tells it from others of its way.
func wayOf(o plan.Option) string {
	s := string(o.Way)
	if o.From != "" && o.Way != plan.Exact {
		s += " over " + o.From.Short()
	}
	if o.At != "" {
		s += " from " + o.At
	}
	if o.Strategy != "" {
		s += ", machines install themselves from " + o.Strategy
	} else if o.Each {
		s += ", installed on each machine"
	}
	if o.Distribution != plan.None && o.Distribution != "" {
		s += ", " + string(o.Distribution)
	}
	return s
}

func (a *app) tellOption(o plan.Option) {
	for _, s := range o.Stages {
		line := fmt.Sprintf("  %-10s %-14s %s", s.Stage, work(s), seconds(s.Seconds, s.Known))
		if s.Note != "" {
			line += "  (" + s.Note + ")"
		}
		a.say("%s", line)
	}
	if len(o.Install) > 0 {
		a.say("  installs   %s", names(o.Install))
	}
	if len(o.Remove) > 0 {
		a.say("  removes    %s", names(o.Remove))
	}
	a.tellLinks(o.Links)
	a.say("  in all     %-14s %s", "", seconds(o.Total, o.Known))
}

// shownLinks is how many links a plan shows one by one: of more nobody reads more
// than what they carry together.
const shownLinks = 8

func (a *app) tellLinks(all []plan.Traffic) {
	shown := all
	if len(all) > shownLinks {
		shown = all[:shownLinks-1]
	}
	for _, l := range shown {
		a.say("  over %-8s %s", l.Link, view.Bytes(l.Bytes))
	}
	if rest := all[len(shown):]; len(rest) > 0 {
		var bytes int64
		for _, l := range rest {
			bytes += l.Bytes
		}
		a.say("  over %d more links %s", len(rest), view.Bytes(bytes))
	}
}

func work(s plan.Estimate) string {
	if s.Unit == "bytes" {
		return view.Bytes(int64(s.Work))
	}
	return fmt.Sprintf("%.0f %s", s.Work, s.Unit)
}

// seconds shows a range; what is not known of it was never measured.
func seconds(r plan.Range, known bool) string {
	s := fmt.Sprintf("%.2f s (%.2f to %.2f)", r.Middle, r.Low, r.High)
	switch {
	case known:
		return s
	case r.Middle > 0:
		return s + " and what was not measured here before"
	}
	return "unknown: not measured here before"
}

// shownNames is how many names of packages a plan shows.
const shownNames = 8

func names(packages []ore.Package) string {
	var all []string
	for _, p := range packages[:min(shownNames, len(packages))] {
		all = append(all, p.Name)
	}
	s := strings.Join(all, ", ")
	if more := len(packages) - len(all); more > 0 {
		s += fmt.Sprintf(" and %d more", more)
	}
	return s
}
