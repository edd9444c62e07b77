package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"ore"
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

// What no run here could do, and what a supposition does not change, a plan says.
func TestPlanSaysWhatCannotBe(t *testing.T) {
	p := as(t, subIDs)
	much := []string{"4096 machines: this host has", "ask for less"}
	p.refused(t, 2, much, "plan", "-p", "sl", "-n", "4096", "-m", "4G")
	p.refused(t, 2, much, "run", "-p", "sl", "-n", "4096", "-m", "4G", "--results", p.results(t), "--", "true")
	if o := p.must(t, "plan", "-p", "sl", "--what-if", "link=500kbit,cache=none"); !strings.Contains(o.out, "note         link changes nothing: ") {
		t.Errorf("the plan:\n%s", o.out)
	}
	if o := p.must(t, "plan", "-p", "sl", "--engine", "slurm", "-n", "3", "--what-if", "cache=none"); !strings.Contains(o.out, ", chain\n") {
		t.Errorf("the plan for hosts of Slurm:\n%s", o.out)
	}
}

// The plan of machines with disks of their own says from what they install
// themselves, and what each part of that takes.
func TestPlanOntoDisks(t *testing.T) {
	env := ore.Environment{Packages: []ore.Package{{Name: "a", Size: 1000, Digest: "sha256:a", Base: true}}}
	ask := plan.Ask{Environment: env, Machines: 2}.Onto("", plan.Directly)
	var out bytes.Buffer
	(&app{io: stdio{out: &out}}).tellPlan(ore.Job{Machines: ore.Machines{Count: 2}}, env, plan.Choose(ask, plan.Have{}, plan.Rates{}), 0)
	for _, want := range []string{
		"before       0.00 s to resolve", "run 'ore doctor --calibrate' (3 s), or just run it", "way          clean, machines install themselves from image\n", "  setup      2 machines", "  base ", "  restart    2 machines     unknown: not measured here before  (direct)",
		"runner-up    clean, machines install themselves from packages: machines have never installed themselves by it here: --install-from packages tries it\n",
		"not          clean, machines install themselves from base: ",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the plan lacks %q:\n%s", want, &out)
		}
	}
}
