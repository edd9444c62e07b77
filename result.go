package ore

import "time"

// Kind says what a result means, so that a job's own exit code 124 is not
// mistaken for a time limit.
type Kind string

// The kinds of result.
const (
	Finished  Kind = "finished"  // the job ran and ended; its exit code is its own
	TimedOut  Kind = "timeout"   // the job's time limit was reached
	Failed    Kind = "failed"    // ore could not do it; the job is not to blame
	Cancelled Kind = "cancelled" // somebody asked for the end
)

// Exit codes of ore itself, when the job's own does not stand.
const (
	ExitUsage     = 2
	ExitTimeout   = 124
	ExitFailed    = 125
	ExitCancelled = 130
)

// Result is what came of a job.
type Result struct {
	Job      string
	Kind     Kind
	ExitCode int    // what the command ore exits with
	Error    string // for kinds other than Finished: what failed: why: what to do
	Key      Key
	Image    Digest // of the image's manifest
	Ranks    []RankResult
	Timeline Timeline
}

// RankResult is what came of one machine's part, or of one task of an array.
type RankResult struct {
	Rank     int
	Task     string // the task's text, in an array
	Machine  string
	Kind     Kind
	ExitCode int
	Signal   string // the signal's name when one ended it, "" otherwise
	Error    string
	Outputs  []string // files brought home, relative to the rank's folder
	Elapsed  time.Duration
}

// Stage is one timed step of a job's life.
type Stage struct {
	Name    string
	Machine string // "" for a stage of the whole job
	Start   time.Time
	End     time.Time
	Note    string // for example how many bytes or packages
}

// Timeline is all stages of a job, in the order of their start.
type Timeline []Stage

// Span returns the time from the first start to the last end.
func (t Timeline) Span() time.Duration {
	var first, last time.Time
	for _, s := range t {
		if first.IsZero() || s.Start.Before(first) {
			first = s.Start
		}
		if s.End.After(last) {
			last = s.End
		}
	}
	return last.Sub(first)
}

// Event is one thing that happened, for whoever shows progress. Events are
// for people: nothing depends on them, and they may be dropped.
type Event struct {
	Stage   string // the stage's name, such as "fetch"
	Machine string // "" for the whole job
	Text    string // a short sentence, "" when only the numbers moved
	Done    int64  // of Total; units of the stage
	Total   int64  // 0 when not known
	Final   bool   // the stage is over
}

// Watcher receives events. It must not block and may be called from several
// goroutines at once. A nil Watcher is allowed wherever one is taken.
type Watcher func(Event)

// Tell calls w with e unless w is nil.
func (w Watcher) Tell(e Event) {
	if w != nil {
		w(e)
	}
}
