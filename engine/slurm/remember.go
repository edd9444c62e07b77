package slurm

import (
	"cmp"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"ore"
)

// memoryFile is in the folder of Config.Dir.
const memoryFile = "slurm-hosts.json"

const (
	// maxHints bounds how many kinds of jobs are remembered, the latest first.
	maxHints = 256
	// maxHosts bounds the hosts of each: more than a job is ever placed on again.
	maxHosts = 1024
)

// memory is which hosts had which images in earlier runs. It is advice: if two
// runs write it at once, one of them is forgotten.
type memory struct {
	Hints map[string]remembered `json:"hints"`
}

// remembered is the last run of one kind of job.
type remembered struct {
	Key   ore.Key   `json:"key"`
	Hosts []string  `json:"hosts"`
	Time  time.Time `json:"time"`
}

// recall reads the memory. One that cannot be read is empty.
func recall(dir string) memory {
	var m memory
	if b, err := os.ReadFile(filepath.Join(dir, memoryFile)); err == nil {
		if json.Unmarshal(b, &m) != nil {
			m = memory{}
		}
	}
	if m.Hints == nil {
		m.Hints = map[string]remembered{}
	}
	return m
}

// add remembers a run. The hosts of the run before come after those of this one,
// since they still have the image, too.
func (m memory) add(hint string, r remembered) {
	if old := m.Hints[hint]; old.Key == r.Key {
		for _, h := range old.Hosts {
			if !slices.Contains(r.Hosts, h) {
				r.Hosts = append(r.Hosts, h)
			}
		}
	}
	r.Hosts = r.Hosts[:min(len(r.Hosts), maxHosts)]
	m.Hints[hint] = r
	for len(m.Hints) > maxHints {
		oldest := hint
		for k, v := range m.Hints {
			if v.Time.Before(m.Hints[oldest].Time) {
				oldest = k
			}
		}
		delete(m.Hints, oldest)
	}
}

// write keeps the memory.
func (m memory) write(dir string) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, memoryFile+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	err = cmp.Or(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, memoryFile))
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// featurePrefix begins the feature by which a site marks hosts with an image.
const featurePrefix = "ore-"

// feature is the feature of hosts that have the image of a key.
func feature(k ore.Key) string { return featurePrefix + k.Short() }

// room is what a host could take at the moment.
type room struct {
	host     string
	idle     int // CPUs
	features []string
}

// roomFormat has sinfo print what parseRoom reads: host, state, CPUs as
// allocated/idle/other/total, features.
const roomFormat = "%N|%t|%C|%f"

// parseRoom reads the lines of 'sinfo -h -N'. A host in several partitions has
// several lines.
func parseRoom(text string) []room {
	var all []room
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), "|")
		if len(f) != 4 || slices.ContainsFunc(all, func(r room) bool { return r.host == f[0] }) {
			continue
		}
		r := room{host: f[0], features: strings.Split(f[3], ",")}
		if cpus := strings.Split(f[2], "/"); len(cpus) == 4 && (f[1] == "idle" || f[1] == "mix") {
			r.idle, _ = strconv.Atoi(cpus[1])
		}
		all = append(all, r)
	}
	return all
}

// prefer says which hosts or which feature the request had better have. Nothing
// is the answer where nothing is known.
func (s Settings) prefer(ctx context.Context, r request, was remembered) (named []string, feat string) {
	if len(was.Hosts) == 0 {
		return nil, ""
	}
	args := []string{"sinfo", "-h", "-N", "-o", roomFormat}
	if s.Partition != "" {
		args = append(args, "-p", s.Partition)
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	out, err := ask(ctx, args...)
	if err != nil {
		return nil, "" // salloc will say the same, and better
	}
	return choose(parseRoom(out), r, was)
}

// choose picks, of hosts that had the image, as few as can have all the job's
// machines now, the emptiest first.
func choose(all []room, r request, was remembered) (named []string, feat string) {
	cpus, _ := r.tasks()
	var free []room
	for _, h := range all {
		if slices.Contains(h.features, feature(was.Key)) {
			return nil, feature(was.Key)
		}
		if h.idle >= cpus && slices.Contains(was.Hosts, h.host) {
			free = append(free, h)
		}
	}
	slices.SortStableFunc(free, func(a, b room) int { return b.idle - a.idle })
	left := r.machines.Count
	for _, h := range free {
		if left <= 0 {
			break
		}
		named = append(named, h.host)
		left -= h.idle / cpus
	}
	return named, ""
}
