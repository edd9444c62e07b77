// Package settings reads what a person or an operator has set for a site.
//
// It is a YAML file: site.yaml in $XDG_CONFIG_HOME/ore (~/.config/ore), else
// /etc/ore/site.yaml; ORE_CONFIG names another one. Without a file all is as its
// zero value says. Keys that are not known are refused with their line.
//
//	mirror: https://mirror.example.org/debian   # default: the host's apt configuration
//	caches:                                     # where images may be fetched
//	  - url: https://cache.example.org:7443#sha256:6f1c...
//	    token_file: ~/.config/ore/token
//	    push: true                              # what is built here goes there
//	  - url: oci://registry.example.org/group/ore
//	trusted_keys: /etc/ore/keys                 # only images that these signed are fetched and used
//	superset: true                              # an image with more than was asked will do
//	hedge: false                                # never start two ways at once
//	early_start: false                          # machines elsewhere wait until all of their image is there
//	quota: 50G                                  # of the image cache; default: what the disk has
//	prepare: 2m                                 # after jobs, while the host is idle: images likely to be asked for
//	                                            # are made anew, for so long at most, 30m in any case; default: never,
//	                                            # since it fetches
//	engine: hosts                               # where machines run; default: local, this host
//	hosts: [node1, node2:7447]                  # where 'ore node' runs
//	host_keys: ~/.config/ore/host.keys          # default: this user's own
//	rack: r1                                    # where this host stands; hosts say it with 'ore node --rack'
//	switch: s1                                  # that the rack is connected with
//	slurm:                                      # with engine: slurm; default: Slurm's own defaults
//	  partition: main
//	  account: lab                              # and qos, constraint
//	  extra: [--exclude=h3]                     # further options of salloc
//	  rest: unix:/run/slurmrestd                # Slurm's service is asked instead of its commands
//	  token_file: ~/.config/ore/slurm.token     # of 'scontrol token'; default: SLURM_JWT, else the socket says who asks
//
// Paths may begin with ~/, the user's home. Relative ones are relative to the
// file. Sizes are a number with K, M, G or T, powers of 1024.
package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"ore/engine/slurm"
	"ore/job"
)

// Variable names the environment variable that names the file.
const Variable = "ORE_CONFIG"

// system is where an operator sets what holds for all users of a host.
const system = "/etc/ore/site.yaml"

// Settings is what such a file says.
type Settings struct {
	Mirror      string   `yaml:"mirror"`
	Keyring     string   `yaml:"keyring"`
	Caches      []Cache  `yaml:"caches"`
	TrustedKeys string   `yaml:"trusted_keys"`
	Superset    bool     `yaml:"superset"`
	Hedge       *bool    `yaml:"hedge"`       // nil: on
	EarlyStart  *bool    `yaml:"early_start"` // nil: on
	Quota       Size     `yaml:"quota"`
	Prepare     Time     `yaml:"prepare"`
	Engine      string   `yaml:"engine"`
	Hosts       []string `yaml:"hosts"`
	HostKeys    string   `yaml:"host_keys"`
	Rack        string   `yaml:"rack"`
	Switch      string   `yaml:"switch"`

	Slurm slurm.Settings `yaml:"slurm"`
}

// Cache is a cache elsewhere.
type Cache struct {
	URL       string `yaml:"url"`
	TokenFile string `yaml:"token_file"`
	CA        string `yaml:"ca"`
	Push      bool   `yaml:"push"`
}

// Size is a number of bytes.
type Size int64

// UnmarshalYAML reads a size as job files have it.
func (s *Size) UnmarshalYAML(n *yaml.Node) error {
	v, err := job.ParseSize(n.Value)
	if err != nil {
		return fmt.Errorf("line %d: quota %q: %w", n.Line, n.Value, err)
	}
	*s = Size(v)
	return nil
}

// Time is how long something may take.
type Time time.Duration

// UnmarshalYAML reads a time as Go writes it: 90s, 2m, 1h30m.
func (d *Time) UnmarshalYAML(n *yaml.Node) error {
	v, err := time.ParseDuration(n.Value)
	if err == nil && v < 0 {
		err = errors.New("less than nothing")
	}
	if err != nil {
		return fmt.Errorf("line %d: time %q: %w: write it like 90s or 2m", n.Line, n.Value, err)
	}
	*d = Time(v)
	return nil
}

// Find returns the file that holds for a user with the given environment; "" if
// there is none. A file that ORE_CONFIG names must exist.
func Find(getenv func(string) string) string {
	if named := getenv(Variable); named != "" {
		return named
	}
	dir := getenv("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(getenv("HOME"), ".config")
	}
	for _, p := range []string{filepath.Join(dir, "ore", "site.yaml"), system} {
		if _, err := os.Stat(p); !errors.Is(err, fs.ErrNotExist) {
			return p
		}
	}
	return ""
}

// Read reads the file at path. home is what ~ stands for.
func Read(path, home string) (Settings, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return Settings{}, fmt.Errorf("read settings: %w: make the file, or unset %s", err, Variable)
	}
	s, err := parse(b)
	if err != nil {
		return Settings{}, fmt.Errorf("settings %s: %w", path, err)
	}
	from := filepath.Dir(path)
	paths := []*string{&s.TrustedKeys, &s.Keyring, &s.HostKeys, &s.Slurm.TokenFile}
	for i := range s.Caches {
		paths = append(paths, &s.Caches[i].TokenFile, &s.Caches[i].CA)
	}
	for _, p := range paths {
		switch {
		case *p == "" || filepath.IsAbs(*p):
		case strings.HasPrefix(*p, "~/"):
			*p = filepath.Join(home, (*p)[2:])
		default:
			*p = filepath.Join(from, *p)
		}
	}
	return s, nil
}

func parse(b []byte) (Settings, error) {
	var s Settings
	if err := yaml.Load(b, &s, yaml.WithKnownFields()); err != nil && !empty(b) {
		return Settings{}, located(err)
	}
	for i, c := range s.Caches {
		if c.URL == "" {
			return Settings{}, fmt.Errorf("caches: number %d has no url: write url: https://HOST:PORT or oci://HOST/REPOSITORY", i+1)
		}
	}
	return s, s.Slurm.Check()
}

// empty says whether b has nothing but comments, which YAML calls no document.
func empty(b []byte) bool {
	for line := range strings.Lines(string(b)) {
		if l := strings.TrimSpace(line); l != "" && l[0] != '#' {
			return false
		}
	}
	return true
}

// located gives each fault its place in the file.
func located(err error) error {
	var many *yaml.LoadErrors
	var one *yaml.LoadError
	switch {
	case errors.As(err, &many):
		var all []error
		for _, e := range many.Errors {
			all = append(all, located(e))
		}
		return errors.Join(all...)
	case errors.As(err, &one):
		return fmt.Errorf("line %d, column %d: %s", max(one.Mark.Line, 1), max(one.Mark.Column, 1), one.Message)
	}
	return err
}
