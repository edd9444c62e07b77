// Package view shows the progress of a job and its output.
//
// The rules of what ore shows:
//
//   - The job's output goes to standard output and standard error, untouched
//     but for the rank before each line when there is more than one machine.
//   - What ore itself says goes to standard error.
//   - On a terminal the stages and machines are drawn live, and wiped before the
//     first of the job's output. Elsewhere each stage is one line when it ends.
package view

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"ore"
	"ore/cluster"
)

// refreshEvery is how often the live view is drawn at most; faster than this
// the eye sees no difference.
const refreshEvery = 80 * time.Millisecond

// maxBars is how many machines the live view shows one by one.
const maxBars = 16

// Config says what a view shows, and where.
type Config struct {
	Out, Err io.Writer
	Quiet    bool // only the job's output
	Machines int  // of the job; 0 where there is none
}

// View shows the progress of one job. Its methods may be called from several
// goroutines at once.
type View struct {
	Config
	live bool // draw on a terminal
	fd   int  // of that terminal

	mu      sync.Mutex // guards what follows, and the writers
	stages  []*stageLine
	bars    map[string]*bar
	drawn   int // lines on the terminal that are ours
	running bool
	stop    chan struct{}
	ending  sync.Once // closes stop
	stopped chan struct{}
	parts   []*prefixed
}

type stageLine struct {
	name        string
	begun       time.Time
	took        time.Duration
	over        bool
	text        string
	done, total int64
}

type bar struct {
	over bool
	text string
}

// New returns a view that is to be closed.
func New(c Config) *View {
	v := &View{Config: c, bars: map[string]*bar{}}
	if f, ok := c.Err.(*os.File); ok && term.IsTerminal(int(f.Fd())) && !c.Quiet {
		v.live, v.fd = true, int(f.Fd())
		v.stop, v.stopped = make(chan struct{}), make(chan struct{})
		for i := range min(c.Machines, maxBars) {
			v.bars[cluster.MachineName(i)] = &bar{}
		}
		go v.draw()
	}
	return v
}

// Watch takes one event in; it is an ore.Watcher.
func (v *View) Watch(e ore.Event) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if text := said(e); text != "" {
		if !v.Quiet {
			v.wipe() // it stays, above what is drawn anew
			fmt.Fprintf(v.Err, "ore: %s\n", text)
		}
		return
	}
	if e.Stage == "index" && !v.live && !v.Quiet && worthALine(e.Text) {
		fmt.Fprintf(v.Err, "ore: %s\n", e.Text)
	}
	if e.Machine != "" {
		if b := v.bars[e.Machine]; b != nil {
			b.over, b.text = e.Final, e.Stage
		}
		return
	}
	s := v.stage(e.Stage)
	if e.Text != "" {
		s.text = e.Text
	}
	if e.Total > 0 {
		s.done, s.total = e.Done, e.Total
	}
	if e.Final && !s.over {
		s.over, s.took = true, time.Since(s.begun)
		v.plain(s)
	}
	if e.Stage == "run" && !e.Final && !v.running {
		v.running = true
		v.wipe()
	}
}

// said is the line for an event that is no step of a stage: something went
// another way than was to be expected.
func said(e ore.Event) string {
	text := e.Text
	if e.Machine != "" {
		text = e.Machine + ": " + text
	}
	switch e.Stage {
	case "note":
		return text
	case "retry":
		return text + ": trying again"
	}
	return ""
}

// worthALine says whether what is told of the archive's indexes, which are no
// stage with an end, is to be known, such as that the mirror did not answer and
// what is known is used. That the mirror is being asked is not.
func worthALine(text string) bool { return text != "" && !strings.HasPrefix(text, "asking ") }

func (v *View) stage(name string) *stageLine {
	for _, s := range v.stages {
		if s.name == name && !s.over {
			return s
		}
	}
	s := &stageLine{name: name, begun: time.Now()}
	v.stages = append(v.stages, s)
	return s
}

// briefest is the least time that makes a stage worth a line where lines stay.
const briefest = 20 * time.Millisecond

func (v *View) plain(s *stageLine) {
	if v.live || v.Quiet || s.took < briefest || s.name == "run" {
		return
	}
	fmt.Fprintf(v.Err, "%-10s %6.2f s  %s\n", s.name, s.took.Seconds(), s.text)
}

// draw redraws the live view until close.
func (v *View) draw() {
	defer close(v.stopped)
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for {
		select {
		case <-v.stop:
			return
		case <-tick.C:
			v.mu.Lock()
			if !v.running {
				v.redraw()
			}
			v.mu.Unlock()
		}
	}
}

func (v *View) redraw() {
	var b bytes.Buffer
	if v.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", v.drawn)
	}
	lines := v.lines()
	if columns, rows, err := term.GetSize(v.fd); err == nil {
		lines = fit(lines, rows, columns)
	}
	for _, l := range lines {
		b.WriteString(l + "\n")
	}
	v.drawn = len(lines)
	v.Err.Write(b.Bytes())
}

// fit leaves what a terminal of this size can show and take back: one row is the
// cursor's, and a line that is as wide as the terminal would take two. The last
// lines stay, since they are of what is under way.
func fit(lines []string, rows, columns int) []string {
	if most := max(rows-1, 0); rows > 0 && len(lines) > most {
		lines = lines[len(lines)-most:]
	}
	if columns > 0 {
		for i, l := range lines {
			lines[i] = Cut(l, max(columns-1, 1))
		}
	}
	return lines
}

func (v *View) lines() []string {
	var lines []string
	starting := false
	for _, s := range v.stages {
		took, mark := s.took, "✓"
		if !s.over {
			took, mark = time.Since(s.begun), "·"
		}
		starting = starting || s.name == "start"
		text := s.text
		if s.total > 0 && !s.over {
			text = gauge(s.done, s.total) + " " + text
		}
		lines = append(lines, fmt.Sprintf("%s %-10s %6.2f s  %s", mark, s.name, took.Seconds(), Cut(text, 60)))
	}
	if !starting {
		return lines
	}
	var names []string
	for n := range v.bars {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) })
	for _, n := range names {
		b := v.bars[n]
		if b.over {
			lines = append(lines, fmt.Sprintf("  %-4s %s", n, gauge(1, 1)))
		} else {
			lines = append(lines, fmt.Sprintf("  %-4s %s %s", n, gauge(0, 1), b.text))
		}
	}
	return lines
}

// gaugeWidth is the width of a bar in characters.
const gaugeWidth = 20

func gauge(done, total int64) string {
	n := int(min(done, total) * gaugeWidth / total)
	return strings.Repeat("█", n) + strings.Repeat("░", gaugeWidth-n)
}

// Cut shortens s to n characters.
func Cut(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return s
}

func (v *View) wipe() {
	if v.drawn > 0 {
		fmt.Fprintf(v.Err, "\x1b[%dA\x1b[J", v.drawn)
		v.drawn = 0
	}
}

// Close ends the live view and writes out unfinished lines. More than once is once.
func (v *View) Close() {
	if v.live {
		v.ending.Do(func() { close(v.stop) })
		<-v.stopped
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.wipe()
	for _, p := range v.parts {
		p.flush()
	}
}

// Output is where a part's output is shown.
func (v *View) Output(p cluster.Part) cluster.Output { return v.Named(strconv.Itoa(p.Rank)) }

// Named is where the output of what has this name is shown.
func (v *View) Named(name string) cluster.Output {
	v.mu.Lock()
	defer v.mu.Unlock()
	prefix := ""
	if v.Machines > 1 {
		prefix = name + ": "
	}
	o := &prefixed{view: v, w: v.Out, prefix: prefix}
	e := &prefixed{view: v, w: v.Err, prefix: prefix}
	v.parts = append(v.parts, o, e)
	return cluster.Output{Stdout: o, Stderr: e}
}

// maxLine is how much of a line without an end is kept before it is shown.
const maxLine = 64 << 10

// prefixed shows one stream of one part, by whole lines if it has a prefix, so
// that lines of several machines do not mix.
type prefixed struct {
	view   *View
	w      io.Writer
	prefix string
	rest   []byte // of a line that has not ended
}

// Write never fails: a terminal that is gone is no reason to end the job.
func (p *prefixed) Write(b []byte) (int, error) {
	p.view.mu.Lock()
	defer p.view.mu.Unlock()
	if p.prefix == "" {
		p.w.Write(b)
		return len(b), nil
	}
	n := len(b)
	var out bytes.Buffer
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			break
		}
		out.WriteString(p.prefix)
		out.Write(p.rest)
		out.Write(b[:i+1])
		p.rest, b = p.rest[:0], b[i+1:]
	}
	p.w.Write(out.Bytes())
	p.rest = append(p.rest, b...)
	if len(p.rest) > maxLine {
		p.flush()
	}
	return n, nil
}

func (p *prefixed) flush() {
	if len(p.rest) > 0 {
		fmt.Fprintf(p.w, "%s%s\n", p.prefix, p.rest)
		p.rest = p.rest[:0]
	}
}
