package site

import (
	"context"
	"errors"
	"runtime"
	"time"

	"ore"
	"ore/cluster"
	"ore/plan"
	"ore/plan/hindsight"
	"ore/site/calibrate"
	"ore/site/disks"
	"ore/site/learn"
)

func (s *Site) memory() learn.Memory { return learn.Memory{Dir: s.Dirs.State} }

// Rates returns what this site has learned; nothing if it has not run a job.
func (s *Site) Rates() plan.Rates { return s.memory().Rates() }

// Accuracy says how good the predictions of the runs that are kept were.
func (s *Site) Accuracy() (hindsight.Accuracy, error) {
	runs, err := s.memory().Runs()
	return hindsight.Judge(runs, s.Rates()), err
}

// learner returns what watches one job and learns from it.
func (s *Site) learner() *learn.Watch { return &learn.Watch{Memory: s.memory(), Find: s.Cache.Find} }

// learned has an image made by a plan and learns from it.
func (s *Site) learned(p plan.Plan, watch ore.Watcher, do func(ore.Watcher) error) error {
	l := s.learner()
	begun := time.Now()
	err := do(l.Through(watch))
	if err == nil {
		l.Learn(ore.Timeline{{Name: "image", Start: begun, End: time.Now()}}, p)
	}
	return err
}

// ask returns what the plan of a job has to know of this host.
func (s *Site) ask(starts ...string) plan.Ask {
	return plan.Ask{
		Locked: s.Pinned != nil, Superset: s.Superset, Starts: starts,
		Hosts: []plan.Host{{Name: plan.Here, Cores: runtime.NumCPU(), Load: s.load.Others()}},
	}
}

// Plan says what running j would do on hosts, none for this one, if things were as w
// has them. watch is told of caches elsewhere that fail.
func (s *Site) Plan(ctx context.Context, j ore.Job, hosts []plan.Host, w plan.WhatIf, watch ore.Watcher) (ore.Environment, plan.Plan, error) {
	if err := s.checkKernel(ctx, j); err != nil {
		return ore.Environment{}, plan.Plan{}, err
	}
	m := &images{site: s, every: true}
	env, err := m.Lock(ctx, j.Wants, nil)
	if err != nil {
		return env, plan.Plan{}, err
	}
	m.watch = watch
	have, err := m.all(ctx, env)
	if err != nil {
		return env, plan.Plan{}, err
	}
	ask := s.ask(s.driver(reservation(j)))
	ask.Environment, ask.Machines = env, j.Machines.Count
	if j.Machines.Root == ore.OnDisk {
		ask, have.Disk = ask.Onto("", plan.Directly), disks.Kept(ctx, s.Cache, env.Key(), j.Machines)
		have.Unfit = disks.Unfit(j.Machines, env)
	}
	ask, have, rates := w.Apply(ask.On(hosts), have, s.Rates())
	p := plan.Choose(ask, have, rates)
	p.Notes = w.Vain(ask, have)
	return env, p, nil
}

// reservation is what decides about the hypervisor of j.
func reservation(j ore.Job) cluster.Reservation {
	r := cluster.Reservation{Machines: j.Machines, Kernel: j.Wants.Kernel, Base: j.Wants.Base}
	for _, in := range j.Run.Inputs {
		if in.Mount != "" {
			r.Mounts++
		}
	}
	return r
}

// Calibrate tries for some seconds what this host and its links to the mirror and to
// the caches elsewhere can do, and takes it into the rates. The mirror's is tried with
// packages of the base that are not kept yet; they are kept then.
func (s *Site) Calibrate(ctx context.Context) (plan.Calibration, error) {
	c, err := calibrate.Host(ctx, s.Dirs.Cache)
	if err != nil {
		return c, err
	}
	wants := ore.Wants{Base: toolBase()}
	a, err := s.archive(ctx, wants, nil)
	if err != nil {
		return c, err
	}
	env, err := a.Resolve(ctx, wants)
	if err != nil {
		return c, err
	}
	try, ok, err := calibrate.Link(ctx, calibrate.Lacking(env.Packages, a.Kept), a.FetchAll)
	if err != nil {
		return c, err
	}
	c.Links = map[string]plan.LinkTry{}
	if ok {
		c.Links[plan.Mirror] = try
	}
	caches, err := s.caches()
	if err != nil {
		return c, err
	}
	down := calibrate.Caches(ctx, caches, s.Dirs.Cache, c.Links)
	return c, errors.Join(down, s.memory().Change(nil, func(r plan.Rates) plan.Rates { return r.Calibrate(plan.Here, c) }))
}
