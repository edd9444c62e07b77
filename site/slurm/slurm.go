// Package slurm is a site's side of Slurm: it makes the engine that takes the
// hosts of a job from there.
package slurm

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"ore"
	"ore/cluster"
	"ore/engine/slurm"
	"ore/site"
	"ore/site/fleet"
)

// Settings is what a site or a user says about Slurm.
type Settings = slurm.Settings

// Options says for what an engine is made.
type Options struct {
	Settings Settings
	Wants    ore.Wants     // of the job
	Timeout  time.Duration // of the job
	Watch    ore.Watcher
	Whole    bool // machines wait until all of their image is there
	Rack     fleet.Rack
}

// Engine returns an engine for one job of the site.
func Engine(s *site.Site, o Options) (cluster.Engine, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("engine slurm: this program: %w", err)
	}
	hosts, err := fleet.Config(s, o.Watch)
	if err != nil {
		return nil, err
	}
	hosts.Whole, hosts.Rack = o.Whole, o.Rack
	return slurm.New(slurm.Config{
		Settings: o.Settings, Timeout: o.Timeout, Dir: s.Dirs.State, Hint: hint(o.Wants), Hosts: hosts,
		Program: slurm.Program{Path: program, Args: []string{"node", "--lease"}},
	})
}

// hint is the same for jobs that want the same environment: by it hosts are found
// that had its image, before it is resolved to one.
func hint(w ore.Wants) string {
	b, err := json.Marshal(w)
	if err != nil {
		return "" // a wish is strings, numbers and lists
	}
	return ore.DigestOf(b).Short()
}
