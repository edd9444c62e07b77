package results

import (
	"encoding/json"
	"fmt"
	"time"

	"ore"
	"ore/cluster/drawing"
)

// Trace returns the timeline in the trace event format that Chrome's tracing
// page and Perfetto read: complete events ("X") in microseconds, the whole job
// as thread 0 and each machine as a thread of its own.
func Trace(t ore.Timeline) ([]byte, error) {
	type event struct {
		Name string            `json:"name"`
		Ph   string            `json:"ph"`
		Ts   int64             `json:"ts"`
		Dur  int64             `json:"dur,omitempty"`
		Pid  int               `json:"pid"`
		Tid  int               `json:"tid"`
		Args map[string]string `json:"args,omitempty"`
	}
	rows, events := rowsOf(t), []event{}
	for name, tid := range rows.number {
		if name == "" {
			name = "job"
		}
		events = append(events, event{Name: "thread_name", Ph: "M", Tid: tid, Args: map[string]string{"name": name}})
	}
	for _, s := range t {
		e := event{Name: s.Name, Ph: "X", Ts: s.Start.Sub(rows.first).Microseconds(), Dur: s.End.Sub(s.Start).Microseconds(), Tid: rows.number[s.Machine]}
		if s.Note != "" {
			e.Args = map[string]string{"note": s.Note}
		}
		events = append(events, e)
	}
	return json.Marshal(map[string]any{"traceEvents": events, "displayTimeUnit": "ms"})
}

// rows gives the job and each machine a number, in the order they appear.
type rows struct {
	number map[string]int
	first  time.Time
}

func rowsOf(t ore.Timeline) rows {
	r := rows{number: map[string]int{"": 0}}
	for _, s := range t {
		if _, ok := r.number[s.Machine]; !ok {
			r.number[s.Machine] = len(r.number)
		}
		if r.first.IsZero() || s.Start.Before(r.first) {
			r.first = s.Start
		}
	}
	return r
}

// The drawing's measures, in SVG user units.
const (
	margin    = 16
	nameWidth = 150
	barsWidth = 700
	rowHeight = 22
)

// SVG draws a result's timeline: a row a stage, time from left to right.
func SVG(r ore.Result) []byte {
	t := r.Timeline
	span := max(t.Span(), time.Millisecond)
	first := rowsOf(t).first
	d := drawing.New(2*margin+nameWidth+barsWidth, 2*margin+rowHeight*(len(t)+2))
	d.Text(drawing.Text{X: margin, Y: margin + 10, Bold: true, Text: fmt.Sprintf("%s: %s, %s", r.Job, r.Kind, span.Round(time.Millisecond))})
	for i, s := range t {
		y := margin + rowHeight*(i+1)
		x := margin + nameWidth + int(float64(barsWidth)*float64(s.Start.Sub(first))/float64(span))
		w := max(1, int(float64(barsWidth)*float64(s.End.Sub(s.Start))/float64(span)))
		name := s.Name
		if s.Machine != "" {
			name = s.Machine + " " + s.Name
		}
		took := s.End.Sub(s.Start).Round(time.Millisecond)
		d.Text(drawing.Text{X: margin, Y: y + 14, Text: name})
		d.Box(drawing.Box{X: x, Y: y + 3, W: w, H: 14, Fill: colour(s), Title: fmt.Sprintf("%s: %s %s", name, took, s.Note)})
		after := drawing.Text{X: x + w + 4, Y: y + 14, Anchor: "start", Fill: "#555555", Text: took.String()}
		if after.X > margin+nameWidth+barsWidth-60 {
			after.X, after.Anchor = x-4, "end"
		}
		d.Text(after)
	}
	return d.Bytes()
}

func colour(s ore.Stage) string {
	switch {
	case s.Machine != "" && s.Name == "run", s.Name == "run":
		return "#2f855a"
	case s.Machine != "":
		return "#90cdf4"
	default:
		return "#3182ce"
	}
}
