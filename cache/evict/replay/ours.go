package replay

import (
	"slices"
	"strconv"

	"ore/cache/evict"
)

// NewOurs returns the policy of package evict.
func NewOurs(s *State) Policy { return &ours{state: s, use: map[int]evict.Use{}} }

type ours struct {
	state *State
	use   map[int]evict.Use // also of what was evicted
}

func (p *ours) Asked(now int64, e int, _ bool, from int, saved float64) {
	p.use[e] = p.use[e].Asked(now)
	if from >= 0 {
		p.use[from] = p.use[from].Assisted(now, saved)
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
		for _, l := range env.Layers {
			m.Layers = append(m.Layers, evict.Layer{ID: strconv.Itoa(l), Size: p.state.World.Layers[l]})
		}
		for _, j := range family[env.Family] {
			if j != i && len(m.Near) < 6 {
				m.Near = append(m.Near, evict.Near{Image: j, Share: env.Own / m.Seconds})
			}
		}
		images[i] = m
	}
	verdicts, _ := evict.Choose(images, 1, now)
	return kept[verdicts[0].Image]
}
