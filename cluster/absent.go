package cluster

import (
	"errors"
	"fmt"
	"strings"

	"ore"
	"ore/node"
	"ore/node/installing"
)

// apart says whether the job goes on without machines that do not install themselves:
// one that launches on all of them, and machines that are kept for their user, do not.
func (r *run) apart() bool { return len(r.work) > 0 && r.job.Run.Mode != ore.First }

// goOnWithout takes machines that have not installed themselves out of all, and notes
// why. It fails if the job needs them, or if none are left.
func (r *run) goOnWithout(all map[string]Node) error {
	failed := node.Failed(r.started)
	if failed != nil && !r.apart() {
		return failed
	}
	r.absent = map[string]error{}
	var why []error
	var notes []ore.Event
	for _, m := range r.started {
		switch {
		case m.Failed != "":
			r.absent[m.Name] = &node.FailedError{Machines: []node.Started{m}}
		case m.Lost != "":
			r.absent[m.Name] = r.lost(m)
		default:
			continue
		}
		delete(all, m.Name)
		why = append(why, r.absent[m.Name])
		notes = append(notes, ore.Event{Stage: "note", Text: fmt.Sprintf("machine %s: %s: the others go on without it", m.Name, brief(m.Failed+m.Lost))})
	}
	if len(all) == 0 && failed != nil {
		return failed
	} else if len(all) == 0 {
		return fmt.Errorf("start machines: %w", errors.Join(distinct(why)...))
	}
	for _, n := range notes {
		r.Watch.Tell(n)
	}
	return nil
}

// lost is why a machine that has not installed itself takes no part in the job: what
// failed, what it said, and, apart from that, what to do about it.
func (r *run) lost(m node.Started) error {
	why, said, more := head(m.Lost)
	var err error = &node.LostError{Machine: m.Name, Cause: errors.New(why)}
	if more {
		err = fmt.Errorf("%w:\n%s\n", err, strings.TrimRight(said, "\n"))
	}
	advice := "'ore run --retries' tries it again, at last on a blank disk"
	switch begun := beginnings(m.Stages); {
	case m.Lasting:
		advice = "every other try would end so: change the job first"
	case begun > 1:
		advice = "so it was again on a blank disk: see what the machine's console says last"
	case r.job.Run.Retries > 0:
		advice = "it did not begin anew on a blank disk: see what the machine's console says last"
	}
	if more {
		return fmt.Errorf("%wwhat to do about machine %s: %s", err, m.Name, advice)
	}
	return fmt.Errorf("%w: %s", err, advice)
}

// beginnings is how often a machine began to install itself, as its stages say.
func beginnings(stages []ore.Stage) (n int) {
	for _, s := range stages {
		if s.Name == installing.Begin {
			n++
		}
	}
	return n
}

// head parts the first line of what is known of a machine's end, which says what failed,
// from what it said.
func head(s string) (first, rest string, more bool) {
	first, rest, more = strings.Cut(s, "\n")
	return strings.TrimSuffix(first, ":"), rest, more
}

// brief is the first line of what is known of a machine's end, but for a last clause
// that announces the other lines.
func brief(s string) string {
	first, _, _ := strings.Cut(s, "\n")
	first, announces := strings.CutSuffix(first, ":")
	if end := max(strings.LastIndex(first, "; "), strings.LastIndex(first, ": ")); announces && end > 0 {
		return first[:end]
	}
	return first
}

// andKept adds to the error of a run that machines are kept, if no part has said so.
func (r *run) andKept(err error) error {
	var failed *node.FailedError
	if errors.As(err, &failed) {
		return err
	}
	return errors.Join(err, node.Failed(r.started))
}
