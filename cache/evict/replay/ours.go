package replay

import (
	"slices"
	"strconv"

	"ore/cache/evict"
)

// NewOurs returns the policy of package evict.
func NewOurs(s *State) Policy {
	return &ours{state: s, use: map[int]evict.Use{}, layers: map[int][]evict.Layer{}}
}

type ours struct {
	state  *State
	use    map[int]evict.Use // also of what was evicted
	layers map[int][]evict.Layer
}

// maxNear is how many neighbours of an image package cache notes.
const maxNear = 6

func (p *ours) Asked(r Request) {
	p.use[r.E] = p.use[r.E].Asked(r.Now)
	if r.From >= 0 {
		p.use[r.From] = p.use[r.From].Assisted(r.Now, r.Saved)
	}
}

func (p *ours) Added(int64, int) {}

func (p *ours) Evicted(int) {}

func (p *ours) Victim(now int64) int {
	kept := make([]int, 0, len(p.state.Kept))
	for e := range p.state.Kept {
		kept = append(kept, e)
	}
	slices.Sort(kept)
	family := map[int][]int{} // places
	for i, e := range kept {
		f := p.state.World.Environments[e].Family
		family[f] = append(family[f], i)
	}
	images := make([]evict.Image, len(kept))
	for i, e := range kept {
		env := p.state.World.Environments[e]
		m := evict.Image{Seconds: p.state.Full(e), Use: p.use[e]}
		if m.Layers = p.layers[e]; m.Layers == nil {
			for _, l := range env.Layers {
				m.Layers = append(m.Layers, evict.Layer{ID: strconv.Itoa(l), Size: p.state.World.Layers[l]})
			}
			p.layers[e] = m.Layers
		}
		for _, j := range family[env.Family] {
			if p.state.Reuse && j != i && len(m.Near) < maxNear {
				m.Near = append(m.Near, evict.Near{Image: j, Share: env.Own / m.Seconds})
			}
		}
		images[i] = m
	}
	verdicts, _ := evict.Choose(images, 1, now)
	return kept[verdicts[0].Image]
}
