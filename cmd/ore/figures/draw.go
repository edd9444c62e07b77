package figures

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"

	"ore/cluster/drawing"
)

// The drawing's measures, in SVG user units.
const (
	margin     = 20
	axisWidth  = 50
	plotHeight = 320
	groupWidth = 110
	barWidth   = 64
	legend     = 190
	titles     = 108
	line       = 14 // of text to the next
	inBar      = 15 // how high a stage's box is at least, whose seconds stand in it
	foot       = 52 // from the floor to what stands below the figure, with what a bar saves
)

// Colours of what is no stage.
const (
	grey = "#555555"
	last = "#000000" // when the last machine was ready
	rest = "#c53030" // the same, had they installed from packages
)

// colours of the stages, in their order: what moves bytes is dark.
func colours() []string {
	return []string{"#805ad5", "#a0aec0", "#cbd5e0", "#ecc94b", "#ed8936", "#2b6cb0", "#2f855a", "#38b2ac", "#b7791f", "#e53e3e", "#1a202c", "#d53f8c", "#718096"}
}

// chart is a figure that is being drawn.
type chart struct {
	*drawing.Drawing
	arm   arm
	rows  table
	axis  float64 // seconds from its floor to its top
	right int     // end of the plot, where the legend begins
}

// draw draws one figure: a bar for each number of machines, stacked by stage, and
// below what the old system showed.
func draw(a arm, t table, h head) []byte {
	counts, below := t.counts(a.name), beside(a.name, t)
	c := chart{arm: a, rows: t, right: margin + axisWidth + groupWidth*max(2, len(counts))}
	c.Drawing = drawing.New(max(c.right+legend, 640), floor+foot+line*len(below)+margin)
	c.Text(drawing.Text{X: margin, Y: margin + 4, Bold: true, Text: fmt.Sprintf("Figure %d: %s", a.figure, a.title)})
	for i, words := range h.Settings.conditions(h) {
		c.Text(drawing.Text{X: margin, Y: margin + 20 + line*i, Fill: grey, Text: words})
	}
	c.drawAxis(counts)
	for i, n := range counts {
		c.drawBar(n, margin+axisWidth+groupWidth*i+(groupWidth-barWidth)/2)
	}
	c.drawLegend(counts)
	for i, words := range below {
		c.Text(drawing.Text{X: margin, Y: floor + foot + line*(i+1), Fill: grey, Text: words})
	}
	return c.Bytes()
}

// floor is where bars begin.
const floor = titles + plotHeight

// y is how far down a time is.
func (c *chart) y(seconds float64) int { return floor - int(seconds/c.axis*plotHeight) }

// drawAxis finds how many seconds the plot shows, and draws their lines.
func (c *chart) drawAxis(counts []int) {
	top := 0.0
	for _, n := range counts {
		top = max(top, c.rows.stacked(c.arm.name, n), c.rows.median(c.arm.name, n, whole), c.packages(n))
	}
	step := tick(top)
	lines := max(1, int(math.Ceil(top/step)))
	c.axis = step * float64(lines)
	for i := range lines + 1 {
		s := step * float64(i)
		c.Line([2]int{margin + axisWidth, c.y(s)}, [2]int{c.right, c.y(s)}, "#dddddd")
		c.Text(drawing.Text{X: margin + axisWidth - 6, Y: c.y(s) + 4, Anchor: "end", Fill: grey, Text: strconv.FormatFloat(s, 'f', -1, 64)})
	}
	c.Text(drawing.Text{X: margin, Y: titles - 18, Fill: grey, Text: "seconds"})
	c.Text(drawing.Text{X: margin, Y: floor + 16, Fill: grey, Text: "machines"})
	if slices.ContainsFunc(counts, c.compared) {
		c.Text(drawing.Text{X: margin, Y: floor + 34, Fill: rest, Text: "change"})
	}
}

// packages is when the last of n machines was ready that installed from packages; 0
// where that is not to be compared with, or was not measured.
func (c *chart) packages(n int) float64 {
	if c.arm.name == armPackages {
		return 0
	}
	return c.rows.median(armPackages, n, whole)
}

// compared says whether a bar has that mark.
func (c *chart) compared(n int) bool { return c.packages(n) > 0 }

// drawBar stacks the stages of n machines. Marks say when the last one was ready,
// and when it was from packages.
func (c *chart) drawBar(n, x int) {
	at := 0.0
	for i, s := range stageOrder() {
		took := c.rows.stage(c.arm.name, n, s)
		if took == 0 {
			continue
		}
		high := c.y(at) - c.y(at+took)
		c.Box(drawing.Box{X: x, Y: c.y(at + took), W: barWidth, H: high, Fill: colours()[i], Title: fmt.Sprintf("%s: %.2f s", s, took)})
		if high >= inBar {
			c.Text(drawing.Text{X: x + barWidth/2, Y: c.y(at+took/2) + 4, Anchor: "middle", Fill: onto(colours()[i]), Text: fmt.Sprintf("%.1f", took)})
		}
		at += took
	}
	ready, packages := c.rows.median(c.arm.name, n, whole), c.packages(n)
	c.mark(x, ready, last)
	c.Text(drawing.Text{X: x + barWidth/2, Y: c.y(max(ready, at)) - 5, Anchor: "middle", Text: fmt.Sprintf("%.1f s", ready)})
	c.Text(drawing.Text{X: x + barWidth/2, Y: floor + 16, Anchor: "middle", Text: strconv.Itoa(n)})
	if packages > 0 {
		c.mark(x, packages, rest)
		c.Text(drawing.Text{X: x + barWidth/2, Y: floor + 34, Anchor: "middle", Fill: rest, Text: fmt.Sprintf("%+.0f %%", 100*(ready/packages-1))})
	}
}

// mark draws a line across a bar, and beyond it.
func (c *chart) mark(x int, seconds float64, colour string) {
	for thick := range 2 {
		c.Line([2]int{x - 12, c.y(seconds) + thick}, [2]int{x + barWidth + 12, c.y(seconds) + thick}, colour)
	}
}

// onto is the colour of words on a box: white on what is dark.
func onto(fill string) string {
	switch fill {
	case "#a0aec0", "#cbd5e0", "#ecc94b", "#ed8936", "#38b2ac":
		return "#000000"
	}
	return "#ffffff"
}

// drawLegend names the stages as they lie on each other, and the marks.
func (c *chart) drawLegend(counts []int) {
	x, y := c.right+20, titles+10
	c.Text(drawing.Text{X: x, Y: y, Fill: grey, Text: "mean of all machines:"})
	for i, s := range slices.Backward(stageOrder()) {
		if !slices.ContainsFunc(counts, func(n int) bool { return c.rows.stage(c.arm.name, n, s) >= c.axis/plotHeight }) {
			continue // it is not to be seen
		}
		y += 18
		c.Box(drawing.Box{X: x, Y: y - 10, W: 12, H: 12, Fill: colours()[i]})
		c.Text(drawing.Text{X: x + 18, Y: y, Text: s})
	}
	marks := []struct{ colour, text string }{{last, "the last is ready"}}
	if slices.ContainsFunc(counts, c.compared) {
		marks = append(marks, struct{ colour, text string }{rest, "the last, from packages"})
	}
	for _, m := range marks {
		y += 18
		for thick := range 2 {
			c.Line([2]int{x - 2, y - 5 + thick}, [2]int{x + 14, y - 5 + thick}, m.colour)
		}
		c.Text(drawing.Text{X: x + 18, Y: y, Text: m.text})
	}
}

// beside says, in lines, what the old system showed in a figure, and this one here.
func beside(arm string, t table) []string {
	all := []string{"The system of 2006, on 16 nodes with Gigabit Ethernet:"}
	for _, o := range olds() {
		if o.arm == arm {
			machines := "machine"
			if o.machines > 1 {
				machines = "machines"
			}
			all = append(all, fmt.Sprintf("%s, %d %s: there %s, here %s", o.what, o.machines, machines, o.said, cmp.Or(o.our(t), notMeasured)))
		}
	}
	return all
}

// notMeasured stands where rows do not say what the old system did.
const notMeasured = "not measured"

// stage is how long one took.
func (t table) stage(arm string, n int, name string) float64 {
	return t.median(arm, n, func(r row) float64 { return r.Stages[name] })
}

// stacked is how high a bar is.
func (t table) stacked(arm string, n int) float64 {
	sum := 0.0
	for _, s := range stageOrder() {
		sum += t.stage(arm, n, s)
	}
	return sum
}

// tick is the distance of an axis' lines: 1, 2 or 5 times a power of ten, so that
// there are 5 to 12 of them.
func tick(top float64) float64 {
	if top <= 0 {
		return 1
	}
	step := math.Pow(10, math.Floor(math.Log10(top)))
	for _, part := range []float64{1, 2, 5, 10} {
		if top/(step/part) >= 5 {
			return step / part
		}
	}
	return step / 10
}
