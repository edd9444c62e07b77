package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"ore"
	"ore/chain/conduct"
	"ore/node/agent"
)

// TestAHostIsNamedOnce has a host blamed for what names it, and for what does not.
func TestAHostIsNamedOnce(t *testing.T) {
	lost := fmt.Errorf("host : %w: no answer", agent.ErrLost)
	for _, c := range []struct {
		err  error
		want string
	}{
		{lost, "host : the host is lost: no answer"},
		{errors.New("no space left on device"), "host : no space left on device"},
	} {
		h := &host{agent: &agent.Client{}}
		h.blame(c.err)
		h.blame(errors.New("its effect"))
		if got := h.fault(); got.Error() != c.want || !errors.Is(got, c.err) {
			t.Errorf("%v, want %s", got, c.want)
		}
	}
}

// A host that does not answer in time is asked again until it does, refuses, or is lost.
func TestPatience(t *testing.T) {
	late := fmt.Errorf("%w: %w", agent.ErrLost, context.DeadlineExceeded)
	refused := fmt.Errorf("%w: %w", agent.ErrLost, syscall.ECONNREFUSED)
	lost, end := context.WithCancel(t.Context())
	defer end()
	for _, c := range []struct {
		summary string
		answers []error
		last    func() // is called with the last of them
		want    error
	}{
		{"at once", []error{nil}, func() {}, nil},
		{"slow", []error{late, late, late, nil}, func() {}, nil},
		{"refuses", []error{refused}, func() {}, refused},
		{"refuses later", []error{late, refused}, func() {}, refused},
		{"silent", []error{late, late, late}, end, late}, // the last, since lost stays ended
	} {
		err := patiently(t.Context(), lost, func(context.Context) error {
			if len(c.answers) == 0 {
				t.Fatalf("%s: it is asked on", c.summary)
			}
			answer := c.answers[0]
			if c.answers = c.answers[1:]; len(c.answers) == 0 {
				c.last()
			}
			return answer
		})
		if err != c.want || len(c.answers) > 0 {
			t.Errorf("%s: %v; it was not asked %d times", c.summary, err, len(c.answers))
		}
	}
}

// Who watches a job hears of a host that others went around, and its timeline says it.
func TestARepairIsTold(t *testing.T) {
	h := &host{agent: &agent.Client{}}
	e := &Engine{hosts: []*host{h}}
	var said []string
	tr := e.newTransfer(func(v ore.Event) { said = append(said, v.Stage+": "+v.Text) })
	tr.repaired(h, ore.DigestOf(nil), conduct.Repair{After: 1500 * time.Millisecond, Host: "0 h1", What: "moved to the tail: it is slow"})
	if want := "distribute: host , 1.5 s into e3b0c44298fc: moved to the tail: it is slow"; !slices.Equal(said, []string{want}) {
		t.Errorf("said was %q, want %q", said, want)
	}
	stages := tr.stages()
	if len(stages) != 1 || stages[0].Note != "0.0 MB in, 0.0 MB out; moved to the tail: it is slow" {
		t.Errorf("the timeline has %+v", stages)
	}
}
