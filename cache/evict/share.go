package evict

import (
	"fmt"
	"math"
	"slices"
)

// choice is the image that would go next.
type choice struct {
	image  int
	value  float64 // its own, or that of all that have a layer
	others int     // how many more have that layer, 0 if the value is its own
}

// saves says what v's value is.
func (v choice) saves() string {
	if v.others == 0 {
		return fmt.Sprintf("saves %.3g s for each MiB that it frees", v.value)
	}
	return fmt.Sprintf("with %d more of a layer that they share it saves %.3g s for each MiB that they free", v.others, v.value)
}

// share is a layer that several images have, and what they are worth together, as if
// they went at once: what they need of each other to be made again goes, too, and
// layers become free that only they have.
type share struct {
	layer string
	worth float64 // seconds that all of them save in the next thousand requests
	bytes int64   // that they free
	fixed bool    // one of them must stay
	stale bool    // worth and bytes have to be found again
}

// together is the value of an image, but of all that have the layer; infinite where they
// do not go together: one must stay, or only one has it.
func (c *chooser) together(s *share) float64 {
	if n := c.users[s.layer]; !s.fixed && n > 1 {
		return max(0, s.worth) / mib(max(s.bytes, int64(n)*minimumBytes))
	}
	return math.Inf(1)
}

// worth is what image i saves in the next thousand requests if all that have the
// layer go with it.
func (c *chooser) worth(i int, layer string) float64 {
	return c.value[i].Rate*c.images[i].Seconds*c.remaining(i, layer) + c.value[i].Assists
}

func (m Image) has(layer string) bool {
	return slices.ContainsFunc(m.Layers, func(l Layer) bool { return l.ID == layer })
}

// measure finds worth and bytes.
func (c *chooser) measure(s *share) {
	*s = share{layer: s.layer}
	have := map[string]int{}
	for _, i := range c.having[s.layer] {
		if c.gone[i] {
			continue
		}
		s.fixed = s.fixed || c.images[i].Held || c.images[i].Pinned
		s.worth += c.worth(i, s.layer)
		for _, l := range c.images[i].Layers {
			if have[l.ID]++; have[l.ID] == c.users[l.ID] {
				s.bytes += l.Size
			}
		}
	}
}

// leave takes image i, which is about to go, out of what it shares: for the others
// nothing changes by that, since it went with them.
func (c *chooser) leave(i int) {
	for _, l := range c.images[i].Layers {
		if s := c.shared[l.ID]; s != nil {
			s.worth -= c.worth(i, l.ID)
			s.bytes -= c.value[i].Bytes
		}
	}
}

// touch has what image j shares found again, but for what it shares with image i.
func (c *chooser) touch(j, i int) {
	for _, l := range c.images[j].Layers {
		if s := c.shared[l.ID]; s != nil && !c.images[i].has(l.ID) {
			s.stale = true
		}
	}
}

// first returns the least valuable image of those that have a layer.
func (c *chooser) first(layer string) int {
	at := -1
	for _, i := range c.having[layer] {
		if !c.gone[i] && (at < 0 || c.value[i].Value < c.value[at].Value) {
			at = i
		}
	}
	return at
}
