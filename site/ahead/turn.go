package ahead

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"ore/site/ledger"
)

// every is how long a host leaves between two turns that it takes by itself: what is
// likely within the hour is seen some times before it is asked for.
const every = 15 * time.Minute

// turnName is the file, beside the book, whose time is that of the last turn.
const turnName = "prepared.turn"

func (b Book) turn() string { return filepath.Join(filepath.Dir(b.Path), turnName) }

// Due tells whether it is time for another turn. A clock that was set back does not
// put it off.
func (b Book) Due(now time.Time) bool {
	info, err := os.Stat(b.turn())
	if err != nil {
		return true
	}
	since := now.Sub(info.ModTime())
	return since < 0 || since >= every
}

// Turn is what a host does by itself while it has nothing better to do: it marks the
// images whose packages have newer versions, prepares what is likely to be asked for,
// and notes what it has prepared; all of it for at most budget. If it is not due it does
// nothing. That the budget is spent is no error: the next turn goes on.
func (m *Maker) Turn(ctx context.Context, budget time.Duration) error {
	begun := time.Now()
	if !m.Book.Due(begun) {
		return nil
	}
	if err := ledger.WriteWhole(m.Book.turn(), nil); err != nil { // first: what fails is not tried at once again
		return fmt.Errorf("prepare images: %w", err)
	}
	within, cancel := context.WithTimeout(ctx, budget)
	defer cancel()
	_, err := m.Mark(within)
	var r Report
	if err == nil {
		r, err = m.Prepare(within, budget-time.Since(begun))
	}
	kept := m.Book.Keep(r.Prepared) // also of a turn that failed later
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = nil
	}
	return errors.Join(err, kept)
}
