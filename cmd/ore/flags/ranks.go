package flags

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"ore/job"
)

// Ranks reads "0,2-4"; "" gives nil, which means all.
func Ranks(s string) ([]int, error) {
	if s == "" {
		return nil, nil
	}
	var all []int
	for _, f := range strings.Split(s, ",") {
		from, to, span := strings.Cut(strings.TrimPrefix(f, "m"), "-")
		if !span {
			to = from
		}
		a, err1 := strconv.Atoi(from)
		b, err2 := strconv.Atoi(to)
		if err1 != nil || err2 != nil || a < 0 || b < a || b > job.MaxMachines {
			return nil, fmt.Errorf("ranks %q: use numbers and spans such as 0 or 0,2-4", s)
		}
		for r := a; r <= b; r++ {
			if !slices.Contains(all, r) {
				all = append(all, r)
			}
		}
	}
	return all, nil
}
