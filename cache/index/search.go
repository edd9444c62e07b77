package index

import (
	"cmp"
	"encoding/binary"
	"math"
	"runtime"
	"slices"
	"sort"
)

// Hit is an image and what it is worth.
type Hit struct {
	Image int64
	Score int64
	Place int // of the image in its file
}

// Before says whether h stands before o in an answer: more is saved, or the
// image is newer.
func (h Hit) Before(o Hit) int {
	return cmp.Or(cmp.Compare(o.Score, h.Score), cmp.Compare(o.Image, h.Image))
}

// Best keeps the best few hits in their order.
type Best struct {
	Hits []Hit
	max  int
}

// NewBest returns an empty list that keeps at most n hits.
func NewBest(n int) *Best { return &Best{Hits: make([]Hit, 0, n+1), max: n} }

// Add offers h.
func (b *Best) Add(h Hit) {
	if len(b.Hits) == b.max && (b.max == 0 || h.Before(b.Hits[b.max-1]) > 0) {
		return
	}
	i, _ := slices.BinarySearchFunc(b.Hits, h, Hit.Before)
	b.Hits = slices.Insert(b.Hits, i, h)
	b.Hits = b.Hits[:min(len(b.Hits), b.max)]
}

// least is the score below which a hit has no place among them.
func (b *Best) least() int64 {
	if len(b.Hits) < b.max || b.max == 0 {
		return math.MinInt64
	}
	return b.Hits[b.max-1].Score
}

// kind is one entry of the section kinds.
type kind struct {
	first                     int    // the place of its first image
	images, packages, columns []byte // ids and counts; ids; columns
	lists                     []byte
}

// find returns the part of the file that is about images of kind k.
func (x *Index) find(k uint64) (kind, bool) {
	all := x.sec[secKinds]
	n := len(all) / kindSize
	value := func(i int) uint64 { return binary.LittleEndian.Uint64(all[i*kindSize:]) }
	i := sort.Search(n, func(i int) bool { return value(i) >= k })
	if i == n || value(i) != k {
		return kind{}, false
	}
	at := func(j int) uint64 { return uint64(binary.LittleEndian.Uint32(all[i*kindSize+8+4*j:])) }
	var ok [4]bool
	out := kind{first: int(at(0))}
	out.images, ok[0] = part(x.sec[secImages], at(0), at(1), imageSize)
	out.packages, ok[1] = part(x.sec[secPackages], at(2), at(3), 4)
	out.columns, ok[2] = part(x.sec[secColumns], at(2), at(3), 4)
	out.lists, ok[3] = part(x.sec[secLists], at(4), at(5), listSize)
	return out, ok == [4]bool{true, true, true, true}
}

func part(b []byte, first, count uint64, size int) ([]byte, bool) {
	from, to := first*uint64(size), (first+count)*uint64(size)
	if to > uint64(len(b)) {
		return nil, false
	}
	return b[from:to], true
}

// Search offers to best what q is worth with each image of kind k that has a
// package in common with it, except those in gone. The error is ErrDamaged, and
// nothing was offered.
func (x *Index) Search(k uint64, q Query, gone map[int64]bool, best *Best) error {
	defer runtime.KeepAlive(x)
	part, ok := x.find(k)
	if !ok {
		return nil
	}
	scores := make([]int64, len(part.images)/imageSize)
	all, err := x.addColumns(part, q, scores)
	if err != nil {
		return err
	}
	least := best.least()
	for i, common := range scores {
		common += all
		score := common - int64(binary.LittleEndian.Uint32(part.images[imageSize*i+8:]))*q.extra
		if common == 0 || score < least {
			continue // nothing in common, or too little
		}
		id := int64(binary.LittleEndian.Uint64(part.images[imageSize*i:]))
		if !gone[id] {
			best.Add(Hit{Image: id, Score: score, Place: part.first + i})
			least = best.least()
		}
	}
	return nil
}

// weighed is a column and what q's packages in it are worth.
type weighed struct {
	column uint32
	weight int64
}

// addColumns adds the weights of q's packages to the scores of the images that
// have them, and returns what is to be added to all.
func (x *Index) addColumns(part kind, q Query, scores []int64) (all int64, err error) {
	weights := part.weigh(q)
	for i, w := range weights {
		if i+1 < len(weights) && weights[i+1].column == w.column {
			weights[i+1].weight += w.weight
			continue
		}
		list, lack, err := x.list(part, w.column)
		if err != nil {
			return 0, err
		}
		if lack {
			all += w.weight
			w.weight = -w.weight
		}
		addMembers(scores, list, w.weight)
	}
	return all, nil
}

// weigh returns the columns of q's packages, ascending: one may come again.
func (part kind) weigh(q Query) []weighed {
	weights := make([]weighed, 0, len(q.ids))
	n, i := len(part.packages)/4, 0
	at := func(i int) uint32 { return binary.LittleEndian.Uint32(part.packages[4*i:]) }
	for j, id := range q.ids {
		// Ids lie apart by about the same distance in both lists: gallop.
		step := 1
		for i+step < n && at(i+step) < id {
			i += step
			step *= 2
		}
		end := min(n, i+step+1)
		for i < end {
			if mid := (i + end) / 2; at(mid) < id {
				i = mid + 1
			} else {
				end = mid
			}
		}
		if i == n {
			break
		}
		if at(i) == id {
			// A common package gives its weight and is not too much either.
			weights = append(weights, weighed{binary.LittleEndian.Uint32(part.columns[4*i:]), q.weights[j] + q.extra})
		}
	}
	slices.SortFunc(weights, func(a, b weighed) int { return cmp.Compare(a.column, b.column) })
	return weights
}

// list returns the images of a column, or those that lack it.
func (x *Index) list(part kind, column uint32) (list []byte, lack bool, err error) {
	if int(column) >= len(part.lists)/listSize {
		return nil, false, ErrDamaged
	}
	entry := part.lists[listSize*int(column):][:listSize]
	from, length := uint64(binary.LittleEndian.Uint32(entry)), uint64(binary.LittleEndian.Uint32(entry[4:]))
	if from+length > uint64(len(x.sec[secMembers])) {
		return nil, false, ErrDamaged
	}
	list = x.sec[secMembers][from : from+length]
	if listSum(int(column), entry[:12], list) != binary.LittleEndian.Uint32(entry[12:]) {
		return nil, false, ErrDamaged
	}
	return list, binary.LittleEndian.Uint32(entry[8:]) != 0, nil
}

// addMembers adds w to the score of each image in list.
func addMembers(scores []int64, list []byte, w int64) {
	n := uint64(0)
	for i := 0; i < len(list); {
		d := uint64(list[i])
		i++
		if d >= 0x80 {
			long, used := binary.Uvarint(list[i-1:])
			if used <= 0 {
				return
			}
			d, i = long, i-1+used
		}
		n += d
		if n >= uint64(len(scores)) {
			return
		}
		scores[n] += w
		n++
	}
}
