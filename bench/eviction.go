package main

import (
	"context"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"ore/cache/evict/replay"
)

// firstSeed is that of the first round's traces; the next round has the next
// one. The policy was made while looking at traces of the seeds 1 to 5.
const firstSeed = 101

// evictionContestants play the replayed traces against one peer each.
func evictionContestants() []contestant {
	against := func(name string, peer func(*replay.State) replay.Policy) contestant {
		return contestant{name: name, run: func(ctx context.Context, b *bench, round int) error {
			return b.evict(ctx, name, peer, round)
		}}
	}
	return []contestant{against(evictLRU, replay.NewLRU), against(evictGDSF, replay.NewGDSF)}
}

// evict plays one trace of each shape against ours and a peer, in a cache of
// exact matches with room for a tenth of the footprint. The value is how many
// times the seconds of the peer ours saves on the shape where that is least.
func (b *bench) evict(ctx context.Context, name string, peer func(*replay.State) replay.Policy, round int) error {
	clock := startClock(name, round)
	before := ownCPU()
	least := math.Inf(1)
	shapes := map[string]float64{}
	for _, s := range replay.Shapes() {
		if err := ctx.Err(); err != nil {
			return err
		}
		w, trace := s.Trace(firstSeed + uint64(round))
		rules := replay.Rules{Room: replay.Room(w, trace, replay.Share)}
		ratio := replay.Play(w, trace, rules, replay.NewOurs).Saved / replay.Play(w, trace, rules, peer).Saved
		shapes[s.Name+", x 1000"] = ratio
		least = min(least, ratio)
	}
	s := clock.stop(ownCPU() - before)
	s.Value, s.Unit, s.Stages = least, "x", shapes
	return b.record.add(s)
}

// ownCPU is the processor time of this process so far.
func ownCPU() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
