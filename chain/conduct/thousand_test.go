package conduct_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"ore/chain"
	"ore/chain/conduct"
	"ore/chain/shape"
)

// throng is one transfer to very many hosts in virtual time. Peers, conductor and
// protocol are the real ones, with files and sums; the network is a fabric.
type throng struct {
	hosts, chunks int
	chunk         float64 // bytes that a chunk stands for
	rate          float64 // of each host's link, bytes a second
	packet        float64 // what a stream sends in one turn, bytes
	uneven        int     // the turns of streams are of one to so many packets
	slow          int     // this many hosts have a tenth of the rate, and are not waited for
	killed, gone  int     // hosts that die on the way, and hosts of whom nothing is heard any more
	seed          uint64  // who that is, and when
}

// spareFiles is how many files a test has open beside those of hosts.
const spareFiles = 100

// chunkBytes is how long a chunk really is.
const chunkBytes = 64

// content is a chunk of a blob, computed.
func content(blob uint64, i int) []byte {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], blob)
	binary.LittleEndian.PutUint64(seed[8:], uint64(i))
	b := make([]byte, chunkBytes)
	rand.NewChaCha8(seed).Read(b)
	return b
}

// computed makes a blob of such chunks, and a file of it.
func computed(t testing.TB, number uint64, chunks int) (chain.Blob, chain.List, []byte, string) {
	t.Helper()
	var l chain.List
	var all []byte
	for i := range chunks {
		b := content(number, i)
		l.Chunks = append(l.Chunks, chain.Chunk{Offset: int64(len(all)), Size: chunkBytes, Sum: sha256.Sum256(b)})
		all = append(all, b...)
	}
	name := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(name, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return chain.NewBlob(sha256.Sum256(all), l), l, all, name
}

// played is what came of a throng.
type played struct {
	conduct.Result
	took       time.Duration // until all that live had all bytes, verified
	told       time.Duration // until the conductor had heard that of all
	eta        float64       // the time of one transfer over one link, as part of what it took
	bound      float64       // the least possible time, as part of it
	goroutines int           // in the midst of it
}

// peer starts one at a host.
func (s *station) peer(t testing.TB, dir string) (conduct.Host, *chain.Peer) {
	t.Helper()
	g := chain.NewGrant()
	g.Conduct = true
	p, err := chain.Start(t.Context(), chain.Config{Dir: filepath.Join(dir, s.name), Listener: s, Dialer: chain.Dialer{Dial: s.dial}})
	if err != nil {
		t.Fatal(err)
	}
	p.Allow(g)
	return conduct.Host{Host: shape.Host{Name: s.name}, Address: s.name, Conduct: g}, p
}

// lot is what becomes of a host.
type lot int

const (
	lives lot = iota
	isKilled
	vanishes
	isSlow // has a tenth of the rate
)

// lots decides who dies when and how, and who is slow, by the seed.
func (c throng) lots() (lots []lot, when []float64) {
	random := rand.New(rand.NewPCG(c.seed, uint64(c.hosts)))
	lots, when = make([]lot, c.hosts), make([]float64, c.hosts)
	some := random.Perm(c.hosts)
	for _, kind := range []struct {
		lot   lot
		hosts int
	}{{isKilled, c.killed}, {vanishes, c.gone}, {isSlow, c.slow}} {
		for _, i := range some[:kind.hosts] {
			lots[i], when[i] = kind.lot, random.Float64()
		}
		some = some[kind.hosts:]
	}
	return lots, when
}

// cast is who takes part in a throng.
type cast struct {
	transfer conduct.Transfer
	peers    []*chain.Peer
	waited   map[string]bool // hosts that live and are not slow
}

// cast starts peers at all hosts, and sets what becomes of them.
func (c throng) cast(t testing.TB, f *fabric, dir string) (a cast) {
	lots, when := c.lots()
	a.waited = map[string]bool{}
	for i, lot := range lots {
		s := f.add(fmt.Sprint("h", i), c.rate)
		after := time.Duration(when[i] * float64(c.ideal()))
		switch lot {
		case lives:
			a.waited[s.name] = true
		case isKilled:
			time.AfterFunc(after, s.kill)
		case vanishes:
			time.AfterFunc(after, s.vanish)
		case isSlow:
			s.rate /= 10
		}
		h, peer := s.peer(t, dir)
		a.peers, a.transfer.Receivers = append(a.peers, peer), append(a.transfer.Receivers, h)
	}
	return a
}

func (a cast) close() {
	for _, p := range a.peers {
		p.Close()
	}
}

// ideal is the time of one transfer over one link.
func (c throng) ideal() time.Duration {
	return time.Duration(float64(c.chunks) * c.chunk / c.rate * float64(time.Second))
}

func (c throng) play(t *testing.T) (p played) {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < uint64(c.hosts+spareFiles) {
		t.Skipf("%d hosts need as many open files, and the limit is %d (%v): raise it with ulimit -n", c.hosts, files.Cur, err)
	}
	blob, list, want, name := computed(t, c.seed, c.chunks)
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*c.ideal())
		defer cancel()
		f := newFabric(c.seed, c.packet, c.chunk/chunkBytes, 100*time.Microsecond)
		f.uneven = c.uneven
		defer f.end()
		at := f.add("source", c.rate)
		source, feeder := at.peer(t, dir)
		defer feeder.Close()
		if err := feeder.Add(blob, list, name); err != nil {
			t.Fatal(err)
		}
		all := c.cast(t, f, dir)
		defer all.close()
		begun, left := time.Now(), len(all.waited)
		time.AfterFunc(c.ideal()/2, func() { p.goroutines = runtime.NumGoroutine() })
		all.transfer.Blob, all.transfer.Source = blob, source
		all.transfer.Done = func(o conduct.Outcome) {
			if !all.waited[o.Host] {
				return
			}
			p.told = time.Since(begun)
			if left--; left == 0 && c.slow > 0 {
				cancel()
			}
		}
		var err error
		p.Result, err = conduct.New(conduct.Config{Dialer: chain.Dialer{Dial: at.dial}}).Send(ctx, all.transfer)
		if left > 0 || err != nil && c.slow == 0 {
			t.Errorf("%d hosts that live do not have the blob: %v", left, err)
		}
		for i, h := range p.Hosts {
			if !all.waited[h.Host] {
				continue
			}
			p.took = max(p.took, h.Traffic.LastIn.Sub(begun))
			path, _ := all.peers[i].Path(blob.Digest)
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
				t.Errorf("host %s: %v, %d bytes at %q are not the blob: %v", h.Host, h.Err, len(got), path, err)
			}
		}
	})
	p.eta = c.ideal().Seconds() / max(p.took, 1).Seconds()
	p.bound = shape.Bound(c.hosts, int64(float64(c.chunks)*c.chunk), int64(c.chunk), c.rate) / max(p.took, 1).Seconds()
	t.Logf("%+v: %s of %d in %.2f s (told after %.2f), eta %.3f, bound/T %.3f, %d repairs, %d goroutines", c, p.Kind, p.Stripes, p.took.Seconds(), p.told.Seconds(), p.eta, p.bound, len(p.Repairs), p.goroutines)
	for _, r := range p.Repairs {
		t.Logf("repair at %v: %s %s", r.After, r.Host, r.What)
	}
	return p
}

// link100 is 100 Mbit/s in bytes a second.
const link100 = 12.5e6

// expect plays a throng and holds it to what it must reach at least, beside the time
// that it takes to miss hosts of whom nothing is heard. The same seed has the same
// hosts die at the same times; which of two things comes first that happen at once is
// not said, so that the last digit may differ.
func (c throng) expect(t *testing.T, eta float64) {
	t.Helper()
	p := c.play(t)
	missed := time.Duration(0)
	if c.gone > 0 {
		missed = 450 * time.Millisecond // until a host is asked, and does not acknowledge it
	}
	if got := c.ideal().Seconds() / (p.took - missed).Seconds(); got < eta {
		t.Errorf("eta %.3f, want %.3f", got, eta)
	}
	if p.bound > 1 {
		t.Errorf("the transfer took %.3f of the least possible time: the network is wrong", 1/p.bound)
	}
	// Who vanishes becomes a leaf first, and is lost when the conductor misses it.
	if most := c.killed + 2*c.gone + c.slow; len(p.Repairs) > most {
		t.Errorf("%d repairs, want %d at most: some were in vain", len(p.Repairs), most)
	}
}

// calmly is what tests of so many hosts at 100 Mbit/s begin with: nothing happens to
// anybody.
func calmly(hosts, chunks int) throng {
	return throng{hosts: hosts, chunks: chunks, chunk: 64 << 10, rate: link100, packet: 64 << 10, seed: 1}
}

// TestHundredsOfReceivers is the small sample of what TestAThousandReceivers (system
// tier) shows.
func TestHundredsOfReceivers(t *testing.T) {
	calm := calmly(200, 256)
	calm.expect(t, 0.90)
	c := calm
	c.killed, c.seed = 4, 2
	c.expect(t, 0.80)
	c = calm
	c.uneven, c.seed = 2, 2 // the source's streams have a third and two thirds of its link
	c.expect(t, 0.65)
	c = calm
	c.hosts, c.gone, c.seed = 100, 2, 3
	c.expect(t, 0.80)
	c = calm
	c.chunk, c.packet, c.slow = 256<<10, 256<<10, 1 // long enough to find out
	c.expect(t, 0.65)
}
