package conduct_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"ore/chain"
	"ore/chain/conduct"
	"ore/chain/shape"
)

// TestAFullDiskFailsItsOwnHost has one receiver, at each place, whose disk has no
// room even for the list of the blob's chunks: it is left with its cause, at once,
// and all others have the blob.
func TestAFullDiskFailsItsOwnHost(t *testing.T) {
	b, want, name := blob(t, 2<<20)
	for full := range 3 {
		source, p := neighbour(t, "source", told{})
		if err := offer(p, b, name); err != nil {
			t.Fatal(err)
		}
		tr := conduct.Transfer{Blob: b, Source: source}
		var dirs []string
		for i := range 3 {
			dirs = append(dirs, t.TempDir())
			h, _ := neighbour(t, fmt.Sprint("h", i), told{Dir: dirs[i]})
			tr.Receivers = append(tr.Receivers, h)
		}
		if err := os.Symlink("/dev/full", filepath.Join(dirs[full], b.Digest.String()+".chunks.tmp")); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		r, err := conduct.New(conduct.Config{}).Send(ctx, tr)
		cancel()
		if err != nil {
			t.Fatalf("full host %d: %v", full, err)
		}
		allDone(t, r, fmt.Sprint("h", full))
		if err := r.Hosts[full].Err; err == nil || !strings.Contains(err.Error(), "no space left") {
			t.Errorf("full host %d: %v, want that it has no space left", full, err)
		}
		for i, dir := range dirs {
			if i != full {
				sameFile(t, filepath.Join(dir, b.Digest.String()), want)
			}
		}
	}
}

// alters is a link on which what one side says is changed.
type alters struct {
	net.Conn
	after int // bytes that pass as they are
}

// Read turns one bit of each piece that comes after the first bytes.
func (c *alters) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.after -= n; c.after < 0 && n > 0 {
		b[n-1] ^= 1
	}
	return n, err
}

// TestOneHostsWordDoesNotEndTheSource has one receiver, at each place, that says of
// whomever it fetches from that the bytes are wrong. The others have the blob; it is
// left with that reason.
func TestOneHostsWordDoesNotEndTheSource(t *testing.T) {
	b, want, name := blob(t, 4<<20)
	for liar := range 4 {
		source, p := neighbour(t, "source", told{Rate: linkRate})
		if err := offer(p, b, name); err != nil {
			t.Fatal(err)
		}
		tr := conduct.Transfer{Blob: b, Source: source}
		var dirs []string
		for i := range 4 {
			dirs = append(dirs, t.TempDir())
			h, _ := neighbour(t, fmt.Sprint("h", i), told{Dir: dirs[i], Rate: linkRate, Alters: i == liar})
			tr.Receivers = append(tr.Receivers, h)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		r, err := conduct.New(conduct.Config{}).Send(ctx, tr)
		cancel()
		if err != nil {
			t.Fatalf("liar %d: %v", liar, err)
		}
		allDone(t, r, fmt.Sprint("h", liar))
		if err := r.Hosts[liar].Err; err == nil || !strings.Contains(err.Error(), "is wrong") {
			t.Errorf("liar %d: %v, want that what comes to it is wrong", liar, err)
		}
		for i, dir := range dirs {
			if i != liar {
				sameFile(t, filepath.Join(dir, b.Digest.String()), want)
			}
		}
		t.Logf("liar %d: %v", liar, r.Took)
	}
}

// TestAWrongSourceIsGivenUp has a source whose bytes are wrong for everybody.
func TestAWrongSourceIsGivenUp(t *testing.T) {
	b, _, name := blob(t, 4<<20)
	source, p := neighbour(t, "source", told{})
	if err := offer(p, b, name); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, b.Size/2), b.Size/2); err != nil {
		t.Fatal(err)
	}
	tr := conduct.Transfer{Blob: b, Source: source}
	for i := range 4 {
		h, _ := neighbour(t, fmt.Sprint("h", i), told{})
		tr.Receivers = append(tr.Receivers, h)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if _, err := conduct.New(conduct.Config{}).Send(ctx, tr); !errors.Is(err, conduct.ErrLost) {
		t.Errorf("%v, want %v", err, conduct.ErrLost)
	}
}

// beater is a host that says to all who fetch from it that it is alive, and gives
// them nothing but the list of the chunks.
type beater struct {
	*netHost
	conduct chain.GrantID
	list    int // the list's bytes
}

// Accept implements net.Listener.
func (h beater) Accept() (net.Conn, error) {
	c, err := h.netHost.Accept()
	if err != nil {
		return nil, err
	}
	return &beating{Conn: c, host: h, pass: answerSize, ended: make(chan struct{})}, nil
}

// beating is a connection to such a host, on its side. Only the host's own
// goroutine reads and writes, until it would send a chunk: from then on it sends
// nothing, and beats do instead.
type beating struct {
	net.Conn
	host  beater
	asked []byte // how the connection began
	pass  int    // bytes that are sent as they are
	head  []byte // of the next frame
	mute  bool
	end   sync.Once
	ended chan struct{}
	beats sync.WaitGroup
}

// Facts of the protocol (package chain): who connects says first by which grant;
// the answer is followed by frames, if it does not conduct.
const (
	grantAt, grantEnd = 8, 24
	answerSize        = 32 + 32
	headSize          = 8
	beatNumber        = 0xfffffff3
)

// Read implements net.Conn.
func (c *beating) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if len(c.asked) < grantEnd {
		c.asked = append(c.asked, b[:n]...)
	}
	return n, err
}

// Write implements net.Conn.
func (c *beating) Write(b []byte) (int, error) {
	if len(c.asked) >= grantEnd && bytes.Equal(c.asked[grantAt:grantEnd], c.host.conduct[:]) {
		return c.Conn.Write(b)
	}
	for rest := b; len(rest) > 0 && !c.mute; {
		if c.pass > 0 {
			n, err := c.Conn.Write(rest[:min(c.pass, len(rest))])
			if err != nil {
				return 0, err
			}
			c.pass, rest = c.pass-n, rest[n:]
			continue
		}
		c.head, rest = append(c.head, rest[0]), rest[1:]
		if len(c.head) == headSize {
			c.frame()
		}
	}
	return len(b), nil
}

// frame passes the list on, and nothing else.
func (c *beating) frame() {
	number, size := binary.BigEndian.Uint32(c.head), int(binary.BigEndian.Uint32(c.head[4:]))
	if number == 0 && size == c.host.list {
		c.pass = size
		_, _ = c.Conn.Write(c.head) // who asked has hung up, or not
	} else if number != beatNumber {
		c.mute = true
		c.beats.Go(c.beat)
	}
	c.head = nil
}

func (c *beating) beat() {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := c.Conn.Write(append(binary.BigEndian.AppendUint32(nil, beatNumber), 0, 0, 0, 0)); err != nil {
			return
		}
		select {
		case <-c.ended:
			return
		case <-tick.C:
		}
	}
}

// Close implements net.Conn.
func (c *beating) Close() error {
	c.end.Do(func() { close(c.ended) })
	err := c.Conn.Close()
	c.beats.Wait()
	return err
}

// TestARelayThatOnlyBeatsStallsNobody has such a host at each place of a chain
// where it has something to give: once one that takes in what it should give, once
// one that says from the beginning that it has all. The others have the blob soon
// after they would without it.
func TestARelayThatOnlyBeatsStallsNobody(t *testing.T) {
	const size, rate = 8 << 20, 4e6
	for _, claims := range []bool{false, true} {
		for _, c := range []struct{ hosts, at int }{{4, 0}, {4, 1}, {4, 2}, {2, 0}} {
			idle := idlers{hosts: c.hosts, at: map[int]bool{c.at: true}, claims: claims}
			took, r := idle.play(t, size, rate)
			t.Logf("%d hosts, idle %d, claims %v: %s, %v, %d repairs", c.hosts, c.at, claims, r.Kind, took, len(r.Repairs))
			if took == 0 || took > 12*time.Second { // two seconds, and once until it is noticed
				t.Errorf("%d hosts, idle %d, claims %v: the others have it after %v", c.hosts, c.at, claims, took)
				allDone(t, r)
			}
		}
	}
}

// idlers is a transfer to hosts of which some only beat.
type idlers struct {
	hosts  int
	at     map[int]bool
	claims bool // they have all, and say so
}

// play returns how long it took until all others had the blob.
func (c idlers) play(t *testing.T, size int, rate float64) (took time.Duration, r conduct.Result) {
	b, _, name := blob(t, size)
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list, _, err := chain.Cut(t.Context(), f, b.Size)
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		n := newNetwork(1)
		defer n.end()
		at := n.add("source", rate)
		source, p := at.peer(t, ctx)
		defer p.Close()
		if err := p.Add(b, list, name); err != nil {
			t.Fatal(err)
		}
		left, begun := c.hosts-len(c.at), time.Now()
		tr := conduct.Transfer{Blob: b, Source: source, Done: func(o conduct.Outcome) {
			var i int
			if _, err := fmt.Sscanf(o.Host, "h%d", &i); err != nil || c.at[i] {
				return
			}
			if left--; left == 0 {
				took = time.Since(begun)
			}
		}}
		for i := range c.hosts {
			at := n.add(fmt.Sprint("h", i), rate)
			g := chain.NewGrant()
			g.Conduct = true
			cfg := chain.Config{Dir: t.TempDir(), Listener: at, Dialer: chain.Dialer{Dial: at.dial}}
			if c.at[i] {
				cfg.Listener = beater{at, g.ID, len(list.Encode())}
			}
			p, err := chain.Start(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			p.Allow(g)
			if c.at[i] && c.claims {
				if err := p.Add(b, list, name); err != nil {
					t.Fatal(err)
				}
			}
			tr.Receivers = append(tr.Receivers, conduct.Host{Host: shape.Host{Name: at.name}, Address: at.name, Conduct: g})
		}
		r, _ = conduct.New(conduct.Config{Dialer: chain.Dialer{Dial: at.dial}}).Send(ctx, tr)
	})
	return took, r
}
