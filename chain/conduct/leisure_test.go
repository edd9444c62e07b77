package conduct_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ore/chain"
	"ore/chain/conduct"
	"ore/chain/shape"
)

// Where cores have other work to do, or somebody goes on reading, a blob that is read there
// comes in slowly once all is there that goes first, but for one whose reader wants much
// more than was expected.
func TestTheRestLeavesTheCores(t *testing.T) {
	const size, first, step = 4 << 20, 1 << 20, 160 << 10
	b, _, name := blob(t, size)
	b.First = []chain.Span{b.Cover(0, first)}
	for _, c := range []struct {
		summary     string
		read        int64         // the offset; below zero nothing is read
		often       int           // how often it is read, each time step bytes before
		pause       time.Duration // between
		busy        bool
		least, most time.Duration // that it takes
	}{
		{"cores are free", 0, 1, 0, false, 0, 2 * time.Second},
		{"cores are free, and more is read all the time", 0, 10, 500 * time.Millisecond, false, 5 * time.Second, 10 * time.Second},
		{"cores are busy", 0, 1, 0, true, 5 * time.Second, 10 * time.Second},
		{"cores are busy, and nobody reads", -1, 0, 0, true, 0, time.Second},
		{"cores are busy, and once what was not expected is read", size - 1, 1, 0, true, 4 * time.Second, 10 * time.Second},
		{"cores are busy, and much that was not expected is read", size - 1, 16, 0, true, 0, 2 * time.Second},
	} {
		t.Run(c.summary, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(1)
				defer n.end()
				at := n.add("source", linkRate)
				source, p := at.peer(t, t.Context())
				defer p.Close()
				if err := offer(p, b, name); err != nil {
					t.Fatal(err)
				}
				h := n.add("h", linkRate)
				g := chain.NewGrant()
				g.Conduct = true
				q, err := chain.Start(t.Context(), chain.Config{Dir: t.TempDir(), Listener: h, Dialer: chain.Dialer{Dial: h.dial}, Busy: func() bool { return c.busy }})
				if err != nil {
					t.Fatal(err)
				}
				defer q.Close()
				q.Allow(g)
				r := q.Reader(b.Digest)
				defer r.Close()
				var reading sync.WaitGroup
				defer reading.Wait()
				if c.read >= 0 {
					reading.Go(func() {
						for i := range c.often {
							readOnceThere(t, r, max(0, c.read-int64(i)*step))
							<-time.After(c.pause)
						}
					})
				}
				begun := time.Now()
				res, err := conduct.New(conduct.Config{Dialer: chain.Dialer{Dial: at.dial}}).Send(t.Context(), conduct.Transfer{
					Blob: b, Source: source, Receivers: []conduct.Host{{Host: shape.Host{Name: h.name}, Address: h.name, Conduct: g}},
				})
				if err != nil {
					t.Fatal(err)
				}
				allDone(t, res)
				if took := time.Since(begun); took < c.least || took > c.most {
					t.Errorf("it took %v, want %v to %v", took, c.least, c.most)
				}
			})
		})
	}
}

// readOnceThere reads a byte of a blob, which need not be on its way yet.
func readOnceThere(t *testing.T, r *chain.Reader, offset int64) {
	_, err := r.ReadAt(t.Context(), make([]byte, 1), offset)
	for errors.Is(err, chain.ErrAbsent) {
		<-time.After(time.Millisecond)
		_, err = r.ReadAt(t.Context(), make([]byte, 1), offset)
	}
	if err != nil {
		t.Error(err)
	}
}

// Who takes his time is not slow as long as those behind him do so, too. If one of them
// does not, he is moved to where that one need not wait for him.
func TestWhoTakesHisTimeIsNotSlow(t *testing.T) {
	const size, first = 24 << 20, 1 << 20
	b, _, name := blob(t, size)
	b.First = []chain.Span{b.Cover(0, first)}
	for _, c := range []struct {
		summary string
		leisure []bool // of each host
		moved   string
		most    time.Duration // until all have it who do not take their time
	}{
		{"all but the first", []bool{false, true, true, true}, "", 4 * time.Second},
		{"one in the middle", []bool{false, true, false, false}, "h1", 8 * time.Second},
	} {
		t.Run(c.summary, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork(1)
				defer n.end()
				at := n.add("source", linkRate)
				source, p := at.peer(t, t.Context())
				defer p.Close()
				if err := offer(p, b, name); err != nil {
					t.Fatal(err)
				}
				tr := conduct.Transfer{Blob: b, Source: source}
				begun, took := time.Now(), time.Duration(0)
				hurries := map[string]bool{}
				var reading sync.WaitGroup
				defer reading.Wait()
				for i, leisure := range c.leisure {
					h := n.add(fmt.Sprint("h", i), linkRate)
					hurries[h.name] = !leisure
					g := chain.NewGrant()
					g.Conduct = true
					q, err := chain.Start(t.Context(), chain.Config{Dir: t.TempDir(), Listener: h, Dialer: chain.Dialer{Dial: h.dial}, Busy: func() bool { return leisure }})
					if err != nil {
						t.Fatal(err)
					}
					defer q.Close()
					q.Allow(g)
					if leisure {
						r := q.Reader(b.Digest)
						defer r.Close()
						reading.Go(func() { readOnceThere(t, r, 0) })
					}
					tr.Receivers = append(tr.Receivers, conduct.Host{Host: shape.Host{Name: h.name}, Address: h.name, Conduct: g})
				}
				tr.Done = func(o conduct.Outcome) {
					if hurries[o.Host] {
						took = time.Since(begun)
					}
				}
				res, err := conduct.New(conduct.Config{Dialer: chain.Dialer{Dial: at.dial}}).Send(t.Context(), tr)
				if err != nil {
					t.Fatal(err)
				}
				allDone(t, res)
				moved := ""
				for _, r := range res.Repairs {
					moved += r.Host
				}
				if moved != c.moved {
					t.Errorf("moved: %q, want %q", moved, c.moved)
				}
				if took > c.most {
					t.Errorf("those who do not take their time waited %v, want %v", took, c.most)
				}
			})
		})
	}
}

// Who reads a blob that has come as a whole holds up no other one.
func TestWhoReadsAWholeBlobHoldsUpNone(t *testing.T) {
	const first = 1 << 20
	before, _, beforeName := blob(t, first)
	b, _, name := blob(t, 4<<20)
	b.First = []chain.Span{b.Cover(0, first)}
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(1)
		defer n.end()
		at := n.add("source", linkRate)
		source, p := at.peer(t, t.Context())
		defer p.Close()
		if err := errors.Join(offer(p, before, beforeName), offer(p, b, name)); err != nil {
			t.Fatal(err)
		}
		h := n.add("h", linkRate)
		g := chain.NewGrant()
		g.Conduct = true
		q, err := chain.Start(t.Context(), chain.Config{Dir: t.TempDir(), Listener: h, Dialer: chain.Dialer{Dial: h.dial}, Busy: func() bool { return false }})
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		q.Allow(g)
		send := func(b chain.Blob) time.Duration {
			begun := time.Now()
			res, err := conduct.New(conduct.Config{Dialer: chain.Dialer{Dial: at.dial}}).Send(t.Context(), conduct.Transfer{
				Blob: b, Source: source, Receivers: []conduct.Host{{Host: shape.Host{Name: h.name}, Address: h.name, Conduct: g}},
			})
			if err != nil {
				t.Fatal(err)
			}
			allDone(t, res)
			return time.Since(begun)
		}
		come, coming := q.Reader(before.Digest), q.Reader(b.Digest)
		defer come.Close()
		defer coming.Close()
		var reading sync.WaitGroup
		defer reading.Wait()
		reading.Go(func() {
			for range 20 {
				readOnceThere(t, come, 0)
				<-time.After(500 * time.Millisecond)
			}
		})
		reading.Go(func() { readOnceThere(t, coming, 0) })
		send(before)
		if took := send(b); took > 3*time.Second {
			t.Errorf("it took %v beside one that is whole and read", took)
		}
	})
}
