package plan

import "time"

// weight is the share of a new measurement in a rate: high enough to follow a
// site that changes, low enough that one odd run does not turn the choice.
const weight = 0.3

// shortest is the least time that a measurement must have taken to count:
// below it, the clock and the start of processes are what is measured.
const shortest = 5 * time.Millisecond

// Learn returns r with the measurement of one stage taken in, as an
// exponentially weighted mean. Measurements of no work or next to no time are
// left out.
func (r Rates) Learn(stage string, work float64, took time.Duration) Rates {
	if work <= 0 || took < shortest {
		return r
	}
	rate := work / took.Seconds()
	learn := func(old *float64) {
		if *old == 0 {
			*old = rate
			return
		}
		*old += weight * (rate - *old)
	}
	switch stage {
	case Fetch:
		learn(&r.Fetch)
	case Unpack:
		learn(&r.Decode)
	case reuseStage:
		learn(&r.Reuse)
	case Configure:
		learn(&r.Configure)
	case Seal:
		learn(&r.Seal)
	case Start:
		learn(&r.Start)
	}
	return r
}

// reuseStage is how Learn tells unpacking of packages decoded before from the
// first time.
const reuseStage = "reuse"
