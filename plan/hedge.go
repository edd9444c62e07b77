package plan

import "math"

// HedgeRule says when two ways are started at once.
type HedgeRule struct {
	Off   bool
	Price float64 // the most seconds of work that may be thrown away, as a share of the chosen way's
	Gain  float64 // the least seconds that must be expected to be won, as a share of the chosen way's
}

// DefaultHedge lets as much work be thrown away as the chosen way takes, for the
// hope of a tenth.
func DefaultHedge() HedgeRule { return HedgeRule{Price: 1, Gain: 0.1} }

// Hedged is a decision to start two ways and to cancel the loser.
type Hedged struct {
	First, Second Option
	Gain          float64 // seconds that are expected to be won; 0 when a way's time is not known
	Price         float64 // seconds after which the second is cancelled even if the first is not done
}

// Hedge decides whether the chosen way and another are to be started at once:
// when their ranges overlap, they wait for different things (one for a link, the
// other for the cores; else each would only hold the other up), what is expected
// to be won is worth it, and what is thrown away is bounded.
func (p Plan) Hedge(rule HedgeRule) (Hedged, bool) {
	if rule.Off || len(p.Options) < 2 {
		return Hedged{}, false
	}
	first := p.Chosen()
	for _, second := range p.Options[1:] {
		if !second.Possible || second.Each != first.Each || second.Strategy != first.Strategy || !apart(first, second) {
			continue
		}
		h := Hedged{First: first, Second: second, Price: rule.Price * first.Total.Middle}
		switch {
		case first.Known && second.Known:
			a, b := first.Total.moment(), second.Total.moment()
			h.Gain = later(a, b).mean - b.mean // the mean of the first less that of the earlier
			if second.Total.Low < first.Total.High && h.Gain >= rule.Gain*first.Total.Middle {
				return h, true
			}
		case first.Known != second.Known:
			if !first.Known {
				h.Price = rule.Price * second.Total.Middle
			}
			return h, h.Price > 0
		}
	}
	return Hedged{}, false
}

// moment is the inverse of span.
func (r Range) moment() moment {
	if r.Low <= 0 || r.High <= r.Low {
		return moment{mean: r.Middle}
	}
	s := math.Log(r.High/r.Low) / (2 * eightOfTen)
	return moment{mean: r.Middle, deviation: r.Middle * math.Sqrt(math.Exp(s*s)-1)}
}

// apart says whether two ways wait for different things most of their time.
func apart(a, b Option) bool {
	return a.overLinks() != b.overLinks()
}

// overLinks says whether an option waits mostly for links. One whose links were
// never measured does.
func (o Option) overLinks() bool {
	var links, cores float64
	for _, e := range o.Stages {
		switch e.Stage {
		case Pull, Fetch, Distribute:
			if !e.Known {
				return true
			}
			links += e.Seconds.Middle
		case Start, Restart: // what all ways end with
		default:
			cores += e.Seconds.Middle
		}
	}
	return links > cores
}
