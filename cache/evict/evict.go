// Package evict decides which images to remove when space is needed: those whose
// loss costs the fewest seconds for the bytes that it frees. It is pure: what is
// kept, how often it was asked for and what it is made of come in as values.
//
// # Value
//
// The value of an image is
//
//	(rate x seconds + assists) / bytes
//
// as in Greedy-Dual-Size-Frequency (Cherkasova, HPL-98-69; for keeping warm
// environments: Fuerst and Sharma, ASPLOS 2021), with these differences:
//
//   - rate comes of counts that decay with the number of requests to the whole
//     cache ([Use]). They are kept for images that were evicted, too: one that is
//     built again and again is known for it. GDSF's clock, which lets old favourites
//     fade, is in the decay.
//   - seconds are those to make the image again from what remains: one that is
//     a small step away from another costs that step.
//   - assists are the seconds that others saved by being built on this image.
//   - bytes are those that are freed: layers that another image has are not.
//
// What many images share would stay as long as each of them is worth its own few
// bytes. So all images that have a layer are valued together, too, with that layer:
// if that is less than any image's value, they go, the least of them first.
//
// Evicting one image changes the value of others, by layers that now are theirs
// alone and by neighbours that went; [Choose] takes them one by one. The host's
// clock plays no part, so that no jump of it does any harm.
package evict

import (
	"fmt"
	"math"
)

// Image is a kept image as far as evicting it goes.
type Image struct {
	Layers  []Layer
	Seconds float64 // that making it took
	Share   float64 // of the work from nothing that Seconds were for; 0 counts as all
	Near    []Near  // images from which it could be made
	Use     Use
	Held    bool // somebody has it: it is not evicted
	Pinned  bool // an operator wants it kept: it is not evicted
}

// Layer is a blob that images share.
type Layer struct {
	ID   string
	Size int64
}

// Near is an image from which another could be made.
type Near struct {
	Image int     // its place
	Share float64 // of the work from nothing that remains
}

// Verdict says of an image what keeping it is worth, and whether it goes.
type Verdict struct {
	Image   int     // its place
	Evict   bool    // it goes
	Rate    float64 // requests for it that are expected among the next thousand
	Seconds float64 // to make it again from what remains
	Assists float64 // seconds that others are expected to save by it, in the next thousand requests
	Bytes   int64   // that removing it frees
	Value   float64 // seconds saved in the next thousand requests for each MiB
	Why     string
}

// longest bounds by how much an image may take longer to make than was
// measured, when what it was made from is gone; and by how much less.
const (
	longest  = 4
	shortest = 0.05
)

// minimumBytes is what an image is taken to free at least: its manifest, its
// rows and the work of removing it. Without it, one that shares all its layers
// would never go.
const minimumBytes = 64 << 10

// chooser holds what changes while images are taken out.
type chooser struct {
	images []Image
	now    int64
	users  map[string]int   // images that have a layer and were not evicted
	having map[string][]int // all images that have it
	made   [][]int          // images that could be made from this one
	gone   []bool
	value  []Verdict
	shared map[string]*share // layers of several images
	shares []*share          // the same, in an order that does not change
}

// Choose values all images at request number now, and says which to evict so
// that at least free bytes become free: the least valuable first, never one that
// is held or pinned. If all that may go is not enough, ok is false, and all of
// it is marked.
func Choose(images []Image, free int64, now int64) (verdicts []Verdict, ok bool) {
	c := newChooser(images, now)
	for i := range images {
		c.value[i] = c.verdict(i)
	}
	var freed int64
	var order []Verdict
	for freed < free {
		next := c.least()
		if next.image < 0 {
			break
		}
		i := next.image
		v := c.value[i]
		v.Evict = true
		v.Why = fmt.Sprintf("goes as number %d: %s in the next thousand requests, the least of all that are left then%s", len(order)+1, next.saves(), c.sharing(i))
		order = append(order, v)
		freed += v.Bytes
		c.evict(i)
	}
	for i := range images {
		if !c.gone[i] {
			order = append(order, c.kept(i))
		}
	}
	return order, freed >= free
}

// sharing says what of image i others have, too, so that it does not come free.
func (c *chooser) sharing(i int) string {
	var bytes int64
	for _, l := range c.images[i].Layers {
		if c.users[l.ID] > 1 {
			bytes += l.Size
		}
	}
	if bytes == 0 {
		return ""
	}
	return fmt.Sprintf("; %.1f MB of it are others', too", float64(bytes)/1e6)
}

func newChooser(images []Image, now int64) *chooser {
	c := &chooser{
		images: images, now: now, users: map[string]int{}, having: map[string][]int{},
		made: make([][]int, len(images)), gone: make([]bool, len(images)), value: make([]Verdict, len(images)),
		shared: map[string]*share{},
	}
	for i, m := range images {
		for _, l := range m.Layers {
			c.users[l.ID]++
			c.having[l.ID] = append(c.having[l.ID], i)
			if c.users[l.ID] == 2 {
				c.shared[l.ID] = &share{layer: l.ID, stale: true}
				c.shares = append(c.shares, c.shared[l.ID])
			}
		}
		for _, n := range m.Near {
			if n.Image >= 0 && n.Image < len(images) {
				c.made[n.Image] = append(c.made[n.Image], i)
			}
		}
	}
	return c
}

// verdict values image i among those that remain.
func (c *chooser) verdict(i int) Verdict {
	m := c.images[i]
	v := Verdict{Image: i, Rate: 1000 * m.Use.Rate(c.now), Assists: 1000 * m.Use.AssistRate(c.now), Seconds: m.Seconds * c.remaining(i, "")}
	for _, l := range m.Layers {
		if c.users[l.ID] == 1 {
			v.Bytes += l.Size
		}
	}
	v.Value = (v.Rate*v.Seconds + v.Assists) / mib(max(v.Bytes, minimumBytes))
	return v
}

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// remaining says how much longer or shorter than measured image i would take to
// make from what remains; those that have the layer without count as gone.
func (c *chooser) remaining(i int, without string) float64 {
	measured := c.images[i].Share
	if measured <= 0 {
		measured = 1
	}
	least := 1.0
	for _, n := range c.images[i].Near {
		if n.Image < 0 || n.Image >= len(c.gone) || n.Image == i || c.gone[n.Image] {
			continue
		}
		if without == "" || !c.images[n.Image].has(without) {
			least = min(least, n.Share)
		}
	}
	return min(longest, max(shortest, least/measured))
}

// least returns the image to evict next, or that with the place -1.
func (c *chooser) least() choice {
	next := choice{image: -1, value: math.Inf(1)}
	for i, v := range c.value {
		if c.gone[i] || c.images[i].Held || c.images[i].Pinned || v.Value >= next.value {
			continue
		}
		next = choice{image: i, value: v.Value}
	}
	layer := ""
	for _, s := range c.shares {
		if s.stale {
			c.measure(s)
		}
		if v := c.together(s); v < next.value {
			next.value, layer = v, s.layer
		}
	}
	if layer != "" {
		next = choice{c.first(layer), next.value, c.users[layer] - 1}
	}
	return next
}

// evict takes image i out and values again what that touches.
func (c *chooser) evict(i int) {
	c.leave(i)
	c.gone[i] = true
	again := map[int]bool{}
	for _, l := range c.images[i].Layers {
		c.users[l.ID]--
		for _, j := range c.having[l.ID] {
			if c.gone[j] {
				continue
			}
			c.touch(j, i) // the layer may be of fewer than another layer of j now
			if c.users[l.ID] != 1 {
				break // one tells of all
			}
			again[j] = true
		}
	}
	for _, j := range c.made[i] {
		again[j] = true
		c.touch(j, i)
	}
	for j := range again {
		if !c.gone[j] {
			c.value[j] = c.verdict(j)
		}
	}
}

// kept returns the verdict on an image that stays.
func (c *chooser) kept(i int) Verdict {
	v := c.value[i]
	switch m := c.images[i]; {
	case m.Held:
		v.Why = "in use"
	case m.Pinned:
		v.Why = "pinned"
	default:
		v.Why = fmt.Sprintf("saves %.3g s for each MiB in the next thousand requests", v.Value)
	}
	return v
}
