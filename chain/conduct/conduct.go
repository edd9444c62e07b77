// Package conduct is the side of a transfer that decides: it connects to the
// peers of package chain, draws the shape by package shape, gives each peer its
// sources, and repairs what breaks.
//
// What happens and what is done about it:
//
//   - A peer's connection ends (its process was killed, its host restarted): it
//     is taken out of all trees, and its children get other sources. They go on
//     from what they have.
//   - A receiver says that its source sends wrong bytes: that one becomes a leaf, so
//     that nobody waits for it; or that it is silent: it goes to where the slow ones
//     are. Who complains of two sources is the one who becomes a leaf, and of a third
//     is fed by the source itself; nobody else waits for who was moved, so that his
//     word moves nobody else. What would end the source's part more than half of the
//     receivers have to say.
//   - A receiver takes in nothing of what its source says that it has: both become
//     leaves, whichever of them lies. Only its own part ends if that goes on.
//   - A receiver's disk is full: its part ends, with that cause.
//   - A hop takes in much less than its source has: it goes to the end of a line
//     behind the tail, where those that are slow feed each other, so that no link
//     carries more than one copy for their sake. If that happens to two receivers of
//     one source, the source goes there. What counts is all that comes to a host:
//     several blobs share its link, and what goes first of one holds up the rest of
//     the others. It is measured over a time in which pauses, as of a host that waits
//     for a core, do not count, and against what comes to the others: where many are
//     slow, each behind another source, the cause is not theirs, and nobody is moved.
//     Nor is a host that takes its time, since nobody waits for the rest there or
//     behind it, or one that is almost done.
//   - The first hop of a chain cannot be compared with anybody. Unless its rate
//     was declared the second fetches a few chunks from the source itself, early
//     in a long transfer: if they come much faster, the first is slow.
//   - The source is lost: whoever holds its chunks takes its place, several
//     together if no one holds them all.
//   - A peer becomes ready late, or a second request names more receivers of the
//     same blob: they join at the tail and fetch what went before.
//
// The bytes do not pass through here, and go on when the conductor is lost.
package conduct

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"ore/chain"
	"ore/chain/shape"
)

// Errors of transfers.
var (
	// ErrLost matches when the source is lost and no receivers hold all chunks.
	ErrLost = errors.New("the source is lost and its chunks are not all among the receivers")
	// ErrSource matches when the source never became ready.
	ErrSource = errors.New("the source cannot be reached")
)

// Host is a peer and where it is.
type Host struct {
	shape.Host
	Address string
	// Conduct is a grant that conducts, which the peer knows.
	Conduct chain.Grant
}

// Transfer is one blob and who is to have it.
type Transfer struct {
	Blob      chain.Blob
	Source    Host // a peer that holds the blob
	Receivers []Host
	// Done, where set, is called as each receiver has the blob, before Send
	// returns: a machine can start there. It must not wait for anything.
	Done func(Outcome)
	// Coming, where set, is called with each report of a receiver that has some of
	// the blob, until it has all. It must not wait for anything.
	Coming func(Outcome)
	// Repaired, where set, is called as one of the receivers is gone around, by its
	// name here. It must not wait for anything.
	Repaired func(Repair)
}

// Outcome is what became of one receiver.
type Outcome struct {
	Host    string
	Err     error         // nil when the blob is whole there
	After   time.Duration // from the start of the request
	Traffic chain.Traffic
	Held    int64 // bytes of the blob that are there, also from before
	Ahead   bool  // all chunks are there that Blob.First names
}

// Result is what became of a transfer.
type Result struct {
	Kind      shape.Kind
	Stripes   int
	Predicted time.Duration // zero where no rate is known
	Took      time.Duration
	Hosts     []Outcome
	Repairs   []Repair
}

// Repair is a change of the shape.
type Repair struct {
	After time.Duration // from the start of the transfer
	Host  string
	What  string
}

// Config is what a conductor needs.
type Config struct {
	Dialer chain.Dialer
	// Log may be nil.
	Log *slog.Logger
}

// Conductor conducts any number of transfers at once.
type Conductor struct {
	cfg Config

	mu   sync.Mutex // guards runs
	runs map[cut]*run
}

// cut is a blob as it was cut: peers that know it with one list of chunks take no
// orders by another, and whose list it is decides what may be read early.
type cut struct{ blob, list chain.Digest }

func cutOf(b chain.Blob) cut { return cut{b.Digest, b.List} }

// New makes a conductor.
func New(cfg Config) *Conductor {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Conductor{cfg: cfg, runs: map[cut]*run{}}
}

// Send returns when each receiver has the blob whole and verified, or cannot
// have it, which Outcome says. A request for a blob that is already under way, and
// was cut in the same way, joins it: its receivers are fed by the tail, and what goes
// first is what the first request said. Where that one's source turns out to be lost
// it begins anew with its own. Its receivers hold the blob until then by a grant that
// ends with the transfer.
func (c *Conductor) Send(ctx context.Context, t Transfer) (Result, error) {
	if len(t.Receivers) == 0 {
		return Result{}, nil
	}
	w := &waiter{transfer: t, begun: time.Now(), result: make(chan verdict, 1)}
	for {
		r, first := c.enter(t)
		if first {
			go func() {
				defer close(r.ended)
				defer c.leave(r)
				r.conduct()
			}()
		}
		select {
		case r.joins <- w:
		case <-r.ended:
			continue // it ended just now: begin another one
		}
		result, err := r.await(ctx, w)
		if again := errors.Is(err, ErrSource) || errors.Is(err, ErrLost); !again || ctx.Err() != nil || r.source.host.Address == t.Source.Address {
			return result, err
		}
		w = &waiter{transfer: t, begun: w.begun, result: make(chan verdict, 1)}
	}
}

// enter returns the run of the blob.
func (c *Conductor) enter(t Transfer) (r *run, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r, ok := c.runs[cutOf(t.Blob)]; ok {
		return r, false
	}
	r = newRun(c, t)
	c.runs[cutOf(t.Blob)] = r
	return r, true
}

func (c *Conductor) leave(r *run) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.runs, cutOf(r.blob))
}

// waiter is one call of Send.
type waiter struct {
	transfer Transfer
	begun    time.Time
	members  []*member
	result   chan verdict
}

// verdict is what a run says to a waiter; last that no other waits, so that the
// run ends.
type verdict struct {
	Result
	err  error
	last bool
}

// await waits for a waiter's result. Who is the last also waits for the end of
// the run, so that nothing of it outlives the calls that wanted it.
func (r *run) await(ctx context.Context, w *waiter) (Result, error) {
	var v verdict
	select {
	case v = <-w.result:
	case <-ctx.Done():
		select {
		case r.quits <- w:
			v = <-w.result
		case v = <-w.result: // it came at the same moment
		}
		if v.err == nil {
			v.err = ctx.Err()
		}
	}
	if v.last {
		<-r.ended
	}
	if v.err != nil {
		return v.Result, fmt.Errorf("send blob %.12s: %w", r.blob.Digest, v.err)
	}
	return v.Result, nil
}
