package conduct_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ore/chain"
	"ore/chain/conduct"
	"ore/chain/shape"
)

// linkRate is the rate of slow links in tests: a blob of 4 MiB takes half a
// second.
const linkRate = 8 << 20

// TestEveryoneGetsTheBlob has few hosts: all that crowds do at once in one process a
// busy machine may not do in time. They are tried in virtual time.
func TestEveryoneGetsTheBlob(t *testing.T) {
	for _, c := range []struct{ hosts, size int }{{1, 0}, {1, 1}, {2, 300_000}, {5, 4 << 20}, {16, 2 << 20}} {
		b, want, name := blob(t, c.size)
		source, p := neighbour(t, "source", told{})
		if err := offer(p, b, name); err != nil {
			t.Fatal(err)
		}
		tr := conduct.Transfer{Blob: b, Source: source}
		var peers []*chain.Peer
		for i := range c.hosts {
			h, p := neighbour(t, fmt.Sprint("h", i), told{})
			tr.Receivers = append(tr.Receivers, h)
			peers = append(peers, p)
		}
		r, err := conduct.New(conduct.Config{}).Send(t.Context(), tr)
		if err != nil {
			t.Fatal(err)
		}
		allDone(t, r)
		for _, p := range peers {
			path, ok := p.Path(b.Digest)
			if !ok {
				t.Error("a host does not have the blob")
			}
			sameFile(t, path, want)
		}
		t.Logf("%d hosts, %d bytes: %s of %d in %v", c.hosts, c.size, r.Kind, r.Stripes, r.Took)
	}
}

// TestARelayForwardsBeforeItHasTheWhole is the fourth law.
func TestARelayForwardsBeforeItHasTheWhole(t *testing.T) {
	b, _, name := blob(t, 4<<20)
	// The source gives half of it until everybody has something.
	half := newHold(b.Size / 2)
	source, p := neighbour(t, "source", told{Rate: linkRate, out: holds{half}})
	if err := offer(p, b, name); err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	tr := conduct.Transfer{Blob: b, Source: source, Coming: func(o conduct.Outcome) {
		if have[o.Host] = true; len(have) == 4 {
			half.let()
		}
	}}
	for i := range 4 {
		tr.Receivers = append(tr.Receivers, spawn(t, fmt.Sprint("h", i), told{Rate: linkRate, Silence: time.Minute}).host)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := conduct.New(conduct.Config{}).Send(ctx, tr)
	if err != nil {
		t.Fatal(err)
	}
	allDone(t, r)
	relays := 0
	for _, h := range r.Hosts {
		if h.Traffic.Out == 0 {
			continue
		}
		relays++
		if !h.Traffic.FirstOut.Before(h.Traffic.LastIn) {
			t.Errorf("%s sent its first byte at %v, after its last came in at %v", h.Host, h.Traffic.FirstOut, h.Traffic.LastIn)
		}
	}
	if r.Kind != shape.Chain || relays < 3 {
		t.Errorf("%s with %d relays, want a chain with 3", r.Kind, relays)
	}
}

func TestAKilledRelayIsBypassed(t *testing.T) {
	b, want, name := blob(t, 8<<20)
	source := spawn(t, "source", told{Rate: linkRate, Add: name, Blob: b})
	tr := conduct.Transfer{Blob: b, Source: source.host}
	var all []*process
	for i := range 4 {
		s := told{Rate: linkRate}
		if i == 1 {
			s.Hold = b.Size / 2 // here it is killed
		}
		p := spawn(t, fmt.Sprint("h", i), s)
		all = append(all, p)
		tr.Receivers = append(tr.Receivers, p.host)
	}
	var heard []conduct.Repair
	tr.Repaired = func(p conduct.Repair) { heard = append(heard, p) }
	when(t, all[1].held, func() { all[1].cmd.Process.Kill() })
	r, err := conduct.New(conduct.Config{}).Send(t.Context(), tr)
	if err != nil {
		t.Fatal(err)
	}
	allDone(t, r, "h1")
	if len(heard) == 0 || heard[0].Host != "h1" || !slices.Equal(heard, r.Repairs) {
		t.Errorf("told was %+v, of %+v", heard, r.Repairs)
	}
	for _, i := range []int{0, 2, 3} {
		sameFile(t, filepath.Join(all[i].dir, b.Digest.String()), want)
		if in := r.Hosts[i].Traffic.In; in != b.Size {
			t.Errorf("%s took in %d bytes, the blob has %d: it did not go on from what it had", r.Hosts[i].Host, in, b.Size)
		}
	}
	if _, err := os.Stat(filepath.Join(all[1].dir, b.Digest.String())); err == nil {
		t.Error("the killed host has a whole blob")
	}
	ideal := time.Duration(float64(b.Size) / linkRate * float64(time.Second))
	t.Logf("%v of %v without a death", r.Took, ideal)

	// The killed one comes again, and fetches only the rest.
	again := spawn(t, "h1", told{Dir: all[1].dir})
	r, err = conduct.New(conduct.Config{}).Send(t.Context(), conduct.Transfer{Blob: b, Source: tr.Receivers[3], Receivers: []conduct.Host{again.host}})
	if err != nil {
		t.Fatal(err)
	}
	allDone(t, r)
	sameFile(t, filepath.Join(again.dir, b.Digest.String()), want)
	if in := r.Hosts[0].Traffic.In; in == 0 || in > b.Size*6/10 {
		t.Errorf("after its death h1 took in %d of %d bytes, want less than half and a little", in, b.Size)
	}
}

func TestTheSourcesDeathIsSurvived(t *testing.T) {
	b, want, name := blob(t, 4<<20)
	source := spawn(t, "source", told{Add: name, Blob: b})
	var all []*process
	var once sync.Once // when the first is whole, and the last is not
	tr := conduct.Transfer{Blob: b, Source: source.host, Done: func(conduct.Outcome) {
		once.Do(func() {
			source.cmd.Process.Kill()
			all[3].goOn()
		})
	}}
	for i := range 4 {
		s := told{Rate: linkRate}
		if i == 3 {
			s.Hold = b.Size / 2 // until the source is dead
		}
		p := spawn(t, fmt.Sprint("h", i), s)
		all = append(all, p)
		tr.Receivers = append(tr.Receivers, p.host)
	}
	r, err := conduct.New(conduct.Config{}).Send(t.Context(), tr)
	if err != nil {
		t.Fatal(err)
	}
	allDone(t, r)
	if len(r.Repairs) == 0 {
		t.Error("the source's death was not noticed")
	}
	for _, p := range all {
		sameFile(t, filepath.Join(p.dir, b.Digest.String()), want)
	}
}

func TestTheSourcesDeathIsToldWhenBytesAreLost(t *testing.T) {
	b, _, name := blob(t, 4<<20)
	source := spawn(t, "source", told{Rate: linkRate, Add: name, Blob: b})
	tr := conduct.Transfer{Blob: b, Source: source.host}
	first := spawn(t, "h0", told{Hold: b.Size / 2}) // until the source is dead
	tr.Receivers = append(tr.Receivers, first.host, spawn(t, "h1", told{}).host)
	when(t, first.held, func() {
		source.cmd.Process.Kill()
		first.goOn()
	})
	_, err := conduct.New(conduct.Config{}).Send(t.Context(), tr)
	if !errors.Is(err, conduct.ErrLost) {
		t.Errorf("%v, want %v", err, conduct.ErrLost)
	}
}

// A request that comes in the middle of another one for the same blob has its
// receiver fed by the tail: neither the source nor a relay sends anything twice.
func TestALatecomerJoins(t *testing.T) {
	b, want, name := blob(t, 8<<20)
	var went [4]atomic.Int64 // from the source, and from each host
	source, p := neighbour(t, "source", told{Rate: linkRate, went: &went[3]})
	if err := offer(p, b, name); err != nil {
		t.Fatal(err)
	}
	tr, late := conduct.Transfer{Blob: b, Source: source}, conduct.Transfer{Blob: b, Source: source}
	held := newHold(b.Size / 2) // until the second transfer begins
	var dirs []string
	for i := range 3 {
		dirs = append(dirs, t.TempDir())
		s := told{Dir: dirs[i], Rate: linkRate, Silence: time.Minute, went: &went[i]}
		if i == 1 {
			s.in = held
		}
		h, _ := neighbour(t, fmt.Sprint("h", i), s)
		if i < 2 {
			tr.Receivers = append(tr.Receivers, h)
		} else {
			again := tr.Receivers[0]
			again.Name = "first" // as the second request calls it
			late.Receivers = append(late.Receivers, again, h)
		}
	}
	late.Coming = func(o conduct.Outcome) {
		if o.Host == "h2" && o.Held > 0 {
			held.let() // it has its place
		}
	}
	c := conduct.New(conduct.Config{})
	second := make(chan error, 1)
	when(t, held.reached, func() {
		r, err := c.Send(t.Context(), late)
		if err == nil {
			err = errors.Join(r.Hosts[0].Err, r.Hosts[1].Err)
		}
		if r.Hosts[0].Host != "first" || r.Hosts[1].Host != "h2" {
			t.Errorf("the second request's hosts are told as %+v", r.Hosts)
		}
		second <- err
	})
	r, err := c.Send(t.Context(), tr)
	if err != nil {
		t.Fatal(err)
	}
	allDone(t, r)
	if err := <-second; err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		sameFile(t, filepath.Join(d, b.Digest.String()), want)
	}
	times(t, b, &went[3], 1, b.Size/16)
	times(t, b, &went[0], 1, b.Size/16)
	times(t, b, &went[1], 1, b.Size/16)
	times(t, b, &went[2], 0, b.Size/16)
}

// times says that what left a peer is a number of copies of a blob, and less than
// beside for all that is said with it.
func times(t *testing.T, b chain.Blob, went *atomic.Int64, copies, beside int64) {
	t.Helper()
	if n := went.Load(); n < copies*b.Size || n > copies*b.Size+beside {
		t.Errorf("%d bytes left a peer, of a blob of %d bytes that it gives %d times", n, b.Size, copies)
	}
}

// Two jobs on the same hosts, each with a conductor and a source of its own, of which
// one begins in the middle of the other, have their hosts take in each byte once.
func TestTwoJobsShareWhatComes(t *testing.T) {
	b, want, name := blob(t, 4<<20)
	var went [5]atomic.Int64 // from each host, and the sources
	var jobs [2]conduct.Transfer
	for i := range jobs {
		source, p := neighbour(t, fmt.Sprint("source", i), told{Rate: linkRate, went: &went[3+i]})
		if err := offer(p, b, name); err != nil {
			t.Fatal(err)
		}
		jobs[i] = conduct.Transfer{Blob: b, Source: source}
	}
	held := newHold(b.Size / 2) // until the second job is known there
	var dirs []string
	for i := range 3 {
		dirs = append(dirs, t.TempDir())
		s := told{Dir: dirs[i], Rate: linkRate, Silence: time.Minute, went: &went[i]}
		if i == 0 {
			s.in = held
		}
		h, _ := neighbour(t, fmt.Sprint("h", i), s)
		for k := range jobs {
			jobs[k].Receivers = append(jobs[k].Receivers, h)
		}
	}
	jobs[1].Coming = func(conduct.Outcome) { held.let() }
	send := func(job conduct.Transfer) error {
		r, err := conduct.New(conduct.Config{}).Send(t.Context(), job)
		for _, h := range r.Hosts {
			err = errors.Join(err, h.Err)
		}
		return err
	}
	second := make(chan error, 1)
	when(t, held.reached, func() { second <- send(jobs[1]) })
	if err := errors.Join(send(jobs[0]), <-second); err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		sameFile(t, filepath.Join(d, b.Digest.String()), want)
	}
	var all atomic.Int64
	for i := range went {
		all.Add(went[i].Load())
	}
	times(t, b, &all, 3, b.Size/4) // what was on its way from a source when the other one took over is lost
}

// A request that joined another one whose source turns out to be lost goes on with
// its own.
func TestWhoJoinedGoesOnWithItsOwnSource(t *testing.T) {
	b, want, name := blob(t, 1<<20)
	source, p := neighbour(t, "source", told{})
	if err := offer(p, b, name); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	h, _ := neighbour(t, "h", told{})
	late, _ := neighbour(t, "late", told{Dir: dir})
	asked, joined := make(chan struct{}), make(chan struct{})
	var first, second sync.Once
	c := conduct.New(conduct.Config{Dialer: chain.Dialer{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		switch address {
		case "nowhere":
			<-joined
			return nil, errors.New("nobody is there")
		case h.Address: // which the first one alone names: it is under way
			first.Do(func() { close(asked) })
		case late.Address: // which the second request alone names
			second.Do(func() { close(joined) })
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}})
	gone := conduct.Host{Host: shape.Host{Name: "gone"}, Address: "nowhere"}
	var both sync.WaitGroup
	both.Go(func() {
		if _, err := c.Send(t.Context(), conduct.Transfer{Blob: b, Source: gone, Receivers: []conduct.Host{h}}); !errors.Is(err, conduct.ErrSource) {
			t.Errorf("%v, want %v", err, conduct.ErrSource)
		}
	})
	<-asked
	both.Go(func() {
		r, err := c.Send(t.Context(), conduct.Transfer{Blob: b, Source: source, Receivers: []conduct.Host{late}})
		if err != nil {
			t.Error(err)
		}
		allDone(t, r)
	})
	both.Wait()
	sameFile(t, filepath.Join(dir, b.Digest.String()), want)
}

func TestWhoGivesUpLeavesNothing(t *testing.T) {
	b, _, name := blob(t, 8<<20)
	source, p := neighbour(t, "source", told{Rate: linkRate})
	if err := offer(p, b, name); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	h, _ := neighbour(t, "h", told{Dir: dir, in: newHold(b.Size / 2)}) // for ever
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	tr := conduct.Transfer{Blob: b, Source: source, Receivers: []conduct.Host{h}, Coming: func(conduct.Outcome) { cancel() }}
	r, err := conduct.New(conduct.Config{}).Send(ctx, tr)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want %v", err, context.Canceled)
	}
	if r.Kind != shape.Direct || len(r.Hosts) != 1 || r.Hosts[0].Err == nil || r.Hosts[0].Held == 0 {
		t.Errorf("the result says %+v of what came until then", r)
	}
	if _, err := os.Stat(filepath.Join(dir, b.Digest.String()+".part")); err != nil {
		t.Errorf("what came is not kept: %v", err)
	}
}

func TestUnreachableHostsAreTold(t *testing.T) {
	b, want, name := blob(t, 1<<20)
	source, p := neighbour(t, "source", told{})
	if err := offer(p, b, name); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	h, _ := neighbour(t, "h", told{Dir: dir})
	gone, q := neighbour(t, "gone", told{})
	q.Close()
	c := conduct.New(conduct.Config{})
	r, err := c.Send(t.Context(), conduct.Transfer{Blob: b, Source: source, Receivers: []conduct.Host{gone, h}})
	if err != nil {
		t.Fatal(err)
	}
	allDone(t, r, "gone")
	sameFile(t, filepath.Join(dir, b.Digest.String()), want)
	empty, _ := neighbour(t, "empty", told{}) // who has all already needs no source
	if _, err := c.Send(t.Context(), conduct.Transfer{Blob: b, Source: gone, Receivers: []conduct.Host{empty}}); !errors.Is(err, conduct.ErrSource) {
		t.Errorf("%v, want %v", err, conduct.ErrSource)
	}
}
