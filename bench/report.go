package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// summarize judges the rows, prints the table, and keeps it beside the raw rows.
func (r *record) summarize(w io.Writer, chosen []row) error {
	var text strings.Builder
	r.head(&text)
	fmt.Fprintf(&text, "| what | ours | peer | measured | at least | towards | |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, row := range chosen {
		line, err := r.line(row)
		if err != nil {
			return err
		}
		text.WriteString(line)
	}
	r.contestants(&text)
	if _, err := io.WriteString(w, text.String()); err != nil {
		return err
	}
	return os.WriteFile(r.base+".md", []byte(text.String()), 0o644)
}

func (r *record) head(w io.Writer) {
	f := r.facts
	fmt.Fprintf(w, "# %s\n\n", f.Begun.UTC().Format("2006-01-02 15:04 UTC"))
	fmt.Fprintf(w, "%d rounds. %d cores, %s, %.0f GB of memory, Linux %s. Everything in %s. As %s.\n", f.Rounds, f.Cores, f.Processor, float64(f.Memory)/1e9, f.Kernel, f.Folder, f.User)
	var loads []float64
	for _, s := range r.samples {
		loads = append(loads, s.Load)
	}
	if len(loads) > 0 {
		fmt.Fprintf(w, "Load average at the rows: %.1f to %.1f, median %.1f.\n", slices.Min(loads), slices.Max(loads), median(loads))
	}
	for _, name := range slices.Sorted(maps.Keys(f.Versions)) {
		fmt.Fprintf(w, "- %s: %s\n", name, f.Versions[name])
	}
	fmt.Fprintln(w)
}

// line is one row of the table of promises.
func (r *record) line(row row) (string, error) {
	v, err := row.judge(r.values(row.ours), r.values(row.peer))
	if err != nil {
		return "", err
	}
	said := "missed"
	switch {
	case v.reached:
		said = "met, and what was aimed at"
	case v.met:
		said = "met"
	}
	if sign := map[kind]string{limit: "<=", floor: ">="}[row.kind]; sign != "" {
		return fmt.Sprintf("| %s | %.2f %s | - | %.2f %s | %s %g %s | %g %s | %s |\n",
			row.title, v.ours, row.unit, v.value, row.unit, sign, row.atLeast, row.unit, row.towards, row.unit, said), nil
	}
	bound := fmt.Sprintf("%g x faster", row.atLeast)
	if row.kind == share {
		bound = fmt.Sprintf("<= %.2f x", row.atLeast)
	}
	unit := cmp.Or(row.unit, "s")
	return fmt.Sprintf("| %s | %.3f %s | %.3f %s | %.2f x | %s | %g x | %s |\n",
		row.title, v.ours, unit, v.peer, unit, v.value, bound, row.towards, said), nil
}

// contestants tells the medians of all that was measured, with their stages.
func (r *record) contestants(w io.Writer) {
	groups := map[string][]sample{}
	for _, s := range r.samples {
		name := s.Contestant
		if s.Note != "" {
			name += ", " + s.Note
		}
		groups[name] = append(groups[name], s)
	}
	fmt.Fprintf(w, "\n| contestant | n | least | median | p95 | most | CPU | others' CPU | stages (medians, ms) |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		g := groups[name]
		v := column(g, func(s sample) float64 { return s.Value })
		fmt.Fprintf(w, "| %s | %d | %.3f | %.3f %s | %.3f | %.3f | %.2f s | %.2f s | %s |\n", name, len(g),
			slices.Min(v), median(v), g[0].Unit, p95(v), slices.Max(v),
			median(column(g, func(s sample) float64 { return s.CPU })),
			median(column(g, func(s sample) float64 { return s.Others })), stages(g))
	}
}

func column(g []sample, of func(sample) float64) []float64 {
	var all []float64
	for _, s := range g {
		all = append(all, of(s))
	}
	return all
}

// stages lists the medians of the stages, the longest first.
func stages(g []sample) string {
	all := map[string][]float64{}
	for _, s := range g {
		for name, took := range s.Stages {
			all[name] = append(all[name], took)
		}
	}
	names := slices.Collect(maps.Keys(all))
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(median(all[b]), median(all[a])), strings.Compare(a, b))
	})
	var list []string
	for _, name := range names {
		list = append(list, fmt.Sprintf("%s %.1f", name, median(all[name])*1000))
	}
	return strings.Join(list, ", ")
}
