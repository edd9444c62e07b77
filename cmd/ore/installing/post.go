package installing

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"ore/install/recipe"
)

const (
	// postTime is how long home may take to hear some reports.
	postTime = 30 * time.Second
	// postPause is the wait after home did not hear; each further one is twice as
	// long, up to postMost.
	postPause = 250 * time.Millisecond
	postMost  = 10 * time.Second
	// endTime is how long the last reports are tried: a server that starts again
	// is back by then, and another does not keep the machine from its start.
	endTime = 2 * time.Minute
	// maxWaiting bounds what waits for home. What advances is dropped first.
	maxWaiting = 1000
)

// poster posts reports home, one after the other, in a goroutine of its own that
// end waits for. The work does not wait for it.
type poster struct {
	home   string
	client http.Client
	done   chan error

	mu    sync.Mutex // guards all below
	wait  []recipe.Report
	over  time.Time     // when it ends at the latest, once no more come
	moved chan struct{} // has a value when something came
}

func newPoster(home string) *poster {
	p := &poster{home: home, done: make(chan error, 1), moved: make(chan struct{}, 1), client: http.Client{Timeout: postTime}}
	go func() { p.done <- p.run() }()
	return p
}

// add takes a report.
func (p *poster) add(r recipe.Report) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.wait) < maxWaiting || r.Event != recipe.Advance {
		p.wait = append(p.wait, r)
	}
	p.wake()
}

func (p *poster) wake() {
	select {
	case p.moved <- struct{}{}:
	default:
	}
}

// end returns when home has heard everything, or was not there for too long.
func (p *poster) end() error {
	p.mu.Lock()
	p.over = time.Now().Add(endTime)
	p.wake()
	p.mu.Unlock()
	return <-p.done
}

// run posts until it is over.
func (p *poster) run() error {
	pause, last := postPause, error(nil)
	for {
		p.mu.Lock()
		batch, over := p.wait, p.over
		p.mu.Unlock()
		switch {
		case len(batch) == 0 && !over.IsZero():
			return nil
		case len(batch) == 0:
			<-p.moved
			continue
		case !over.IsZero() && time.Now().After(over):
			return fmt.Errorf("report to %s: %w", p.home, last)
		}
		if last = p.post(batch); last != nil {
			time.Sleep(pause)
			pause = min(2*pause, postMost)
			continue
		}
		pause = postPause
		p.mu.Lock()
		p.wait = p.wait[len(batch):]
		p.mu.Unlock()
	}
}

// post sends some reports; home passes over those that it has heard before.
func (p *poster) post(batch []recipe.Report) error {
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	for _, r := range batch {
		if err := out.Encode(r); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, p.home, &b) // the client has a limit
	if err != nil {
		return err
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, recipe.MaxText))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, bytes.TrimSpace(said))
	}
	return err
}
