package conduct

import (
	"context"
	"fmt"
	"time"

	"ore/chain"
)

// member is one peer in a run. Only the run's loop uses it, but for connect.
type member struct {
	host    Host
	index   int // in the shape; below zero while not in it
	session *chain.Session
	ready   bool
	lost    error // why it takes no part any more
	report  chain.Report
	heard   time.Time // when the last report came
	whole   time.Time
	parents []*member     // of whom it fetches each stripe, as it was told
	turned  time.Time     // when it got other sources
	pace    []pace        // for each stripe
	taken   pace          // of all blobs, in bytes
	fed     time.Time     // when that grew the last time
	paused  time.Duration // the longest time without a report, of late
	resumed time.Time     // when that ended
	blamed  int           // how many receivers it let wait
	accused map[*member]bool
	doubted map[*member]bool // who says that nothing good comes from this root
	before  int64            // bytes that it had taken in when the transfer began
	most    []int            // chunks of each stripe that it had at any time
	gained  time.Time        // when a chunk came to it the last time
	idle    time.Time        // since when its sources have chunks for it; zero if not
	judged  time.Time        // when something was done about that
	seated  bool             // it was given the source itself
	losses  int              // of sources, seen in reports
}

// pace is how the chunks of a stripe come in.
type pace struct {
	samples []sample
	begun   time.Time // of the first report
}

type sample struct {
	at   time.Time
	held int
}

const (
	// leastWindow is over which time a rate is measured: long enough that a report
	// more or less does not matter, short enough that a slow hop costs little.
	leastWindow = 200 * time.Millisecond
	// reportsToJudge is how many reports make a rate, at least.
	reportsToJudge = 4
	// maxDoublings and maxWindow bound what it grows to.
	maxDoublings = 5
	maxWindow    = 10 * time.Second
	// patience is how long a hop that begins anew may take until something comes:
	// three times through a queue of 4 MB at 20 Mbit/s (connection, request, answer).
	patience = 5 * time.Second
	// pauseReports is how many reports in turn that do not come are a pause: what is
	// said between two of them may be delayed on its way, and a program waits for a
	// core for longer. pausesInWindow is how many pauses a rate is measured over: a
	// host that waits for a core, even for half of the time, is not a slow one then.
	pauseReports, pausesInWindow = 3, 4
)

// resume notes that a report came after a pause. What was noted of earlier ones is
// forgotten after a while.
func (m *member) resume(now time.Time, every time.Duration) {
	pause := now.Sub(m.heard)
	if m.heard.IsZero() || m.report.Leisure || pause < pauseReports*every {
		pause = 0
	}
	if pause >= m.paused || now.Sub(m.resumed) > maxWindow {
		m.paused, m.resumed = pause, now
	}
}

// add notes how many chunks are held, and forgets what is older than needed. A
// measurement begins when something comes: a new connection has to wait for what
// is queued before it.
func (p *pace) add(at time.Time, held int, window time.Duration) {
	if p.begun.IsZero() {
		p.begun = at
	}
	if len(p.samples) == 1 && p.samples[0].held == held && at.Sub(p.begun) < patience {
		p.samples = p.samples[:0]
	}
	p.samples = append(p.samples, sample{at, held})
	for len(p.samples) > 2 && at.Sub(p.samples[1].at) >= window {
		p.samples = p.samples[1:]
	}
}

func (p *pace) held() int {
	if len(p.samples) == 0 {
		return 0
	}
	return p.samples[len(p.samples)-1].held
}

// rate is chunks a second, and whether it was measured over a whole window.
func (p *pace) rate(window time.Duration) (float64, bool) {
	if len(p.samples) < 2 {
		return 0, false
	}
	a, b := p.samples[0], p.samples[len(p.samples)-1]
	d := b.at.Sub(a.at)
	return float64(b.held-a.held) / d.Seconds(), d >= window
}

// event is what a member's goroutine tells the loop.
type event struct {
	member  *member
	session *chain.Session // just connected
	report  chain.Report
	err     error // the connection ended
}

// serve connects to a peer, makes it know the blob and passes on its reports.
// It ends when the connection does.
func (r *run) serve(ctx context.Context, m *member) {
	tell := func(e event) {
		e.member = m
		select {
		case r.events <- e:
		case <-ctx.Done():
		}
	}
	s, err := r.conductor.cfg.Dialer.Conduct(ctx, m.host.Address, m.host.Conduct)
	if err != nil {
		tell(event{err: fmt.Errorf("reach host %s: %w", m.host.Name, err)})
		return
	}
	defer s.Close()
	if err := s.Order(chain.Order{Kind: chain.Prepare, Blob: r.blob, Grant: r.grant, Every: r.every}); err != nil {
		tell(event{err: fmt.Errorf("prepare host %s: %w", m.host.Name, err)})
		return
	}
	tell(event{session: s})
	for {
		report, err := s.Next()
		if err != nil {
			tell(event{err: fmt.Errorf("hear of host %s: %w", m.host.Name, err)})
			return
		}
		if report.Blob == r.blob.Digest {
			tell(event{report: report})
		}
	}
}
