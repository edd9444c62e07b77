package recipe

import (
	"slices"
	"time"
)

// Report is one line that an installer writes, in the form in which machines
// report to a roster of package netboot.
type Report struct {
	Number int64     `json:"n"` // counts from 1
	Stage  string    `json:"stage"`
	Event  string    `json:"event"` // "start", "advance", "end" or "fail"
	At     time.Time `json:"at"`    // by the machine's clock
	Done   int64     `json:"done,omitempty"`
	Total  int64     `json:"total,omitempty"`
	Text   string    `json:"text,omitempty"`
	// Lasting says of a failure that every other try by the same recipe would end so.
	Lasting bool `json:"lasting,omitempty"`
}

// Fault is an error of what is described, not of the machine or of what it was sent:
// every try by the same recipe would end so.
type Fault struct{ Err error }

// Error returns the cause.
func (f Fault) Error() string { return f.Err.Error() }

// Unwrap returns the cause.
func (f Fault) Unwrap() error { return f.Err }

// The events of a stage.
const (
	Start   = "start"
	Advance = "advance"
	End     = "end"
	Fail    = "fail"
)

// The stages of an install. All but the last are the installer's; that a machine
// is ready is for its first process to say, once it is started from its disk.
const (
	Begin     = "installer start"
	Hardware  = "hardware"
	Partition = "partition"
	Format    = "format"
	Root      = "base"
	Install   = "packages"
	Configure = "configure"
	Scripts   = "scripts"
	Capture   = "capture" // of the one machine whose image is kept
	Restart   = "restart"
	Ready     = "ready"
)

// Stages returns all of them, in the order of a timeline.
func Stages() []string {
	return []string{Begin, Hardware, Partition, Format, Root, Install, Configure, Scripts, Capture, Restart, Ready}
}

// MaxText is what a report may say: the end of a failed step's output fits.
const MaxText = 4096

// Valid says whether a report has the form of one.
func (r Report) Valid() bool {
	return slices.Contains(Stages(), r.Stage) && slices.Contains([]string{Start, Advance, End, Fail}, r.Event) &&
		r.Number > 0 && r.Done >= 0 && r.Total >= 0 && len(r.Text) <= MaxText
}
