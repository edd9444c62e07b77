package plan

// Calibration is what some seconds of trying showed of a host and its links.
// Zero stands for what was not tried.
type Calibration struct {
	Cores    int
	Decode   float64            // bytes of .debs in a second, on one core
	Compress float64            // bytes of files in a second, on one core
	Hash     float64            // bytes in a second, on one core
	Create   float64            // files in a second
	Process  float64            // seconds to start a program and see it end
	Links    map[string]LinkTry // by the link's name
}

// LinkTry is what was seen of a link.
type LinkTry struct {
	Request float64 // seconds until the first byte
	Rate    float64 // bytes in a second
}

// What environments are like, measured on Debian 12 (minbase with ncbi-blast+:
// 126 packages of 65 MB, 296 MB in 10,600 files, whose 130 maintainer scripts
// started 480 programs). They turn what a calibration can measure into what a
// build does; runs soon correct them.
const (
	debPerFile        = 6e3 // bytes of .deb for each file
	filePerDeb        = 4.5 // bytes of files for each byte of .deb
	layerPerDeb       = 1.6 // bytes of a layer for each byte of .deb
	programsPerScript = 4
	programsPerRun    = 6 // a sandbox, its worker, dpkg
)

// Calibrate returns r with a host's calibration taken in: first rates for what
// was never run there, which runs then correct.
func (r Rates) Calibrate(host string, c Calibration) Rates {
	n := r.clone()
	if host == "" {
		host = Here
	}
	cores := float64(max(1, c.Cores))
	learn := func(kind string, coefficients ...float64) {
		name := lawName(kind, host)
		n.Laws[name] = n.Laws[name].Calibrated(coefficients)
	}
	run := programsPerRun * c.Process
	var each float64 // seconds for a byte of .deb whose files are read and worked on
	if c.Compress > 0 {
		each = filePerDeb / c.Compress
	}
	if c.Decode > 0 && c.Create > 0 {
		put := 1 / (debPerFile * c.Create)
		learn(workUnpack, run, 1/(c.Decode*cores), put)
		learn(workRestore, put/layerPerDeb)
	}
	if c.Process > 0 {
		learn(workConfigure, run, 1, programsPerScript*c.Process, each)
		learn(workRemove, run, 1, programsPerScript*c.Process)
	}
	if c.Compress > 0 {
		seal := each / cores
		if c.Hash > 0 {
			seal += 1 / c.Hash
		}
		learn(workSeal, run, seal)
	}
	for name, l := range c.Links {
		if l.Rate > 0 {
			law := lawName(workFetch, name)
			n.Laws[law] = n.Laws[law].Calibrated([]float64{max(l.Request, 1e-6), 1 / l.Rate})
			if all := pool(law); all != law {
				n.Laws[all] = n.Laws[all].Calibrated([]float64{max(l.Request, 1e-6), 1 / l.Rate})
			}
		}
	}
	return n
}

// Assume returns r with first rates from c for the work of a host that nothing
// is known of; what is known stays as it is.
func (r Rates) Assume(host string, c Calibration) Rates {
	n := r.clone()
	for name, l := range (Rates{}).Calibrate(host, c).Laws {
		old := r.named(name)
		if old.Knows(l.Coef) {
			continue
		}
		for i, c := range old.Coef { // what was measured keeps its part
			if i < len(l.Coef) && old.KnowsAmount(i) && c > 0 {
				l.Coef[i] = c
			}
		}
		n.Laws[name] = old.Calibrated(l.Coef)
	}
	return n
}
