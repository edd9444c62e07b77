package disk

import (
	"fmt"
	"strings"

	"ore"
)

// nobody is the description that means a device which none does.
const nobody = -1

// choice is which description means which device, while it is being found out.
type choice struct {
	disks []ore.Disk
	seen  []Seen
	owner []int  // of each device: the description that has it, or nobody
	fixed []bool // of each device: it keeps its owner
}

// choose returns the device that each description means. A disk that has this
// layout's mark keeps its place. Then come descriptions with a match, of which
// none takes the only disk that another can have as long as there is a second
// one for itself, and then those without, in the order of both.
func (l Layout) choose(disks []ore.Disk, seen []Seen) ([]Seen, error) {
	c := choice{disks, seen, make([]int, len(seen)), make([]bool, len(seen))}
	for s := range c.owner {
		c.owner[s] = nobody
	}
	placed := make([]bool, len(disks))
	for s, d := range seen {
		if m := d.Mark; m != nil && m.Layout == l.digest && m.Index < len(disks) && !placed[m.Index] && c.fits(m.Index, s) {
			c.owner[s], c.fixed[s], placed[m.Index] = m.Index, true, true
		}
	}
	for _, without := range []bool{false, true} {
		for i, d := range disks {
			if (d.Match == ore.Match{}) == without && !placed[i] && !c.place(i, make([]bool, len(seen))) {
				return nil, fmt.Errorf("disk %d: none matches: %s: change match, or give the machine such a disk", i+1, c.why(i))
			}
		}
	}
	chosen := make([]Seen, len(disks))
	for s, i := range c.owner {
		if i != nobody {
			chosen[i] = seen[s]
		}
	}
	return chosen, nil
}

func (c choice) fits(i, s int) bool { return mismatch(c.disks[i].Match, c.seen[s].Device) == "" }

// place gives description i the first free device that it means, or one whose
// owner can have another instead. What was tried already is not tried again.
func (c choice) place(i int, tried []bool) bool {
	for s := range c.seen {
		if c.owner[s] == nobody && c.fits(i, s) {
			c.owner[s] = i
			return true
		}
	}
	for s := range c.seen {
		if tried[s] || c.fixed[s] || !c.fits(i, s) {
			continue
		}
		tried[s] = true
		if c.place(c.owner[s], tried) {
			c.owner[s] = i
			return true
		}
	}
	return false
}

// why says of each device why description i does not have it.
func (c choice) why(i int) string {
	var all []string
	for s, d := range c.seen {
		why := mismatch(c.disks[i].Match, d.Device)
		if why == "" {
			why = fmt.Sprintf("is what disk %d means", c.owner[s]+1)
		}
		all = append(all, d.Path()+" "+why)
	}
	if len(all) == 0 {
		return "the machine has no disk"
	}
	return strings.Join(all, ", ")
}
