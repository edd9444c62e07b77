package engine

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"ore"
)

// Place is a host as placement sees it.
type Place struct {
	Cores   int
	Load    float64 // of the last minute
	Busy    int     // cores that machines of the job have already
	Free    int64   // bytes of memory
	Lacking int     // how many of the image's layers it lacks
	Blamed  bool    // takes no machines
	Most    int     // machines that it may have; 0 bounds nothing
}

// Deal says how many machines each of the places gets: one after the other, to
// the place with a core free, if there is one; of those to one that lacks
// nothing; of those to the one with the least to do for its cores; of equal ones
// to the first. A place has no more machines than fit into its memory.
func Deal(m ore.Machines, places []Place) ([]int, error) {
	places = unequal(places)
	counts := make([]int, len(places))
	for n := range m.Count {
		best := -1
		for i, p := range places {
			if p.Blamed || p.Most > 0 && counts[i] >= p.Most || p.Free < m.Memory*int64(counts[i]+1) {
				continue
			}
			if best < 0 || before(score(m, p, counts[i]), score(m, places[best], counts[best])) {
				best = i
			}
		}
		if best < 0 && !slices.ContainsFunc(places, func(p Place) bool { return !p.Blamed }) {
			return nil, errors.New("engine hosts: no host is left that can be used: name more hosts")
		}
		if best < 0 {
			return nil, fmt.Errorf("engine hosts: %d machines of %d MiB: the hosts have memory for %d: ask for fewer or smaller ones, or name more hosts", m.Count, m.Memory>>20, n)
		}
		counts[best]++
	}
	return counts, nil
}

// unequal takes loads away that say nothing: what all have, and small
// differences, since the load is that of a minute and was asked for at different
// moments.
func unequal(places []Place) []Place {
	least := math.Inf(1)
	for _, p := range places {
		if !p.Blamed {
			least = min(least, p.Load)
		}
	}
	fair := slices.Clone(places)
	for i := range fair {
		if fair[i].Load <= 1.5*least+1 {
			fair[i].Load = 0
		} else {
			fair[i].Load -= least
		}
	}
	return fair
}

// score is smaller for a better place.
func score(m ore.Machines, p Place, has int) [3]float64 {
	cpus := max(1, m.CPUs)
	taken := p.Busy + (has+1)*cpus
	busy := (p.Load + float64(taken)) / float64(max(1, p.Cores))
	var s [3]float64
	if taken > p.Cores {
		s[0] = 1
	}
	if p.Lacking > 0 {
		s[1] = 1
	}
	s[2] = busy
	return s
}

func before(a, b [3]float64) bool {
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}
