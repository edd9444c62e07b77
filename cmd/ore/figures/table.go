package figures

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// table is rows as they are drawn: medians over rounds.
type table []row

// of returns the rows of one arm and number of machines.
func (t table) of(arm string, n int) []row {
	var all []row
	for _, r := range t {
		if r.Arm == arm && r.Machines == n {
			all = append(all, r)
		}
	}
	return all
}

// counts returns for how many machines an arm was measured, in order.
func (t table) counts(arm string) []int {
	var all []int
	for _, r := range t {
		if r.Arm == arm && !slices.Contains(all, r.Machines) {
			all = append(all, r.Machines)
		}
	}
	slices.Sort(all)
	return all
}

// median returns that of a value of rows, 0 where there are none.
func (t table) median(arm string, n int, value func(row) float64) float64 {
	var all []float64
	for _, r := range t.of(arm, n) {
		all = append(all, value(r))
	}
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	if k := len(all); k%2 == 0 {
		return (all[k/2-1] + all[k/2]) / 2
	}
	return all[len(all)/2]
}

func whole(r row) float64 { return r.Whole }

// whole says how long an arm took.
func (t table) whole(arm string, n int) string {
	if len(t.of(arm, n)) == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f", t.median(arm, n, whole))
}

// savedWhole says how much of the time from packages an arm saves.
func (t table) savedWhole(arm string, n int) string { return t.saved(arm, n, whole) }

// savedInstall says the same of the install alone.
func (t table) savedInstall(arm string, n int) string { return t.saved(arm, n, row.install) }

func (t table) saved(arm string, n int, value func(row) float64) string {
	from := t.median(armPackages, n, value)
	if from == 0 || len(t.of(arm, n)) == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f %%", 100*(1-t.median(arm, n, value)/from))
}

// csv returns all rows, a line each.
func (t table) csv() ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	header := []string{"figure", "arm", "machines", "round", "whole", "install", "took", "crossed", "load"}
	lines := [][]string{append(header, stageOrder()...)}
	number := func(f float64) string { return strconv.FormatFloat(f, 'f', 3, 64) }
	for _, a := range arms() {
		for _, n := range t.counts(a.name) {
			for _, r := range t.of(a.name, n) {
				line := []string{strconv.Itoa(a.figure), a.name, strconv.Itoa(n), strconv.Itoa(r.Round), number(r.Whole), number(r.install()),
					number(r.Took), strconv.FormatInt(r.Crossed, 10), number(r.Load)}
				for _, s := range stageOrder() {
					line = append(line, number(r.Stages[s]))
				}
				lines = append(lines, line)
			}
		}
	}
	err := w.WriteAll(lines)
	return b.Bytes(), err
}

// page returns the table for people: our rows, then the old numbers beside ours.
func (t table) page(h head) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# The old figures, measured here\n\n%s\n\n", strings.Join(h.Settings.conditions(h), "; "))
	if h.Settings.Scale != 1 {
		fmt.Fprintf(&b, "Figure 6 is scaled: its link is %g times as fast as the old one.\n\n", h.Settings.Scale)
	}
	for _, a := range arms() {
		if len(t.counts(a.name)) > 0 {
			fmt.Fprintf(&b, "![Figure %d: %s](%s)\n", a.figure, a.title, a.file())
		}
	}
	b.WriteString("\n| figure | arm | machines | rounds | ready after, s | saved against packages | of it install, s | MB over the source's link | load before |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, a := range arms() {
		for _, n := range t.counts(a.name) {
			saved := ""
			if a.name != armPackages {
				saved = t.savedWhole(a.name, n)
			}
			fmt.Fprintf(&b, "| %d | %s | %d | %d | %.1f | %s | %.1f | %.1f | %.1f |\n", a.figure, a.title, n, len(t.of(a.name, n)),
				t.median(a.name, n, whole), saved, t.median(a.name, n, row.install),
				t.median(a.name, n, func(r row) float64 { return float64(r.Crossed) / 1e6 }), t.median(a.name, n, func(r row) float64 { return r.Load }))
		}
	}
	fmt.Fprintf(&b, "\nSeconds are medians. The install is the tree's way and the packages' (stages distribute, base, packages), as the mean of all machines.\n\n")
	fmt.Fprintf(&b, "## The old system's numbers\n\nFrom %s.\n\n| figure | machines | what | there | here |\n| --- | --- | --- | --- | --- |\n", oldSource)
	for _, o := range olds() {
		figure := slices.IndexFunc(arms(), func(a arm) bool { return a.name == o.arm })
		fmt.Fprintf(&b, "| %d | %d | %s | %s | %s |\n", arms()[figure].figure, o.machines, o.what, o.said, cmp.Or(o.our(t), notMeasured))
	}
	return b.Bytes()
}
