package roster

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"ore"
	"ore/netboot/link"
)

// The stages of an install, in their order. The first is told when the installer
// runs, the last by the job's first process on the installed disk.
const (
	StageStart   = "installer start"
	StageRestart = "restart"
	StageReady   = "ready"
)

// Stages returns all of them.
func Stages() []string {
	return []string{StageStart, "hardware", "partition", "format", "base", "packages", "configure", "scripts", "capture", StageRestart, StageReady}
}

// maxStages bounds what one try may report; a stage may be told again after a retry.
const maxStages = 64

// Caller is what a machine that asks says of itself.
type Caller struct {
	MAC      link.MAC
	Address  netip.Addr
	Firmware string
	UUID     string
}

// heardEvery is how exactly it is kept when a machine was last heard, where
// nothing else changes: each change is a write to the disk.
const heardEvery = 10 * time.Second

// ErrCrowded is a stranger for whom there is no room.
var ErrCrowded = errors.New("too many unknown machines are waiting: assign or forget some")

// Ask is a machine that asks what to boot. It returns the machine as it then
// is, and the secret of this try if it is given the installer.
func (r *Roster) Ask(c Caller, now time.Time) (m Machine, token string, err error) {
	err = r.change(func(b *book) (bool, error) {
		var known bool
		if m, known = b.Machines[c.MAC]; !known {
			if err := b.room(now); err != nil {
				return false, err
			}
			m = Machine{MAC: c.MAC, State: Waiting, Since: now}
		}
		before := m
		m.Address, m.Firmware = c.Address, c.Firmware
		if c.UUID != "" {
			m.UUID = c.UUID
		}
		if m.Next() == Install {
			token = r.offer(&m, now)
		}
		// Of one that restarts, or is given the installer again and again, only its
		// reports count: it may do so for ever.
		if m.State != Restarting && m.State != Installing && now.Sub(m.Heard) >= heardEvery || m.State == Installing && len(m.Offers) == 1 {
			m.Heard = now
		}
		b.Machines[c.MAC] = m
		return !known || !same(before, m), nil
	})
	if err != nil {
		return Machine{}, "", fmt.Errorf("machine %s: %w", c.MAC, err)
	}
	return m, token, nil
}

// same says whether a machine that asked is as it was before.
func same(a, b Machine) bool {
	a.Stages, b.Stages = nil, nil // of a new try only, which has a new token too
	return reflect.DeepEqual(a, b)
}

// maxOffers bounds how many installers that were asked for may still be on their way:
// who is on the network can ask in a machine's place, and is not to make its own secret
// void before it has come up.
const maxOffers = 16

// offer gives a machine the secret of a next try, unless it had all. The try begins
// when somebody reports with it: asking for it is no try.
func (r *Roster) offer(m *Machine, now time.Time) (token string) {
	if m.Tries >= r.limits.Attempts {
		m.fail(fmt.Sprintf("it booted the installer %d times and did not get to the end%s", m.Tries, m.at()), now)
		return ""
	}
	token = rand.Text()
	if m.State != Installing {
		m.State, m.Since = Installing, now
	}
	old := m.Offers[max(len(m.Offers)-maxOffers+1, 0):]
	m.Offers = append(slices.Clone(old), ore.DigestOf([]byte(token)))
	return token
}

// room makes room for a stranger.
func (b *book) room(now time.Time) error {
	var strangers []Machine
	for _, m := range b.Machines {
		if m.State == Waiting {
			strangers = append(strangers, m)
		}
	}
	if len(strangers) < maxWaiting && len(b.Machines) < maxMachines {
		return nil
	}
	slices.SortFunc(strangers, func(a, b Machine) int { return a.Heard.Compare(b.Heard) })
	if len(strangers) > 0 && now.Sub(strangers[0].Heard) > strangerTime {
		delete(b.Machines, strangers[0].MAC)
		return nil
	}
	return ErrCrowded
}

// fail ends a machine's way.
func (m *Machine) fail(reason string, now time.Time) {
	m.State, m.Since, m.Reason, m.Token, m.Offers = Failed, now, reason, "", nil
}

// at says in which stage the machine was, for people.
func (m Machine) at() string {
	if len(m.Stages) == 0 {
		return ": it never called home"
	}
	last := m.Stages[len(m.Stages)-1]
	text := ": its last word was of the stage " + last.Name
	if last.Note != "" {
		text += ": " + last.Note
	}
	return text
}

// Report is one line that a machine writes home.
type Report struct {
	Number int64     `json:"n"` // rises by any amount; what was heard before is not heard again
	Stage  string    `json:"stage"`
	Event  string    `json:"event"` // "start", "advance", "end", or "fail"
	At     time.Time `json:"at"`    // by the machine's clock; the zero time means when it is heard
	Done   int64     `json:"done,omitempty"`
	Total  int64     `json:"total,omitempty"`
	Text   string    `json:"text,omitempty"`
}

// The events of a stage.
const (
	Start   = "start"
	Advance = "advance"
	End     = "end"
	Fail    = "fail"
)

// maxText bounds what a machine says; the end of a failed step's output fits.
const maxText = 4096

// ErrStranger is a report with a secret that belongs to no machine, or not any
// more.
var ErrStranger = errors.New("no machine that installs has this token: it was given another one since, or has failed")

// Check says what is wrong with a report.
func (p Report) Check() error {
	switch {
	case !slices.Contains(Stages(), p.Stage):
		return fmt.Errorf("stage %.40q: is none of %q", p.Stage, Stages())
	case p.Event != Start && p.Event != Advance && p.Event != End && p.Event != Fail:
		return fmt.Errorf("event %.40q: is none of start, advance, end, fail", p.Event)
	case p.Done < 0 || p.Total < 0 || p.Number < 1:
		return errors.New("n, done and total are not negative, and n begins with 1")
	case len(p.Text) > maxText:
		return fmt.Errorf("text of %d octets, more than %d", len(p.Text), maxText)
	}
	return nil
}

// Hear takes a machine's report. It returns the machine as it then is, and
// whether the report was new.
func (r *Roster) Hear(token string, p Report, now time.Time) (m Machine, fresh bool, err error) {
	if err := p.Check(); err != nil {
		return Machine{}, false, fmt.Errorf("report: %w", err)
	}
	hash := ore.DigestOf([]byte(token))
	err = r.change(func(b *book) (bool, error) {
		var ok bool
		if m, ok = b.by(hash); !ok {
			return false, ErrStranger
		}
		greets := m.Token != hash
		if greets { // nothing of the try before it counts any more
			m.Token, m.Offers, m.Last, m.Stages, m.Since, m.Began = hash, nil, 0, nil, now, now
			m.Tries++
		}
		if p.Number <= m.Last {
			return false, nil
		}
		fresh = true
		if p.Event == Advance && !greets && now.Sub(m.Heard) < heardEvery {
			return false, nil // it is told, but not worth a write
		}
		m.Last, m.Heard = p.Number, now
		m.Stages = slices.Clone(m.Stages)
		m.apply(p, now)
		b.Machines[m.MAC] = m
		return true, nil
	})
	if err != nil {
		return Machine{}, false, fmt.Errorf("report: %w", err)
	}
	return m, fresh, nil
}

// Holder returns the machine that a secret was given to.
func (r *Roster) Holder(token string) (Machine, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.load(); err != nil {
		return Machine{}, err
	}
	m, ok := r.book.by(ore.DigestOf([]byte(token)))
	if !ok {
		return Machine{}, ErrStranger
	}
	return m, nil
}

func (b *book) by(hash ore.Digest) (Machine, bool) {
	for _, m := range b.Machines {
		if m.Token == hash || slices.Contains(m.Offers, hash) {
			return m, true
		}
	}
	return Machine{}, false
}

// apply brings a machine to where a report says that it is.
func (m *Machine) apply(p Report, now time.Time) {
	if m.State != Installing && m.State != Restarting {
		return
	}
	at := p.At
	if at.IsZero() {
		at = now
	}
	m.stage(p, at)
	switch {
	case p.Event == Fail:
		m.fail(fmt.Sprintf("stage %s: %s", p.Stage, p.Text), now)
	case p.Stage == StageRestart && m.State == Installing:
		m.State, m.Since, m.Offers = Restarting, now, nil
	case p.Stage == StageReady && p.Event == End && m.State == Restarting:
		m.restarted(now)
		m.State, m.Since, m.Is, m.Reason = Installed, now, m.Want, ""
	}
}

// restarted ends the stage in which the machine started again, by the clock here: the
// system that it has started need not go by the clock that the installer went by.
func (m *Machine) restarted(now time.Time) {
	i := slices.IndexFunc(m.Stages, func(s ore.Stage) bool { return s.Name == StageRestart })
	if i < 0 {
		return
	}
	s := &m.Stages[i]
	s.End = s.Start.Add(max(0, now.Sub(m.Since)))
	for i++; i < len(m.Stages); i++ {
		m.Stages[i].Start, m.Stages[i].End = s.End, s.End
	}
}

// stage notes a stage's begin or end.
func (m *Machine) stage(p Report, at time.Time) {
	n := len(m.Stages)
	open := n > 0 && m.Stages[n-1].Name == p.Stage && m.Stages[n-1].End.IsZero()
	if !open {
		if n >= maxStages {
			return
		}
		m.Stages = append(m.Stages, ore.Stage{Name: p.Stage, Machine: m.Name, Start: at})
		n++
	}
	s := &m.Stages[n-1]
	if p.Text != "" {
		s.Note = p.Text
	}
	if p.Event == End || p.Event == Fail {
		s.End = at
	}
}

// Expire fails the machines that have said nothing for too long, and returns
// them, and when to look again.
func (r *Roster) Expire(now time.Time) (failed []Machine, next time.Time, err error) {
	err = r.change(func(b *book) (bool, error) {
		failed, next = nil, now.Add(r.limits.Silence)
		for _, m := range b.Machines {
			if m.State != Installing && m.State != Restarting {
				continue
			}
			due := m.Heard.Add(r.limits.Silence)
			if due.After(now) {
				if due.Before(next) {
					next = due
				}
				continue
			}
			m.fail(fmt.Sprintf("nothing was heard of it for %s%s", r.limits.Silence, m.at()), now)
			b.Machines[m.MAC] = m
			failed = append(failed, m)
		}
		return len(failed) > 0, nil
	})
	return failed, next, err
}
