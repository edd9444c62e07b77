package relay

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	// leastPatience is how long a place may take for a chunk before the next one is
	// asked as well: a thousand times what a machine beside this one takes.
	leastPatience = 2 * time.Second
	// mostPatience is what that grows to where all places are slow.
	mostPatience = 30 * time.Second
	// paces is what a place may take in any case, in times of what this machine itself
	// takes for a chunk: it asks for some at once, and does not wait for one that comes
	// a few times as slowly.
	paces = 4 * (ahead + 1)
	// mostPace bounds what one chunk says of that: somebody may have stopped reading.
	mostPace = time.Second
	// firstLeave is how long a neighbour is left alone that another place was quicker
	// than; each further time it is twice as long, up to maxStrikes times.
	firstLeave = 4 * time.Second
	maxStrikes = 4
	// forgiven is after how many chunks that came in time one of these is forgotten.
	forgiven = 16
	// silence is how long a place that nobody is quicker than may say nothing: it may
	// wait for the one before it.
	silence = time.Minute
)

var (
	// errLied is a chunk that is not what the server's sum says.
	errLied = errors.New("its bytes are others than the server's sum says")
	// errGone is a blob that a place does not have.
	errGone = errors.New("it does not have it")
	// errBehind is a neighbour that has nobody to get a chunk from.
	errBehind = errors.New("nobody gives it the chunk")
)

// place is a machine, or the server, and what is known of how it answers.
type place struct {
	url string // to which a digest is appended

	mu       sync.Mutex // guards what follows
	patience time.Duration
	strikes  int
	intime   int       // chunks that came without another place being asked
	until    time.Time // left alone
	liar     bool
	flight   int           // chunks that are asked for
	each     time.Duration // that it takes for one, with these counted, of late
	slow     int           // how many came slowly, since it was compared
}

func newPlace(url string) *place { return &place{url: url, patience: leastPatience} }

// strike leaves a place alone for a while, for ever if it lied. What it was asked for
// before it was left alone last has failed by the same break, and counts once.
func (p *place) strike(err error, asked time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.liar = p.liar || errors.Is(err, errLied)
	if asked.Before(p.until) {
		return
	}
	p.until, p.intime = time.Now().Add(firstLeave<<p.strikes), 0
	p.strikes = min(p.strikes+1, maxStrikes)
}

// gave notes that a place was the first with a chunk, and whether another was asked
// meanwhile, in vain.
func (p *place) gave(took time.Duration, vain bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if vain {
		p.patience = min(2*max(p.patience, took), mostPatience)
		return
	}
	if took < p.patience/4 {
		p.patience = max(p.patience/2, leastPatience)
	}
	if p.intime++; p.intime%forgiven == 0 {
		p.strikes = max(p.strikes-1, 0)
	}
}

// flies adds to how many chunks a place is asked for first, and returns that.
func (p *place) flies(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flight += n
	return p.flight
}

// waits is how long it may take where this machine takes so long for a chunk.
func (p *place) waits(pace time.Duration) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return max(p.patience, min(paces*pace, mostPatience))
}

// places returns whom to ask, in this order: neighbours, the server, and at last those
// that are left alone.
func (b *blob) places() []*place {
	var good, left []*place
	now := time.Now()
	for _, p := range b.near {
		p.mu.Lock()
		switch {
		case p.liar:
		case now.Before(p.until):
			left = append(left, p)
		default:
			good = append(good, p)
		}
		p.mu.Unlock()
	}
	return append(append(good, b.relay.home), left...)
}

// answer is what a place gave.
type answer struct {
	place int
	bytes []byte
	err   error
}

// fetch gets a chunk from the first place that gives it.
func (b *blob) fetch(ctx context.Context, index int64) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	places := b.places()
	came := make(chan answer, len(places)) // who comes later is not waited for below
	var asked sync.WaitGroup
	defer asked.Wait()
	defer cancel()
	var begun []time.Time
	next := func() {
		i := len(begun)
		begun = append(begun, time.Now())
		asked.Go(func() {
			bytes, err := b.ask(ctx, places[i], index)
			came <- answer{i, bytes, err}
		})
	}
	next()
	wait := time.NewTimer(places[0].waits(b.relay.pace()))
	defer wait.Stop()
	lost := map[int]error{}
	flying := float64(places[0].flies(1))
	defer places[0].flies(-1)
	for len(lost) < len(places) {
		more := false
		select {
		case a := <-came:
			if a.err == nil {
				places[a.place].gave(time.Since(begun[a.place]), len(begun) > a.place+1)
				b.leave(places[:a.place], begun, lost)
				b.count(places[a.place], len(a.bytes))
				if a.place == 0 && places[0] != b.relay.home {
					b.compare(places[0], time.Duration(float64(time.Since(begun[0]))/flying), index)
				}
				return a.bytes, nil
			}
			lost[a.place] = a.err
			if ctx.Err() == nil && places[a.place] != b.relay.home && !errors.Is(a.err, errBehind) {
				places[a.place].strike(a.err, begun[a.place])
			}
			more = len(lost) == len(begun)
		case <-wait.C:
			more = true
		}
		if more && len(begun) < len(places) {
			next()
			wait.Reset(places[len(begun)-1].waits(b.relay.pace()))
		}
	}
	return nil, b.lost(index, places, lost)
}

// leave leaves those alone that were asked before the one that gave, and have not
// answered.
func (b *blob) leave(before []*place, asked []time.Time, lost map[int]error) {
	for i, p := range before {
		if _, answered := lost[i]; !answered && p != b.relay.home {
			p.strike(nil, asked[i])
		}
	}
}

// count counts what came.
func (b *blob) count(from *place, n int) {
	if from == b.relay.home {
		b.relay.came.home.Add(int64(n))
	} else {
		b.relay.came.near.Add(int64(n))
	}
}

// lost says that no place gives a chunk. A blob that the server has no more is
// forgotten.
func (b *blob) lost(index int64, places []*place, why map[int]error) error {
	all := []error{fmt.Errorf("chunk %d of %s", index, b.digest.Short())}
	for i, p := range places {
		if p == b.relay.home && errors.Is(why[i], errGone) {
			b.relay.forget(b)
		}
		all = append(all, fmt.Errorf("from %s: %w", p.url, why[i]))
	}
	return errors.Join(all...)
}

// ask asks one place for a chunk, until it is silent for too long.
func (b *blob) ask(ctx context.Context, p *place, index int64) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(silence, func() { cancel(errors.New("nothing comes any more")) })
	defer watch.Stop()
	from := index * Chunk
	to := min(from+Chunk, b.size)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+string(b.digest), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
	resp, err := b.relay.base.RoundTrip(req)
	if err != nil {
		return nil, cause(ctx, err)
	}
	defer resp.Body.Close()
	switch code := resp.StatusCode; {
	case code == http.StatusBadGateway && p != b.relay.home:
		return nil, errBehind
	case code == http.StatusNotFound || code == http.StatusGone:
		return nil, errGone
	}
	if want := fmt.Sprintf("bytes %d-%d/%d", from, to-1, b.size); resp.StatusCode != http.StatusPartialContent || resp.Header.Get("Content-Range") != want {
		return nil, fmt.Errorf("it answers %s with %q, not %q", resp.Status, resp.Header.Get("Content-Range"), want)
	}
	room := make([]byte, to-from)
	for at := 0; at < len(room); {
		n, err := resp.Body.Read(room[at:])
		if at += n; at < len(room) && err != nil {
			return nil, cause(ctx, fmt.Errorf("%w at byte %d", err, from+int64(at)))
		}
		watch.Reset(silence)
	}
	if sha256.Sum256(room) != [sha256.Size]byte(b.sums[index*sha256.Size:]) {
		return nil, errLied
	}
	return room, nil
}

// cause is why a request ended, if somebody ended it.
func cause(ctx context.Context, err error) error {
	if c := context.Cause(ctx); c != nil {
		return c
	}
	return err
}
