package lazy

import (
	"slices"
	"time"
)

// maxRanges bounds what is remembered of a file: who reads it all over has no
// first blocks.
const maxRanges = 1 << 14

// mostOfMedian is how many times as long as the one in the middle a read may take
// until it counts as one that waited, for a core or a disk that others had: reads
// differ by the read-ahead, from one page to 32.
const mostOfMedian = 4

// Range is a piece of a file.
type Range struct {
	Offset, Size int64
}

// Touched is what was read of a file, in order. What is read twice is there twice
// only if the kernel forgot it in between.
type Touched struct {
	Ranges []Range
	Bytes  int64
	// Took is what all reads cost together. One that waited for a core that others had
	// counts as a few usual ones: on a busy host these waits are most of the time, and
	// say nothing of another hour or host.
	Took time.Duration
}

// Touched returns what has been read of a file until now.
func (f *Folder) Touched(name string) (Touched, bool) {
	n, _ := f.named(name)
	if n == nil {
		return Touched{}, false
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	t := n.touched
	t.Ranges = slices.Clone(t.Ranges)
	t.Took = cost(n.times)
	return t, true
}

// cost adds up times of reads, without what some of them waited.
func cost(times []time.Duration) time.Duration {
	if len(times) == 0 {
		return 0
	}
	times = slices.Sorted(slices.Values(times))
	most, sum := mostOfMedian*times[len(times)/2], time.Duration(0)
	for _, t := range times {
		sum += min(t, most)
	}
	return sum
}

// note adds one read to what is known. Those that follow each other are one.
func (n *file) note(r Range, took time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	t := &n.touched
	t.Bytes += r.Size
	if len(n.times) < maxRanges {
		n.times = append(n.times, took)
	}
	if i := len(t.Ranges) - 1; i >= 0 && t.Ranges[i].Offset+t.Ranges[i].Size == r.Offset {
		t.Ranges[i].Size += r.Size
		return
	}
	if len(t.Ranges) < maxRanges {
		t.Ranges = append(t.Ranges, r)
	}
}
