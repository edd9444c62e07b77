// Package bound says when fetching something is given up for making it here. A
// cache that is down costs no more than it was expected to save; one that is slow
// is left as soon as what has come shows that starting anew is sooner.
package bound

import (
	"context"
	"fmt"
	"slices"
	"time"

	"ore"
	"ore/plan"
)

// Least is what waiting for a near and busy cache may take in any case.
const Least = 100 * time.Millisecond

// every is how often progress is looked at: a fraction of Least.
const every = 20 * time.Millisecond

// longestStart is how long what comes now and then is not judged by: as long as a
// name, a handshake and a list take over a bad link.
const longestStart = time.Second

// Bound is what fetching may take.
type Bound struct {
	Instead time.Duration // what making it here is predicted to take
	Saving  time.Duration // how much sooner fetching was predicted to be done
	Bytes   int64         // that are foreseen to come
	Most    int64         // that come if nothing here is of use, as was foreseen; 0 is no more than Bytes
}

// Of returns what the option o, which begins with an image of a cache elsewhere,
// may take, if making it here takes what rates say. What they know nothing of
// counts as nothing, so that it does not lengthen the wait.
func Of(ask plan.Ask, have plan.Have, rates plan.Rates, o plan.Option) Bound {
	p := plan.Choose(ask, have, rates)
	var b Bound
	for _, other := range p.Options {
		if t := seconds(other.Total.Middle); other.Possible && other.At == "" && (b.Instead == 0 || t < b.Instead) {
			b.Instead = t
		}
	}
	i := slices.IndexFunc(p.Options, func(again plan.Option) bool {
		return again.Possible && again.Way == o.Way && again.At == o.At && again.From == o.From
	})
	if i < 0 {
		return b
	}
	b.Saving = b.Instead - seconds(p.Options[i].Total.Middle)
	if c := p.Options[i].Candidate; c >= 0 {
		for _, l := range have.Candidates[c].Layers {
			b.Bytes += l.Fetch
			if l.Fetch > 0 {
				b.Most += l.Size
			}
		}
	}
	return b
}

func seconds(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }

// Lacking returns how many bytes of .debs hold what a host with have lacks of env:
// all but the base set where its layer is there, or what the nearest image there
// lacks. A cache sends no more than layers of these.
func Lacking(env ore.Environment, have plan.Have) int64 {
	var least int64
	for _, p := range env.Packages {
		if !have.Base || !p.Base {
			least += p.Size
		}
	}
	for _, c := range have.Candidates {
		if c.At == "" {
			least = min(least, debs(c.Missing))
		}
	}
	return least
}

func debs(all []ore.Package) (n int64) {
	for _, p := range all {
		n += p.Size
	}
	return n
}

// Progress is how far a fetch has come.
type Progress struct {
	Elapsed time.Duration
	Wait    time.Duration // until something came
	Flowing time.Duration // in which something came
	Quiet   time.Duration // since something came
	Got     int64         // bytes that came
}

// Over says why a fetch is to be given up; "" if it is not.
func (b Bound) Over(p Progress) string {
	if patience := max(Least, b.Saving); p.Quiet >= patience {
		return fmt.Sprintf("nothing came for %.1f s, and no more was to be saved", p.Quiet.Seconds())
	}
	// Half of what is to be saved is enough to judge by: what is sent shorter than
	// expected, as a patch, begins late. What comes first is short, and says nothing
	// of the rate of the rest, which a busy cache may have to look for.
	if p.Got == 0 || p.Elapsed < max(Least, b.Saving/2) || p.Flowing < Least && p.Elapsed < max(longestStart, b.Saving) {
		return ""
	}
	remain := b.Bytes - p.Got
	if remain < 0 { // less was of use than was thought
		remain = max(0, b.Most-p.Got)
	}
	left := time.Duration(float64(p.Elapsed-p.Wait) * float64(remain) / float64(p.Got))
	if left > b.Instead {
		return fmt.Sprintf("it would take %.1f s more, making it here takes %.1f s", left.Seconds(), b.Instead.Seconds())
	}
	return ""
}

// Watch returns a context that ends when the fetch that received counts the
// bytes of is to be given up; its cause says why. The caller calls stop when the
// fetch has ended.
func (b Bound) Watch(ctx context.Context, received func() int64) (watched context.Context, stop func()) {
	watched, cancel := context.WithCancelCause(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		begun, first := time.Now(), received()
		last, at := first, begun
		var p Progress
		for {
			select {
			case <-watched.Done():
				return
			case now := <-tick.C:
				n := received()
				if n != last {
					if last == first {
						p.Wait = now.Sub(begun)
					}
					p.Flowing += every // more only if this process had no core
					last, at = n, now
				}
				p.Elapsed, p.Quiet, p.Got = now.Sub(begun), now.Sub(at), n-first
				if why := b.Over(p); why != "" {
					cancel(&given{why})
				}
			}
		}
	}()
	return watched, func() {
		cancel(nil)
		<-ended
	}
}

// given is why a fetch was given up.
type given struct{ why string }

func (g *given) Error() string { return "given up: " + g.why }

// Alone returns what making the image here by p may take, zero if that is not known.
func Alone(p plan.Plan) time.Duration {
	var least time.Duration
	for _, o := range p.Options {
		here := o.Possible && o.Known && o.At == "" && o.Way != plan.Exact && o.Way != plan.Superset
		if t := seconds(o.Total.High); here && (least == 0 || t < least) {
			least = max(t, Least)
		}
	}
	return least
}
