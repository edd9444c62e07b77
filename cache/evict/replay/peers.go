package replay

import (
	"container/list"
	"math"
	"slices"
)

// NewLRU returns the policy that evicts what was asked for longest ago.
func NewLRU(*State) Policy {
	return &byValue{value: func(now int64, _ int, _ int64) float64 { return float64(now) }}
}

// NewLFU returns the policy that evicts what was asked for least often since it
// was added, and of equals what was asked for longest ago.
func NewLFU(*State) Policy {
	return &byValue{value: func(now int64, _ int, count int64) float64 { return float64(count) + float64(now)/1e12 }}
}

// NewGDSF returns Greedy-Dual-Size-Frequency (Cherkasova, HPL-98-69): clock +
// count x seconds / bytes, where the clock is the value at which was evicted last.
// Seconds are the measured build time and bytes those of the image.
func NewGDSF(s *State) Policy {
	g := &byValue{aged: true}
	g.value = func(_ int64, e int, count int64) float64 {
		return g.clock + float64(count)*s.Full(e)/float64(size(s, e))
	}
	return g
}

func size(s *State, e int) int64 {
	var sum int64
	for _, l := range s.World.Environments[e].Layers {
		sum += s.World.Layers[l]
	}
	return sum
}

// byValue evicts by a number that is set when something is asked for.
type byValue struct {
	value func(now int64, e int, count int64) float64
	clock float64
	aged  bool
	kept  map[int]*valued
}

type valued struct {
	count int64
	value float64
}

func (p *byValue) Asked(r Request) {
	if r.Kept {
		p.kept[r.E].count++
		p.kept[r.E].value = p.value(r.Now, r.E, p.kept[r.E].count)
	}
}

func (p *byValue) Added(now int64, e int) {
	if p.kept == nil {
		p.kept = map[int]*valued{}
	}
	p.kept[e] = &valued{1, p.value(now, e, 1)}
}

func (p *byValue) Victim(int64) int {
	at, least := -1, math.Inf(1)
	for e, v := range p.kept {
		if v.value < least || v.value == least && e < at {
			at, least = e, v.value
		}
	}
	return at
}

func (p *byValue) Evicted(e int) {
	if p.aged {
		p.clock = max(p.clock, p.kept[e].value)
	}
	delete(p.kept, e)
}

// NewS3FIFO returns S3-FIFO (Yang et al., SOSP 2023): a small queue of a tenth of
// the bytes for what is new, a main queue for what was asked for again, and a
// list of what went from the small one.
func NewS3FIFO(s *State) Policy {
	return &s3fifo{state: s, at: map[int]*list.Element{}, ghost: map[int]bool{}}
}

type s3fifo struct {
	state       *State
	small, main list.List // of *queued
	at          map[int]*list.Element
	smallBytes  int64
	ghost       map[int]bool
	ghosts      []int
}

type queued struct {
	e     int
	count int // up to 3
	small bool
}

func (p *s3fifo) Asked(r Request) {
	if r.Kept {
		q := p.at[r.E].Value.(*queued)
		q.count = min(3, q.count+1)
	}
}

func (p *s3fifo) Added(_ int64, e int) {
	q := &queued{e: e, small: !p.ghost[e]}
	if q.small {
		p.at[e] = p.small.PushBack(q)
		p.smallBytes += size(p.state, e)
		return
	}
	delete(p.ghost, e)
	p.at[e] = p.main.PushBack(q)
}

func (p *s3fifo) Victim(int64) int {
	for {
		if p.small.Len() > 0 && (p.smallBytes*10 > p.state.bytes || p.main.Len() == 0) {
			q := p.small.Front().Value.(*queued)
			if q.count <= 1 {
				return q.e
			}
			p.small.Remove(p.small.Front())
			p.smallBytes -= size(p.state, q.e)
			q.small, q.count = false, 0
			p.at[q.e] = p.main.PushBack(q)
			continue
		}
		q := p.main.Front().Value.(*queued)
		if q.count == 0 {
			return q.e
		}
		q.count--
		p.main.MoveToBack(p.main.Front())
	}
}

func (p *s3fifo) Evicted(e int) {
	q := p.at[e].Value.(*queued)
	delete(p.at, e)
	if !q.small {
		p.main.Remove(p.main.Front())
		return
	}
	p.small.Remove(p.small.Front())
	p.smallBytes -= size(p.state, e)
	p.ghost[e] = true
	p.ghosts = append(p.ghosts, e)
	if len(p.ghosts) > p.main.Len()+1 {
		delete(p.ghost, p.ghosts[0])
		p.ghosts = slices.Delete(p.ghosts, 0, 1)
	}
}
