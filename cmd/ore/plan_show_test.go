package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"ore/plan"
)

// A plan for hundreds of hosts shows some of their links, and the sum of the rest.
func TestPlanOfManyLinks(t *testing.T) {
	for _, c := range []struct {
		links, lines int
		last         string
	}{{1, 1, "over host-0   1 MB"}, {8, 8, "over host-7   1 MB"}, {256, 8, "over 249 more links 249 MB"}} {
		var out bytes.Buffer
		a := &app{io: stdio{out: &out}}
		var all []plan.Traffic
		for i := range c.links {
			all = append(all, plan.Traffic{Link: fmt.Sprintf("host-%d", i), Bytes: 1e6})
		}
		a.tellLinks(all)
		lines := strings.Split(strings.TrimSpace(out.String()), "\n")
		if len(lines) != c.lines || !strings.Contains(strings.ReplaceAll(lines[len(lines)-1], ".0 ", " "), c.last) {
			t.Errorf("%d links:\n%s", c.links, &out)
		}
	}
}

// The head of a plan says how many machines it is for, also if they are supposed.
func TestPlanSaysForHowManyMachines(t *testing.T) {
	p := as(t, subIDs)
	if o := p.must(t, "plan", "-p", "sl", "--what-if", "machines=64"); !strings.Contains(o.out, "machines     64, each") || !strings.Contains(o.out, "64 machines") {
		t.Errorf("the plan:\n%s", o.out)
	}
}
