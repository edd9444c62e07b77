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
	killed, gone  int     // hosts that die on the way, and hosts of whom nothing is heard any more
	seed          uint64  // who that is, and when
}

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
	ideal      time.Duration // of one transfer over one link
	took       time.Duration // until all that live had all bytes, verified
	told       time.Duration // until the conductor had heard that of all
	eta        float64       // the former as part of the latter
	bound      float64       // the least possible time, as part of what it took
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

// deaths decides who ends when and how, by the seed.
func (c throng) deaths(ideal time.Duration, stations []*station) (lost map[string]bool) {
	random := rand.New(rand.NewPCG(c.seed, uint64(c.hosts)))
	lost = map[string]bool{}
	for k, i := range random.Perm(c.hosts)[:c.killed+c.gone] {
		s, end := stations[i], stations[i].kill
		if k >= c.killed {
			end = s.vanish
		}
		lost[s.name] = true
		time.AfterFunc(time.Duration(random.Float64()*float64(ideal)), end)
	}
	return lost
}

func (c throng) play(t *testing.T) (p played) {
	blob, list, want, name := computed(t, c.seed, c.chunks)
	size := float64(c.chunks) * c.chunk
	ideal := time.Duration(size / c.rate * float64(time.Second))
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*ideal)
		defer cancel()
		f := newFabric(c.packet, c.chunk/chunkBytes, 100*time.Microsecond)
		defer f.end()
		at := f.add("source", c.rate)
		source, feeder := at.peer(t, dir)
		defer feeder.Close()
		if err := feeder.Add(blob, list, name); err != nil {
			t.Fatal(err)
		}
		var stations []*station
		var peers []*chain.Peer
		tr := conduct.Transfer{Blob: blob, Source: source}
		for i := range c.hosts {
			s := f.add(fmt.Sprint("h", i), c.rate)
			h, peer := s.peer(t, dir)
			defer peer.Close()
			stations, peers, tr.Receivers = append(stations, s), append(peers, peer), append(tr.Receivers, h)
		}
		begun := time.Now()
		time.AfterFunc(ideal/2, func() { p.goroutines = runtime.NumGoroutine() })
		lost := c.deaths(ideal, stations)
		left := c.hosts - len(lost)
		tr.Done = func(o conduct.Outcome) {
			if !lost[o.Host] {
				left--
				p.told = time.Since(begun)
			}
		}
		var err error
		if p.Result, err = conduct.New(conduct.Config{Dialer: chain.Dialer{Dial: at.dial}}).Send(ctx, tr); err != nil {
			t.Error(err)
		}
		if left > 0 {
			t.Errorf("%d hosts that live do not have the blob", left)
		}
		for i, h := range p.Hosts {
			if lost[h.Host] {
				continue
			}
			p.took = max(p.took, h.Traffic.LastIn.Sub(begun))
			path, _ := peers[i].Path(blob.Digest)
			if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
				t.Errorf("host %s: %v, %d bytes at %q are not the blob: %v", h.Host, h.Err, len(got), path, err)
			}
		}
	})
	p.ideal = ideal
	p.eta = ideal.Seconds() / max(p.took, 1).Seconds()
	p.bound = shape.Bound(c.hosts, int64(size), int64(c.chunk), c.rate) / max(p.took, 1).Seconds()
	t.Logf("%d hosts, %d chunks of %.0f, %d killed, %d gone, seed %d: %s of %d in %.2f s (told after %.2f), eta %.3f, bound/T %.3f, %d repairs, %d goroutines", c.hosts, c.chunks, c.chunk, c.killed, c.gone, c.seed, p.Kind, p.Stripes, p.took.Seconds(), p.told.Seconds(), p.eta, p.bound, len(p.Repairs), p.goroutines)
	return p
}

// link100 is 100 Mbit/s in bytes a second.
const link100 = 12.5e6

// expect plays a throng and holds it to what it must reach at least, beside the time
// that it takes to miss hosts of whom nothing is heard.
func (c throng) expect(t *testing.T, eta float64) {
	t.Helper()
	p := c.play(t)
	missed := time.Duration(0)
	if c.gone > 0 {
		missed = chain.DefaultSilence
	}
	if got := p.ideal.Seconds() / (p.took - missed).Seconds(); got < eta {
		t.Errorf("eta %.3f, want %.3f", got, eta)
	}
	if p.bound > 1 {
		t.Errorf("the transfer took %.3f of the least possible time: the network is wrong", 1/p.bound)
	}
	if c.gone == 0 && len(p.Repairs) > c.killed { // before the start there is nothing to repair
		t.Errorf("%d repairs for %d hosts that died: some were in vain", len(p.Repairs), c.killed)
	}
	for _, r := range p.Repairs {
		t.Logf("repair at %v: %s %s", r.After, r.Host, r.What)
	}
}

// TestHundredsOfReceivers is the small sample of what TestAThousandReceivers (system tier) shows.
func TestHundredsOfReceivers(t *testing.T) {
	c := throng{hosts: 200, chunks: 256, chunk: 64 << 10, rate: link100, packet: 64 << 10, seed: 1}
	c.expect(t, 0.90)
	c.killed, c.seed = 4, 2
	c.expect(t, 0.80)
	c.killed, c.gone, c.seed = 0, 2, 3
	c.expect(t, 0.80)
}
