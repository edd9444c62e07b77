// Package ending is what ore still does when a second signal ends it at once: it
// says so, and has it written down what became of the job.
package ending

import (
	"fmt"
	"io"
	"sync"
	"time"

	"ore"
	"ore/cluster/results"
	"ore/site"
	"ore/site/ledger"
)

// Words are the last ones. The nil value has none.
type Words struct {
	mu sync.Mutex // guards do; Speak holds it to the end of the process
	do func(w io.Writer)
}

// Set says what is to be done at the end from here on; nil means nothing.
func (l *Words) Set(do func(w io.Writer)) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.do = do
}

// Speak does it. It is called once, before the process ends: nothing can be set
// any more, so that nobody else ends the same job.
func (l *Words) Speak(w io.Writer) {
	l.mu.Lock()
	if l.do == nil {
		fmt.Fprintln(w, "ore: killed")
		return
	}
	l.do(w)
}

// Job has it written down, and says, that a job was cancelled and not waited for.
func Job(s *site.Site, r ledger.Record, out *results.Folder) func(w io.Writer) {
	return func(w io.Writer) {
		r.Ended = time.Now()
		r.Result = &ore.Result{
			Job: r.ID, Kind: ore.Cancelled, ExitCode: ore.ExitCancelled,
			Error: "cancelled, and killed before it had ended: what it printed and made may not all be there",
		}
		for _, err := range []error{s.Keep(r), out.Finish(*r.Result)} {
			if err != nil {
				fmt.Fprintf(w, "ore: %v\n", err)
			}
		}
		fmt.Fprintf(w, "%s: cancelled, killed; results in %s\n", r.ID, out.Dir())
	}
}

// Broken has it written down that ore broke off, if it is without a result that it
// returns: it panics. It is deferred once the job has a record.
func Broken(s *site.Site, r *ledger.Record, out *results.Folder) {
	if r.Result != nil {
		return
	}
	r.Ended = time.Now()
	r.Result = &ore.Result{
		Job: r.ID, Kind: ore.Failed, ExitCode: ore.ExitFailed,
		Error: "ore broke off by a fault of its own: what it printed on standard error says where",
	}
	_ = s.Keep(*r) // what there is to say is being said: the panic goes on
	_ = out.Finish(*r.Result)
}
