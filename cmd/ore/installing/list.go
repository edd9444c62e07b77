package installing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"ore"
	"ore/cmd/ore/view"
	"ore/netboot/roster"
)

// row is a machine as --json gives it.
type row struct {
	Card     string       `json:"card"`
	Name     string       `json:"name,omitempty"`
	State    roster.State `json:"state"`
	Since    time.Time    `json:"since"`
	Heard    time.Time    `json:"heard,omitzero"`
	Address  string       `json:"address,omitempty"`
	Firmware string       `json:"firmware,omitempty"`
	UUID     string       `json:"uuid,omitempty"`
	Want     ore.Digest   `json:"want,omitempty"`
	Is       ore.Digest   `json:"is,omitempty"`
	Tries    int          `json:"tries,omitempty"`
	Reason   string       `json:"reason,omitempty"`
	Stages   []stage      `json:"stages,omitempty"`
}

// stage is one of the last try.
type stage struct {
	Name    string    `json:"name"`
	Start   time.Time `json:"start"`
	Seconds float64   `json:"seconds,omitempty"` // once it is over
	Note    string    `json:"note,omitempty"`
}

func rowOf(m roster.Machine) row {
	r := row{Card: m.MAC.String(), Name: m.Name, State: m.State, Since: m.Since, Heard: m.Heard, Firmware: m.Firmware, UUID: m.UUID,
		Want: m.Want, Is: m.Is, Tries: m.Tries, Reason: m.Reason}
	if m.Address.IsValid() {
		r.Address = m.Address.String()
	}
	for _, s := range m.Stages {
		t := stage{Name: s.Name, Start: s.Start, Note: s.Note}
		if !s.End.IsZero() {
			t.Seconds = s.End.Sub(s.Start).Seconds()
		}
		r.Stages = append(r.Stages, t)
	}
	return r
}

func rows(all []roster.Machine) []row {
	list := make([]row, 0, len(all))
	for _, m := range all {
		list = append(list, rowOf(m))
	}
	return list
}

func newList(a *Shell) *cobra.Command {
	var at place
	c := &cobra.Command{
		Use: "ls", Short: "List the machines that asked for something to boot, and those that are assigned",
		Long: `List machines and where each is on its way:

  waiting     it has asked, and nobody has said what it is to be
  assigned    it is installed when it asks next
  installing  it was given the installer
  restarting  it was installed, and is starting from its disk
  installed   it is what it should be: the job's first process on the disk said so
  failed      it stays as it is until it is assigned again`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			r, dir, err := at.roster(roster.Look)
			if err != nil {
				return err
			}
			all, err := r.All()
			if err != nil {
				return err
			}
			a.unserved(dir)
			if *a.JSON {
				return a.print(rows(all))
			}
			if len(all) == 0 {
				a.say("no machine has asked, and none is assigned")
				return nil
			}
			t := view.Rows(a.Out, "machine", "card", "state", "since", "firmware", "address", "note")
			for _, m := range all {
				w := rowOf(m)
				t.AppendRow([]any{orDash(m.Name), w.Card, w.State, view.Ago(m.Since), orDash(w.Firmware), orDash(w.Address), noteOf(m)})
			}
			t.Render()
			return nil
		},
	}
	at.flags(c)
	return c
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// widest is how much of a note a listing shows; --json has all of it.
const widest = 100

// noteOf says of a machine what its state does not.
func noteOf(m roster.Machine) string {
	switch {
	case m.State == roster.Failed:
		return view.Cut(m.Reason, widest)
	case m.State != roster.Installing && m.State != roster.Restarting:
		return ""
	case len(m.Stages) == 0:
		return fmt.Sprintf("try %d", m.Tries)
	}
	last := m.Stages[len(m.Stages)-1]
	text := last.Name
	if last.End.IsZero() {
		text += ", since " + view.Ago(last.Start)
	}
	if m.Tries > 1 {
		text += fmt.Sprintf(", try %d", m.Tries)
	}
	return text
}

func newForget(a *Shell) *cobra.Command {
	var at place
	c := &cobra.Command{
		Use: "forget {CARD|NAME}...", Short: "Take machines off the list; nothing happens to their disks",
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return a.forget(c.Context(), at, args) },
	}
	c.ValidArgsFunction = at.completeMachines
	at.flags(c)
	return c
}

// forget takes machines off the list, and what was kept for them alone.
func (a *Shell) forget(ctx context.Context, at place, args []string) (err error) {
	r, dir, err := at.roster(roster.Look)
	if err != nil {
		return err
	}
	list, err := known(r, args)
	if err != nil {
		return err
	}
	for _, m := range list {
		if _, err := r.Forget(m.MAC); err != nil {
			return fmt.Errorf("forget %s: %w", called(m), err)
		}
	}
	on, err := a.Open(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, on.Close()) }()
	if err := sweep(r, on); err != nil {
		return err
	}
	if *a.JSON {
		return a.print(rows(list))
	}
	return nil
}
