package plan

import (
	"ore"
	"ore/image"
)

// Ask is what is asked for, and where it is to run.
type Ask struct {
	Environment ore.Environment
	Machines    int // 0: only the image is wanted
	Locked      bool
	Superset    bool     // an image with more than was asked may be taken, unless Locked
	Hosts       []Host   // the first makes the image; none means one host
	Starts      []string // ways to start machines, such as "uml"; none means one without a name
	Elsewhere   bool     // machines run on the other hosts alone, which get the image once the first has it whole
	Chain       bool     // hosts can pass an image on
	Each        bool     // machines can install themselves
	Disk        []string // strategies by which machines install themselves onto their disks; none: they mount the image
	Apart       bool     // machines share no cores with the hosts
	Restarts    []string // how such a machine comes up again, such as "kexec", "restart"
}

// Destinations of links beside caches, which are known by their names.
const (
	Mirror = "mirror" // where packages come from
	Peers  = "hosts"  // the other hosts
)

// Here is the name of the host that is asked, as its rates are kept.
const Here = "here"

// Host is where machines run.
type Host struct {
	Name     string  // "" means Here
	Box      string  // hosts that name the same box share its cores; "" is its own
	Cores    int     // 0 means 1
	Load     float64 // threads of others that want a core all the time
	Machines int     // that run there; 0 in all hosts means an even share
	// Links are those on the way to a destination. Two hosts that name the same
	// link share it. A destination that is not listed has a link of its own name
	// that all hosts share; that to Peers is each host's own.
	Links map[string][]string
	Holds map[ore.Digest]int64 // bytes of layers that this host has already
}

// Have is what exists that the environment could use.
type Have struct {
	Exact      *image.Manifest       // the image of the environment's key, on the first host
	Base       bool                  // the layer of its base set is there
	BaseLayer  image.Layer           // that layer, if there is one
	Disk       *image.Layer          // the disk image of the asked machines, of no size if it is not there; nil if there can be none
	Unfit      []string              // strategies for whose work the asked machines' disks have no room: taken only where it alone is asked
	Restore    int64                 // bytes of it that must be unpacked before anything is installed over it
	Debs       map[ore.Digest]bool   // packages whose .deb is on the host
	Packs      map[ore.Digest]bool   // packages that were decoded before
	Weights    map[ore.Digest]Weight // of packages to install and to remove, of whom it is known
	Steps      []string              // names of the environment's steps whose results builds here have kept
	Candidates []Candidate
	Unasked    []string           // caches that were not asked, since nothing they may have could come soon enough
	Links      map[string]LinkTry // what asking showed of links; counts for those that have no rates yet
}

// Weight is what is known of a package whose maintainer scripts were read.
type Weight struct {
	Scripts  int // that run when it is installed
	Programs int // that its scripts call when it is removed
}

// Candidate is an image that shares packages with the environment.
type Candidate struct {
	Key     ore.Key
	At      string        // the cache that has it; "" when it is here
	Base    bool          // it is the environment's base set alone
	Other   bool          // it is of another environment, if only of one that asks for the same packages in other words
	Missing []ore.Package // what it lacks
	Extra   []ore.Package // what it has too much
	Files   bool          // it has the environment's files, or there are none
	Steps   []string      // names of the environment's steps that it has done
	Layers  []Layer
	Restore int64 // bytes of its layers that must be unpacked before anything is installed over it
}

// Layer is a layer of a candidate.
type Layer struct {
	Digest ore.Digest
	Size   int64
	Fetch  int64 // bytes that must come from where the candidate is, after what is held was used
}

// whole says whether the candidate is the very environment.
func (c Candidate) whole(steps int) bool {
	return !c.Other && len(c.Missing)+len(c.Extra) == 0 && c.Files && len(c.Steps) == steps
}

func (h Host) name() string {
	if h.Name == "" {
		return Here
	}
	return h.Name
}

func (h Host) cores() int { return max(1, h.Cores) }

// way returns the links to a destination.
func (h Host) way(to string) []string {
	if l, ok := h.Links[to]; ok {
		return l
	}
	if to == Peers {
		return []string{Peers + " " + h.name()}
	}
	return []string{to}
}

// On returns a for machines on other hosts, to which the first gives the image; none
// leaves them where they are.
func (a Ask) On(hosts []Host) Ask {
	if len(hosts) == 0 {
		return a
	}
	head := Host{}
	if len(a.Hosts) > 0 {
		head = a.Hosts[0]
	}
	head.Machines = 0
	a.Hosts, a.Elsewhere, a.Chain = append([]Host{head}, hosts...), true, true
	return a
}

// hosts returns the hosts with their machines shared out and names filled in.
func (a Ask) hosts() []Host {
	if len(a.Hosts) == 0 {
		return []Host{{Name: Here, Box: Here, Machines: a.Machines}}
	}
	hosts := make([]Host, len(a.Hosts))
	given := 0
	for i, h := range a.Hosts {
		hosts[i] = h
		hosts[i].Name = h.name()
		if hosts[i].Box == "" {
			hosts[i].Box = hosts[i].Name
		}
		given += h.Machines
	}
	if given > 0 {
		return hosts
	}
	run := hosts
	if a.Elsewhere && len(hosts) > 1 {
		run = hosts[1:]
	}
	for i := range run {
		run[i].Machines = a.Machines / len(run)
		if i < a.Machines%len(run) {
			run[i].Machines++
		}
	}
	return hosts
}
