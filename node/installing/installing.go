// Package installing has a machine install itself onto its disk: it gives the
// installer that runs there its recipe and hears its reports.
//
// # What an installer is
//
// A command that reads a recipe from its standard input, writes reports to its
// standard output, one JSON object a line, and ends with the exit code 0 once the
// disk is a machine:
//
//	{"n": 7, "stage": "base", "event": "advance", "done": 1048576, "total": 52428800}
//
// The stage is a word for people; the event is start, advance, end or fail; done
// and total count bytes or packages; text is a short sentence, and of a failure
// why, with the end of what the step said; lasting is true of one with which every
// other try would end. It is the form in which machines that
// boot from the network report, too. What the installer writes to its standard
// error belongs to its console.
//
// # Limits
//
// A machine may be hostile. Lines, stages and events are bounded; what cannot be
// read is an error of that machine alone. One that says nothing for [Silence] is
// given up.
package installing

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"ore"
	"ore/guest"
	"ore/image"
)

// Order is how machines install themselves.
type Order struct {
	Image    image.Manifest     // of the machine that installs
	Program  ore.Digest         // a squashfs whose one file is the program
	Command  []string           // the first word is where the program is to be
	Blobs    []ore.Digest       // layers that the machines are given as devices, as far as there is room
	Depot    string             // a Unix socket, reached at [DepotPort] of the gateway; "" for none
	Bundle   *Bundle            // of a host that gives its machines all at that port itself, in place of Depot; else nil
	Machines map[string]Machine // by name
	Tries    int                // how often a machine goes on where its installer failed; if any, it begins anew once after them
	Keep     bool               // a machine that has failed stays as it is, in its installer, and the others go on
	Apart    bool               // one that has failed, and is not kept, ends, and the others go on
}

// Machine is what one machine installs.
type Machine struct {
	Recipe json.RawMessage
	Root   Root
}

// Root says where the system that was installed is.
type Root = guest.Root

// FileSystem is one that such a system has.
type FileSystem = guest.FileSystem

// What a recipe may rely on: the folder with the devices of [Order].Blobs, by
// their digests, and the link to the machine's disk.
const (
	BlobsPath = guest.BlobsPath
	DiskPath  = guest.DiskPath
)

// DepotPort is where machines that install themselves find layers and packages,
// at the gateway of their network: the first port that no service has (RFC 6335).
const DepotPort = 49152

// Devices is how many block devices a machine that installs is given at most: what
// User Mode Linux has. What does not fit comes over the network.
const Devices = 8

// The stages that are told from here: the first begins with the machine's start,
// and after the restart only the system on the disk can be ready.
const (
	Begin   = "installer start"
	Restart = "restart"
	Ready   = "ready"
)

// Limits of what an installer says.
const (
	// Silence is how long an installer may say nothing. It is heard every ten seconds
	// while its programs move bytes, be it a slow machine.
	Silence = 15 * time.Minute
	// maxLine holds a report with the end of a failed step's output.
	maxLine = 64 << 10
	// maxStages bounds what one machine tells; a stage may be told again.
	maxStages = 64
	// keptError is how much of what it writes to its standard error is shown.
	keptError = 4 << 10
)

// report is one line.
type report struct {
	Stage string `json:"stage"`
	Event string `json:"event"`
	Done  int64  `json:"done"`
	Total int64  `json:"total"`
	Text  string `json:"text"`
	// Lasting says of a failure that every other try would end so.
	Lasting bool `json:"lasting"`
}

// Error says in which stage an installation failed, and why.
type Error struct {
	Stage   string
	Text    string
	Lasting bool // every other try by the same recipe would end so
}

// Error returns the stage and the cause.
func (e *Error) Error() string {
	if e.Stage == "" {
		return e.Text
	}
	return fmt.Sprintf("stage %s: %s", e.Stage, e.Text)
}

// Runner runs commands on the machine; *guest.Conn is one.
type Runner func(ctx context.Context, c guest.Command) (guest.Exit, error)

// Visit is one machine on which the installer is run.
type Visit struct {
	Name    string
	Run     Runner
	Console io.Writer // gets what the installer writes to its standard error
	Watch   ore.Watcher
}

// Install runs the installer on a machine and returns the stages that it went
// through, by this host's clock. Its error is an *Error if it is the installer's.
func (o Order) Install(ctx context.Context, v Visit) ([]ore.Stage, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	h := &hearing{machine: v.Name, watch: v.Watch, now: time.Now}
	h.silence = time.AfterFunc(Silence, func() { cancel(h.quiet()) })
	defer h.silence.Stop()
	said := &tail{limit: keptError}
	out := &lines{do: h.line}
	exit, err := v.Run(ctx, guest.Command{
		Args: o.Command, Dir: "/", Stdin: bytes.NewReader(o.Machines[v.Name].Recipe), Stdout: out,
		Stderr: io.MultiWriter(v.Console, said), Sweep: true,
	})
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	stages, failed := h.end()
	switch {
	case failed != nil:
		return stages, failed
	case err != nil:
		return stages, &Error{Stage: h.stage(), Text: err.Error()}
	case out.err != nil:
		return stages, &Error{Stage: h.stage(), Text: "report: " + out.err.Error()}
	case exit.Signal != "":
		return stages, &Error{Stage: h.stage(), Text: "the installer was ended by " + exit.Signal + said.shown()}
	case exit.Code != 0:
		return stages, &Error{Stage: h.stage(), Text: fmt.Sprintf("the installer ended with exit code %d%s", exit.Code, said.shown())}
	}
	return stages, nil
}

// hearing follows what one machine reports.
type hearing struct {
	machine string
	watch   ore.Watcher
	now     func() time.Time
	silence *time.Timer

	mu     sync.Mutex // guards what follows
	stages []ore.Stage
	failed *Error
}

// line takes in one line.
func (h *hearing) line(b []byte) error {
	var p report
	if err := json.Unmarshal(b, &p); err != nil {
		return fmt.Errorf("%.40q: %w", b, err)
	}
	if p.Stage == "" || p.Done < 0 || p.Total < 0 {
		return fmt.Errorf("%.40q: no stage, or a negative number", b)
	}
	if h.silence != nil {
		h.silence.Reset(Silence)
	}
	p.Text = strings.ToValidUTF8(p.Text, "?")
	h.note(p)
	final := p.Event == "end" || p.Event == "fail"
	h.watch.Tell(ore.Event{Stage: p.Stage, Machine: h.machine, Text: firstLine(p.Text), Done: p.Done, Total: p.Total, Final: final})
	return nil
}

// note keeps what a report says of its stage.
func (h *hearing) note(p report) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n, now := len(h.stages), h.now()
	if n == 0 || h.stages[n-1].Name != p.Stage || !h.stages[n-1].End.IsZero() {
		if n >= maxStages {
			return
		}
		if n > 0 && h.stages[n-1].End.IsZero() {
			h.stages[n-1].End = now
		}
		h.stages = append(h.stages, ore.Stage{Name: p.Stage, Machine: h.machine, Start: now})
		n++
	}
	s := &h.stages[n-1]
	if t := firstLine(p.Text); t != "" {
		s.Note = t
	}
	switch p.Event {
	case "end":
		s.End = now
	case "fail":
		s.End = now
		h.failed = &Error{Stage: p.Stage, Text: p.Text, Lasting: p.Lasting}
	}
}

// quiet is the error of an installer that says nothing any more.
func (h *hearing) quiet() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	doing := ""
	if n := len(h.stages); n > 0 && h.stages[n-1].Note != "" {
		doing = fmt.Sprintf(" since it was at %q", h.stages[n-1].Note)
	}
	return fmt.Errorf("the installer said nothing for %v%s", Silence, doing)
}

// end closes the last stage and returns all, and the failure that was reported.
func (h *hearing) end() ([]ore.Stage, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.stages); n > 0 && h.stages[n-1].End.IsZero() {
		h.stages[n-1].End = h.now()
	}
	if h.failed != nil {
		return h.stages, h.failed
	}
	return h.stages, nil
}

// stage names the last one.
func (h *hearing) stage() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(h.stages); n > 0 {
		return h.stages[n-1].Name
	}
	return ""
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

// lines calls do for each line that is written to it.
type lines struct {
	do   func([]byte) error
	rest []byte
	err  error
}

// Write takes everything, so that an installer that says nonsense is not stopped
// amidst a write to its disk; the first fault is kept.
func (l *lines) Write(p []byte) (int, error) {
	l.rest = append(l.rest, p...)
	for {
		line, rest, whole := bytes.Cut(l.rest, []byte("\n"))
		switch {
		case !whole && len(l.rest) > maxLine:
			l.fault(fmt.Errorf("a line of more than %d bytes", maxLine))
			l.rest = l.rest[:0]
			return len(p), nil
		case !whole:
			l.rest = append([]byte(nil), l.rest...) // what was read is let go
			return len(p), nil
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			l.fault(l.do(line))
		}
		l.rest = rest
	}
}

func (l *lines) fault(err error) {
	if l.err == nil {
		l.err = err
	}
}

// tail keeps the end of what is written to it.
type tail struct {
	mu    sync.Mutex // guards kept
	kept  []byte
	limit int
}

// Write never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - t.limit; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}

// shown sets what was kept off from an error.
func (t *tail) shown() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	for s := bufio.NewScanner(bytes.NewReader(t.kept)); s.Scan(); {
		b.WriteString("\n    " + strings.ToValidUTF8(s.Text(), "?"))
	}
	if b.Len() == 0 {
		return ""
	}
	return "; it said:" + b.String()
}
