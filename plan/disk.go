package plan

import (
	"cmp"
	"slices"

	"ore"
)

// Strategies are from what machines install themselves onto their disks.
const (
	FromImage    = "image"    // the image is made once, and each machine writes it
	FromBase     = "base"     // each writes the base's, and installs the rest
	FromPackages = "packages" // each installs all
	FromDisk     = "disk"     // the image of a whole disk is made once, and each writes it
	FromMirror   = "mirror"   // each fetches all packages there for itself: only where somebody asks for it
)

// Directly is how machines start from the disk that they have installed where their
// driver starts its system at once: there is no firmware that kexec(8) would skip.
// Elsewhere they go into it by kexec, or through their firmware and boot loader.
const (
	Directly   = "direct"
	ByKexec    = "kexec"
	ByFirmware = "firmware"
)

// Stages of a machine that installs itself, also those of the timeline where it has
// them. It restarts after them.
const (
	Setup     = "setup"      // all that is neither of the next two
	Pour      = "base"       // writing layers onto the disk
	Packages  = "packages"   // installing what they lack
	DiskImage = "disk image" // before them: making one
)

// Kinds of work of one machine, each with a hypervisor, and their amounts.
const (
	workSetup    = "setup"    // machines
	workPour     = "pour"     // runs, bytes of layers
	workPackages = "packages" // runs, packages, bytes of .debs
)

// Onto returns a for machines that install themselves, by one strategy alone or, for
// "", by the best, and that start again in one of the ways restarts.
func (a Ask) Onto(only string, restarts ...string) Ask {
	a.Disk, a.Restarts = []string{FromImage, FromDisk, FromBase, FromPackages}, restarts
	if only != "" {
		a.Disk = []string{only}
	}
	return a
}

// onDisks lists how machines install themselves with what w gives.
func (m *model) onDisks(w way, spreads []Distribution) []Option {
	var all []Option
	asked := func(s string) bool {
		return slices.Contains(m.ask.Disk, s) && (len(m.ask.Disk) == 1 || !slices.Contains(m.have.Unfit, s))
	}
	for _, s := range []string{FromImage, FromDisk} {
		for _, d := range spreads {
			if asked(s) && (s == FromImage || m.have.Disk != nil || len(m.ask.Disk) == 1) {
				all = append(all, m.once(w, d, s))
			}
		}
	}
	var own []string
	switch {
	case w.way == Delta && w.at == "" && w.candidate < 0:
		own = []string{FromBase}
	case w.way == Clean && m.have.Base:
		own = []string{FromPackages}
	case w.way == Clean: // the base is made, too
		own = []string{FromPackages, FromBase}
	}
	for _, s := range own {
		if asked(s) {
			all = append(all, m.themselves(w, s, spreads[len(spreads)-1]))
		}
	}
	return all
}

// themselves predicts machines that install packages, over the base's image or over
// nothing. What they install from reaches other hosts as d says.
func (m *model) themselves(w way, from string, d Distribution) Option {
	o := newOption(w)
	o.Each, o.Strategy, o.Distribution = true, from, d
	t := newTraffic(m)
	o.Install = m.ask.Environment.Packages
	base, rest := way{install: o.Install, base: true}.split() // w's may be the rest alone
	var layers float64
	if from == FromBase {
		o.Install, layers = rest, float64(m.have.BaseLayer.Size)
		if layers == 0 {
			layers = cmp.Or(m.rates.Layer, 1) * debs(base)
		}
		if w.way == Clean {
			o.Stages = append(o.Stages, m.fetchDebs(way{install: base}, t))
			o.Stages = append(o.Stages, m.cleanStages(m.load(base, m.have.Packs), load{}, m.head(), 1)...)
		}
	}
	o.Stages = append(o.Stages, m.fetchDebs(way{install: o.Install}, t))
	if m.spread() {
		sent := way{layers: []Layer{{Size: int64(layers + debs(o.Install))}}}
		o.Stages = append(o.Stages, m.distribute(sent, d, t))
	}
	o.Stages = append(o.Stages, m.installing(from, layers, o.Install)...)
	o.Start = m.start(m.ask.Starts, Start).by
	return m.finish(o, t)
}

func debs(packages []ore.Package) float64 {
	var bytes float64
	for _, p := range packages {
		bytes += float64(p.Size)
	}
	return bytes
}

// whole has a disk image made where there is none, and returns what machines write.
func (m *model) whole(o *Option, bytes float64) float64 {
	if m.have.Disk != nil && m.have.Disk.Size > 0 {
		return float64(m.have.Disk.Size)
	}
	t := Term{Law: lawName(DiskImage, m.head().name()), Amounts: []float64{1, bytes}}.on(m.head(), m.head().cores(), 1)
	o.Stages = append(o.Stages, Estimate{Stage: DiskImage, Work: bytes, Unit: "bytes", Branches: [][]Term{{t}}})
	return bytes
}

// installing predicts what machines do between their start and being ready, on the
// host where it takes longest. A machine works in one thread.
func (m *model) installing(from string, layers float64, packages []ore.Package) []Estimate {
	by := m.start(m.ask.Starts, Start).by
	one := func(kind string, h Host, amounts ...float64) [][]Term {
		if from == FromDisk { // they make neither file systems nor files
			kind += " " + from
		}
		if by != "" {
			kind += " " + by
		}
		return [][]Term{{m.machines(Term{Law: lawName(kind, h.name()), Amounts: amounts}, h, 1, m.boxes[h.Box])}}
	}
	var slowest []Estimate
	longest := -1.0
	for _, h := range m.hosts {
		if m.boxes[h.Box] == 0 {
			continue
		}
		stages := []Estimate{{Stage: Setup, Work: float64(m.ask.Machines), Unit: "machines", Branches: one(workSetup, h, 1)}}
		if layers > 0 {
			stages = append(stages, Estimate{Stage: Pour, Note: "onto each machine's disk", Work: layers, Unit: "bytes", Branches: one(workPour, h, 1, layers)})
		}
		if n := len(packages); n > 0 {
			stages = append(stages, Estimate{Stage: Packages, Note: "on each machine", Work: float64(n), Unit: "packages",
				Branches: one(workPackages, h, 1, float64(n), debs(packages))})
			if steps := m.ask.Environment.Steps; len(steps) > 0 {
				stages = append(stages, m.steps(steps, h, m.boxes[h.Box]))
			}
		}
		var sum float64
		for i := range stages {
			sum += m.moment(&stages[i], nil).mean
		}
		if sum > longest {
			slowest, longest = stages, sum
		}
	}
	return append(slowest, m.start(m.ask.Restarts, Restart).stage)
}

// provenFirst puts what machines would do for themselves, and nobody has measured,
// behind making the image: an image is made in any case by a way that is known to
// work, once, and is there the next time. Who asks for another strategy alone gets
// it, and its rates are known from then on.
func provenFirst(all []Option) {
	slices.SortStableFunc(all, func(a, b Option) int { return cmp.Compare(a.daring(), b.daring()) })
}

func (o Option) daring() int {
	if (o.Each && o.Strategy != "" || o.Strategy == FromDisk) && !o.Known {
		return 1
	}
	return 0
}
