package index

import (
	"slices"
	"strings"
)

// nearLimit is how many near names are offered: more than a line of them helps
// nobody.
const nearLimit = 5

// Near returns names of packages that a misspelt name may have meant, the
// nearest first: by edit distance, then those that begin with it.
func (x *Index) Near(name string) []string {
	type candidate struct {
		name     string
		distance int
	}
	bound := 1 + len(name)/4 // a slip for every four letters
	var found []candidate
	for at := 0; at+nameSize <= len(x.names); at += nameSize {
		if u32(x.names, at+12) == 0 {
			continue // mentioned or provided only
		}
		n := x.bytes(u32(x.names, at))
		if len(name) >= 3 && len(n) > len(name) && string(n[:len(name)]) == name {
			found = append(found, candidate{string(n), bound + len(n) - len(name)})
			continue
		}
		if d := len(n) - len(name); d > bound || -d > bound {
			continue
		}
		if d := distance(string(n), name, bound); d <= bound {
			found = append(found, candidate{string(n), d})
		}
	}
	slices.SortFunc(found, func(a, b candidate) int {
		if a.distance != b.distance {
			return a.distance - b.distance
		}
		return strings.Compare(a.name, b.name)
	})
	var names []string
	for _, c := range found[:min(nearLimit, len(found))] {
		names = append(names, c.name)
	}
	return names
}

// distance is the optimal string alignment distance (insert, delete, change,
// swap neighbours), or bound+1 as soon as it is known to be more than bound.
func distance(a, b string, bound int) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		least := i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
			least = min(least, row[j])
		}
		if least > bound {
			return bound + 1
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
