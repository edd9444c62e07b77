package figures

import (
	"fmt"
	"math"
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
	legend     = 150
	titles     = 92
)

// colours of the stages, in their order: what moves bytes is dark.
func colours() []string {
	return []string{"#805ad5", "#a0aec0", "#cbd5e0", "#ecc94b", "#ed8936", "#2b6cb0", "#2f855a", "#38b2ac", "#b7791f", "#e53e3e", "#1a202c", "#d53f8c", "#718096"}
}

// draw draws one figure: a bar for each number of machines, stacked by stage.
func draw(a arm, t table, h head) []byte {
	counts := t.counts(a.name)
	height := titles + plotHeight + 3*margin
	right := margin + axisWidth + groupWidth*max(2, len(counts))
	d := drawing.New(max(right+legend, 560), height)
	d.Text(drawing.Text{X: margin, Y: margin + 4, Bold: true, Text: fmt.Sprintf("Figure %d: %s", a.figure, a.title)})
	for i, line := range h.Settings.conditions(h) {
		d.Text(drawing.Text{X: margin, Y: margin + 20 + 14*i, Fill: "#555555", Text: line})
	}
	top := 0.0
	for _, n := range counts {
		top = max(top, t.stacked(a.name, n), t.median(a.name, n, whole))
	}
	step := tick(top)
	lines := max(1, int(math.Ceil(top/step)))
	floor := titles + plotHeight
	y := func(seconds float64) int { return floor - int(seconds/(step*float64(lines))*plotHeight) }
	for i := range lines + 1 {
		s := step * float64(i)
		d.Line([2]int{margin + axisWidth, y(s)}, [2]int{right, y(s)}, "#dddddd")
		d.Text(drawing.Text{X: margin + axisWidth - 6, Y: y(s) + 4, Anchor: "end", Fill: "#555555", Text: strconv.FormatFloat(s, 'f', -1, 64)})
	}
	for i, n := range counts {
		x := margin + axisWidth + groupWidth*i + (groupWidth-barWidth)/2
		drawBar(d, t, bar{arm: a.name, machines: n, x: x, y: y})
		d.Text(drawing.Text{X: x + barWidth/2, Y: floor + 16, Anchor: "middle", Text: strconv.Itoa(n)})
	}
	d.Text(drawing.Text{X: (margin + axisWidth + right) / 2, Y: floor + 34, Anchor: "middle", Fill: "#555555", Text: "machines; seconds, the mean of them"})
	drawLegend(d, right+10, t.stages(a.name))
	return d.Bytes()
}

// bar is one of a figure.
type bar struct {
	arm      string
	machines int
	x        int
	y        func(seconds float64) int
}

// drawBar stacks the stages. A mark above says when the last machine was ready.
func drawBar(d *drawing.Drawing, t table, b bar) {
	at := 0.0
	for i, s := range stageOrder() {
		took := t.median(b.arm, b.machines, func(r row) float64 { return r.Stages[s] })
		if took == 0 {
			continue
		}
		d.Box(drawing.Box{X: b.x, Y: b.y(at + took), W: barWidth, H: b.y(at) - b.y(at+took), Fill: colours()[i%len(colours())], Title: fmt.Sprintf("%s: %.2f s", s, took)})
		at += took
	}
	last := t.median(b.arm, b.machines, whole)
	d.Line([2]int{b.x - 6, b.y(last)}, [2]int{b.x + barWidth + 6, b.y(last)}, "#000000")
	d.Text(drawing.Text{X: b.x + barWidth/2, Y: b.y(max(last, at)) - 5, Anchor: "middle", Text: fmt.Sprintf("%.1f s", last)})
}

func drawLegend(d *drawing.Drawing, x int, shown map[string]bool) {
	y := titles + 10
	for i, s := range stageOrder() {
		if !shown[s] {
			continue
		}
		d.Box(drawing.Box{X: x, Y: y - 10, W: 12, H: 12, Fill: colours()[i%len(colours())]})
		d.Text(drawing.Text{X: x + 18, Y: y, Text: s})
		y += 18
	}
	d.Line([2]int{x - 2, y - 4}, [2]int{x + 14, y - 4}, "#000000")
	d.Text(drawing.Text{X: x + 18, Y: y, Text: "the last is ready"})
}

// stacked is how high a bar is.
func (t table) stacked(arm string, n int) float64 {
	sum := 0.0
	for _, s := range stageOrder() {
		sum += t.median(arm, n, func(r row) float64 { return r.Stages[s] })
	}
	return sum
}

// stages returns those that an arm's rows have.
func (t table) stages(arm string) map[string]bool {
	all := map[string]bool{}
	for _, r := range t {
		if r.Arm != arm {
			continue
		}
		for s, took := range r.Stages {
			all[s] = all[s] || took > 0
		}
	}
	return all
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
