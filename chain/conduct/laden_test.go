package conduct_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ore/chain"
	"ore/chain/conduct"
)

// pause is a time in which a host's programs do not run: others have its cores. Its
// kernel goes on.
type pause struct {
	from, to time.Duration
}

// awake returns when the host's programs run.
func (s *station) awake() {
	for _, p := range s.pauses {
		now := s.fabric.now()
		if now < p.from {
			return
		}
		if now < p.to {
			<-time.After(p.to - now)
		}
	}
}

// pausesOf makes a host's pauses: from least to most long each, every now and then.
func pausesOf(random *rand.Rand, every, least, most time.Duration) (all []pause) {
	const enough = 10 * time.Minute // longer than any transfer here
	for at := time.Duration(0); at < enough; {
		at += time.Duration(random.ExpFloat64() * float64(every))
		end := at + least + time.Duration(random.Float64()*float64(most-least))
		all = append(all, pause{at, end})
		at = end
	}
	return all
}

// laden is several blobs that go to the same hosts at once, as layers of one image
// do, some of each first, on slow links between hosts that have much else to do.
type laden struct {
	hosts       int
	rate        float64 // of each link, bytes a second
	blobs       []part
	every       time.Duration // between two pauses of a host; zero is none
	least, most time.Duration // of a pause
	slow        int           // so many hosts have a tenth of the rate
	seed        uint64
}

// part is a blob, in chunks of ladenChunk bytes.
type part struct {
	chunks, first int
}

// ladenChunk is what a chunk stands for: a blob of 100 MB has such.
const ladenChunk = 64 << 10

// arrived is what came of it.
type arrived struct {
	repairs int
	first   time.Duration    // until all hosts but slow ones had of all blobs what goes first
	whole   time.Duration    // until they had all
	out     map[string]int64 // chunks that left each host
}

func (c laden) chunks() (first, all int) {
	for _, b := range c.blobs {
		first, all = first+b.first, all+b.chunks
	}
	return first, all
}

// ideal is the time of so many chunks on one link.
func (c laden) ideal(chunks int) time.Duration {
	return time.Duration(float64(chunks) * ladenChunk / c.rate * float64(time.Second))
}

func (c laden) play(t *testing.T) (a arrived) {
	_, all := c.chunks()
	a.out = map[string]int64{}
	dir := t.TempDir()
	var blobs []chain.Blob
	var lists []chain.List
	var names []string
	for i, p := range c.blobs {
		b, l, _, name := computed(t, c.seed+uint64(i), p.chunks)
		if p.first > 0 {
			b.First = []chain.Span{{From: p.chunks / 4, Count: p.first}}
		}
		blobs, lists, names = append(blobs, b), append(lists, l), append(names, name)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 40*c.ideal(all))
		defer cancel()
		f := newFabric(c.seed, 16<<10, ladenChunk/chunkBytes, 100*time.Microsecond)
		defer f.end()
		random := rand.New(rand.NewPCG(c.seed, 3))
		add := func(name string, rate float64) *station {
			s := f.add(name, rate)
			if c.every > 0 {
				s.pauses = pausesOf(random, c.every, c.least, c.most)
			}
			return s
		}
		at := add("source", c.rate)
		source, feeder := at.peer(t, dir)
		defer feeder.Close()
		for i, b := range blobs {
			if err := feeder.Add(b, lists[i], names[i]); err != nil {
				t.Fatal(err)
			}
		}
		var receivers []conduct.Host
		slow := map[string]bool{}
		for i := range c.hosts {
			rate := c.rate
			if i < c.slow {
				rate /= 10
			}
			h, p := add(fmt.Sprint("h", i), rate).peer(t, dir)
			defer p.Close()
			receivers = append(receivers, h)
			slow[h.Name] = i < c.slow
		}
		begun, left := time.Now(), len(blobs)*(c.hosts-c.slow)
		var mu sync.Mutex // guards what follows, and left
		ahead := map[string]bool{}
		note := func(blob int) func(conduct.Outcome) {
			return func(o conduct.Outcome) {
				mu.Lock()
				defer mu.Unlock()
				if key := fmt.Sprint(blob, o.Host); (o.Ahead || o.Err == nil && o.After > 0) && !ahead[key] && !slow[o.Host] {
					ahead[key] = true
					a.first = time.Since(begun)
				}
				if o.Err == nil && o.After > 0 && !slow[o.Host] { // it is done
					if left--; left == 0 && c.slow > 0 {
						cancel() // nobody waits for the slow
					}
				}
			}
		}
		var sending sync.WaitGroup
		for i, b := range blobs {
			sending.Go(func() {
				tr := conduct.Transfer{Blob: b, Source: source, Receivers: receivers, Coming: note(i), Done: note(i)}
				r, err := conduct.New(conduct.Config{Dialer: chain.Dialer{Dial: at.dial}}).Send(ctx, tr)
				mu.Lock()
				defer mu.Unlock()
				if err != nil && left > 0 {
					t.Error(err)
				}
				for _, o := range r.Hosts {
					if o.Err != nil && !slow[o.Host] {
						t.Errorf("blob %d: %v", i, o.Err)
					}
					a.out[o.Host] += o.Traffic.Out / chunkBytes
					if !slow[o.Host] {
						a.whole = max(a.whole, o.Traffic.LastIn.Sub(begun))
					}
				}
				for _, p := range r.Repairs {
					t.Logf("blob %d: repair at %v: %s %s", i, p.After, p.Host, p.What)
				}
				a.repairs += len(r.Repairs)
				t.Logf("blob %d: %s of %d, %v", i, r.Kind, r.Stripes, r.Took)
			})
		}
		sending.Wait()
	})
	return a
}

// expect plays it, and holds it to how often hosts are moved, and how much longer
// than one link all takes.
func (c laden) expect(t *testing.T, repairs int, firsts, whole float64) {
	t.Helper()
	first, all := c.chunks()
	a := c.play(t)
	most := int64(0)
	for _, n := range a.out {
		most = max(most, n)
	}
	f, w, o := a.first.Seconds()/c.ideal(first).Seconds(), a.whole.Seconds()/c.ideal(all).Seconds(), float64(most)/float64(all)
	t.Logf("%+v: what goes first came in %.2f times its time on one link, all in %.2f; %d repairs; %.2f times all left one host", c, f, w, a.repairs, o)
	if f > firsts {
		t.Errorf("what goes first took %.2f times its time on one link, want %.2f", f, firsts)
	}
	if w > whole {
		t.Errorf("all took %.2f times its time on one link, want %.2f", w, whole)
	}
	if a.repairs > repairs {
		t.Errorf("%d repairs, want %d at most", a.repairs, repairs)
	}
	if o > copies {
		t.Errorf("%.2f times all blobs left one host, want %.2f", o, copies)
	}
}

// copies is what leaves one host at most, beside what was under way when its child
// got another source.
const copies = 1.2

// layers are as those of an image, the second beside the first, and an input of a
// job: what of them goes first does not wait for any rest.
func layers() []part { return []part{{1000, 200}, {400, 200}, {60, 0}} }

// TestBlobsTakeTurns has hosts with nothing else to do. Two blobs at once take no
// longer than one after the other would.
func TestBlobsTakeTurns(t *testing.T) {
	laden{hosts: 16, rate: 2.5e6, blobs: layers(), seed: 1}.expect(t, 0, 1.7, 1.15)
}

// TestALadenMachineIsNoSlowHost has hosts none of which is slower than another, but
// each of which waits for a core for a fifth of its time, as on a computer that has
// more to do than cores. A link between two of them rests for two fifths of the time.
func TestALadenMachineIsNoSlowHost(t *testing.T) {
	for seed := range uint64(2) {
		laden{hosts: 16, rate: 2.5e6, blobs: layers(), every: time.Second, least: 50 * time.Millisecond, most: 500 * time.Millisecond, seed: seed}.expect(t, 3, 2.6, 1.8)
	}
}

// TestASlowHostOfALadenMachineIsMoved has one among them whose link is ten times slower:
// all others have everything hardly later.
func TestASlowHostOfALadenMachineIsMoved(t *testing.T) {
	laden{hosts: 16, rate: 2.5e6, blobs: layers(), every: time.Second, least: 50 * time.Millisecond, most: 500 * time.Millisecond, slow: 1}.expect(t, 16, 4, 2.2)
}
