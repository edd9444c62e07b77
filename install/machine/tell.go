package machine

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"ore"
	"ore/install/recipe"
)

// advanceEvery is how often a stage that advances is told of: what people see
// moving, and no more messages than a slow line takes.
const advanceEvery = 100 * time.Millisecond

// teller reports stages, of which one is open at a time.
type teller struct {
	mu     sync.Mutex // guards all below; events come from several goroutines
	report func(recipe.Report)
	number int64
	stage  string    // the open one, "" for none
	told   time.Time // when it was told last how far that is
	last   ore.Event // how far it is
	unsaid bool      // that was not told
	kept   []recipe.Report
}

func newTeller(report func(recipe.Report)) *teller { return &teller{report: report} }

func (t *teller) say(r recipe.Report) {
	t.number++
	r.Number, r.At, r.Stage = t.number, time.Now().UTC(), t.stage
	if r.Event != recipe.Advance {
		t.kept = append(t.kept, r)
	}
	if t.report != nil {
		t.report(r)
	}
}

// enter ends the open stage and begins another.
func (t *teller) enter(stage, text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begin(stage, text)
}

func (t *teller) begin(stage, text string) {
	if t.stage != "" {
		t.say(recipe.Report{Event: recipe.End})
	}
	t.stage, t.told, t.last, t.unsaid = stage, time.Time{}, ore.Event{}, false
	t.say(recipe.Report{Event: recipe.Start, Text: text})
}

// reach enters a stage if it is a later one than is open.
func (t *teller) reach(stage string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := order()
	if slices.Index(all, stage) > slices.Index(all, t.stage) {
		t.begin(stage, "")
	}
}

// order is that of the stages here: the environment's scripts come before what
// makes the tree one machine's.
func order() []string {
	return []string{
		recipe.Begin, recipe.Hardware, recipe.Partition, recipe.Format, recipe.Root, recipe.Install,
		recipe.Scripts, recipe.Capture, recipe.Configure, recipe.Restart,
	}
}

// advance tells how far the open stage is. Not all is told.
func (t *teller) advance(e ore.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last, t.unsaid = e, true
	if e.Final || time.Since(t.told) >= advanceEvery {
		t.far()
	}
}

// far tells how far the open stage is. The caller has the lock.
func (t *teller) far() {
	t.told, t.unsaid = time.Now(), false
	t.say(recipe.Report{Event: recipe.Advance, Done: max(t.last.Done, 0), Total: max(t.last.Total, 0), Text: Clip(t.last.Text)})
}

// pulse tells how far the open stage is, at each tick: what advance has not told, and
// what was told before if something has worked since the last tick of which nothing was
// told. It returns when stop is closed.
func (t *teller) pulse(ticks <-chan time.Time, stop <-chan struct{}, beats func() bool) {
	for heard := int64(0); ; {
		select {
		case <-stop:
			return
		case <-ticks:
		}
		beat := beats()
		t.mu.Lock()
		if t.unsaid || beat && t.number == heard {
			t.far()
		}
		heard = t.number
		t.mu.Unlock()
	}
}

// fail ends the open stage with an error.
func (t *teller) fail(err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	var fault recipe.Fault
	t.say(recipe.Report{Event: recipe.Fail, Text: Clip(err.Error()), Lasting: errors.As(err, &fault)})
	return err
}

// Clip makes a text one of a report: it leaves of a long one its begin, which says what failed, and its end,
// which says why.
func Clip(s string) string {
	const begin = 512
	if s = strings.ToValidUTF8(s, "?"); len(s) <= recipe.MaxText {
		return s
	}
	const gap = "\n...\n"
	return strings.ToValidUTF8(s[:begin], "") + gap + strings.ToValidUTF8(s[len(s)-(recipe.MaxText-begin-len(gap)):], "")
}
