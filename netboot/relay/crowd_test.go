package relay

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"ore"
	places "ore/install/pour/blob"
)

// pause is how long an installer waits before it asks again.
const pause = 2 * time.Second

// line is as narrow as it is made, in virtual time.
type line struct {
	rate int // bytes a second

	mu   sync.Mutex // guards free
	free time.Time  // when what crosses now has crossed
}

// cross waits until n bytes have crossed, behind all that others send.
func (l *line) cross(n int) {
	if l == nil {
		return
	}
	l.mu.Lock()
	now := time.Now()
	if l.free.Before(now) {
		l.free = now
	}
	l.free = l.free.Add(time.Duration(n) * time.Second / time.Duration(l.rate))
	until := l.free.Sub(now)
	l.mu.Unlock()
	time.Sleep(until)
}

// fabric is a network in memory: nothing of it takes time but where a line is narrow.
type fabric struct {
	mu sync.Mutex // guards at
	at map[string]*port
}

// port is where connections to one address come.
type port struct {
	fabric *fabric
	addr   *net.TCPAddr
	come   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func address(n int) *net.TCPAddr { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, byte(n)), Port: 80} }

func (f *fabric) listen(n int) net.Listener {
	f.mu.Lock()
	defer f.mu.Unlock()
	p := &port{fabric: f, addr: address(n), come: make(chan net.Conn), closed: make(chan struct{})}
	f.at[p.addr.String()] = p
	return p
}

// Accept implements net.Listener.
func (p *port) Accept() (net.Conn, error) {
	select {
	case c := <-p.come:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (p *port) Close() error {
	p.once.Do(func() {
		p.fabric.mu.Lock()
		defer p.fabric.mu.Unlock()
		delete(p.fabric.at, p.addr.String())
		close(p.closed)
	})
	return nil
}

// Addr implements net.Listener.
func (p *port) Addr() net.Addr { return p.addr }

// wire is an end of a connection.
type wire struct {
	net.Conn
	from *net.TCPAddr
}

// RemoteAddr implements net.Conn.
func (w wire) RemoteAddr() net.Addr { return w.from }

// transport asks in the name of machine n, and crosses its lines to others.
func (f *fabric) transport(n int) *http.Transport {
	return &http.Transport{DialContext: func(ctx context.Context, _, to string) (net.Conn, error) {
		f.mu.Lock()
		p := f.at[to]
		f.mu.Unlock()
		if p == nil {
			return nil, syscall.ECONNREFUSED
		}
		mine, other := net.Pipe()
		select {
		case p.come <- wire{other, address(n)}:
			return mine, nil
		case <-p.closed:
			return nil, syscall.ECONNREFUSED
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}
}

// narrowed asks others in the name of machine from. Answers cross the line outwards of
// whom they are from, and there are none any more where mute says so.
type narrowed struct {
	base  http.RoundTripper
	from  int
	crowd *crowd
}

// RoundTrip implements http.RoundTripper.
func (n narrowed) RoundTrip(r *http.Request) (*http.Response, error) {
	if n.crowd.mute(n.from) || n.crowd.mute(int(r.URL.Hostname()[len("10.0.0.")]-'0')) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if since := time.Since(n.crowd.begun); r.URL.Hostname() == "10.0.0.1" && n.crowd.from < since && since < n.crowd.from+n.crowd.down {
		return nil, syscall.ECONNREFUSED
	}
	resp, err := n.base.RoundTrip(r)
	if err == nil {
		resp.Body = slowed{resp.Body, n.crowd.lines[r.URL.Host]}
	}
	return resp, err
}

// slowed is an answer as it comes over a line.
type slowed struct {
	body interface {
		Read([]byte) (int, error)
		Close() error
	}
	line *line
}

func (s slowed) Read(b []byte) (int, error) {
	n, err := s.body.Read(b)
	s.line.cross(n)
	return n, err
}

func (s slowed) Close() error { return s.body.Close() }

// crowd is a server, which is host 1, and machines in a network of their own, in
// virtual time.
type crowd struct {
	t       *testing.T
	lender  *lender // of this time: the book is a new one each time
	rate    int     // of its line, in bytes a second
	content []byte
	memory  int64            // of machines for others, in bytes; 0: more than the blob
	pace    time.Duration    // that machines take for a chunk
	lines   map[string]*line // of machines, outwards, by address
	gap     time.Duration    // between the beginnings of two machines
	lost    int              // the host that is lost, 0 for none
	when    time.Time        // it is
	silent  bool             // and nobody hears of it, as when its power is gone
	begun   time.Time        // the machines have
	from    time.Duration    // after that the server refuses
	down    time.Duration    // for so long
}

// mute says whether nothing is heard of a host.
func (c *crowd) mute(host int) bool {
	return c.silent && host == c.lost && !time.Now().Before(c.when)
}

// get reads the blob as a machine that takes some time for each chunk of it, and as
// patiently as an installer.
func (c *crowd) get(by http.RoundTripper) {
	d := ore.DigestOf(c.content)
	client := places.Client{HTTP: &http.Client{Transport: by}, Pause: pause, Stall: time.Hour}
	s := client.Open(c.t.Context(), places.Blob{Digest: d, Size: int64(len(c.content)), From: []string{c.lender.URL + "/blob/" + string(d)}}, 0, int64(len(c.content)))
	defer s.Close()
	room := make([]byte, len(c.content))
	var err error
	for at := 0; at < len(room) && err == nil; at += Chunk {
		_, err = io.ReadFull(s, room[at:min(at+Chunk, len(room))])
		time.Sleep(c.pace)
	}
	if err != nil || !bytes.Equal(room, c.content) {
		c.t.Errorf("not all came, or other bytes: %v", err)
	}
}

// begin has eight machines get the blob, relaying or each for itself, and returns how
// many copies left the server, and how long each machine took.
func (c *crowd) begin(relaying bool) (copies float64, took [8]time.Duration) {
	c.begun = time.Now()
	net := &fabric{at: map[string]*port{}}
	ctx, cancel := context.WithCancel(c.t.Context())
	c.lender = newLender(c.content)
	c.lender.line = &line{rate: c.rate}
	server := &http.Server{Handler: c.lender.mux}
	var all, last sync.WaitGroup
	l := net.listen(1)
	last.Go(func() { server.Serve(l) })
	c.lender.URL = "http://10.0.0.1:80"
	for i := range took {
		base := net.transport(2 + i)
		defer base.CloseIdleConnections()
		var by http.RoundTripper = narrowed{base, 2 + i, c}
		own, lose := context.WithCancel(ctx)
		defer lose()
		if relaying {
			r := newRelay(own, Config{Chain: fmt.Sprintf("%s/chain/%d/", c.lender.URL, i), Blobs: c.lender.URL + "/blob/", Memory: cmp.Or(c.memory, 1<<30), Transport: by})
			r.serve(net.listen(2 + i))
			by = r
			last.Go(func() {
				<-own.Done()
				if err := r.Close(); err != nil {
					c.t.Error(err)
				}
			})
		}
		if 2+i == c.lost && relaying {
			last.Go(func() { c.lender.read(own, by, ore.DigestOf(c.content), 0, len(c.content)) })
			if !c.silent {
				time.AfterFunc(time.Until(c.when), lose)
			}
		} else {
			all.Go(func() {
				begun := time.Now()
				c.get(by)
				took[i] = time.Since(begun)
			})
		}
		synctest.Wait() // so that it has begun before the next one
		time.Sleep(c.gap)
	}
	all.Wait()
	cancel()
	server.Close()
	last.Wait()
	time.Sleep(time.Minute) // what the server still sent has crossed its line
	return float64(c.lender.gave.Load()) / float64(len(c.content)), took
}

const megabyte = 1 << 20

// newCrowd has a blob behind a line of so many bytes a second.
func newCrowd(t *testing.T, rate int) *crowd {
	c := &crowd{t: t, rate: rate, content: content(32*Chunk + 100), lines: map[string]*line{}}
	for i := range 20 {
		c.lines[address(2+i).String()] = &line{rate: 100 * megabyte}
	}
	return c
}

// Eight machines get a blob over the server's line: each for itself it crosses that
// eight times, and from one another once, in a quarter of the time or less; also where
// they begin one after the other. On a line of 500 kbit/s, over which a chunk takes longer
// than a neighbour is waited for as a rule, it is little more.
func TestOneCopyLeavesTheServer(t *testing.T) {
	for _, c := range []struct {
		rate   int
		gap    time.Duration
		copies float64
	}{{10 * megabyte, 0, 1.02}, {10 * megabyte, time.Second / 3, 1.02}, {500_000 / 8, 0, 1.4}} {
		synctest.Test(t, func(t *testing.T) {
			crowd := newCrowd(t, c.rate)
			each, apart := crowd.begin(false)
			crowd.gap = c.gap
			one, together := crowd.begin(true)
			t.Logf("%d bytes a second, %v apart: each for itself %.2f copies in %v; from one another %.2f copies in %v", c.rate, c.gap, each, apart[7], one, together)
			if each < 8 || one < 1 || one > c.copies {
				t.Errorf("%.2f copies leave the server when each asks for itself, %.2f when they pass it on", each, one)
			}
			for i := range together {
				if 4*together[i] > apart[i] {
					t.Errorf("machine %d: %v, and %v when each asks for itself", i, together[i], apart[i])
				}
			}
		})
	}
}

// whole is how long the blob takes over the server's line.
func (c *crowd) whole() time.Duration {
	return time.Duration(len(c.content)) * time.Second / time.Duration(c.rate)
}

// timely sees that a time of eight machines, of which one may be lost, cost the server
// hardly more than one copy, and each of the others less than twice what that takes.
func (c *crowd) timely() {
	copies, took := c.begin(true)
	c.t.Logf("host %d is lost, silently %v: %.2f copies in %v, not %v", c.lost, c.silent, copies, took, c.whole())
	if copies > 1.3 {
		c.t.Errorf("%.2f copies left the server", copies)
	}
	for i := range took {
		if took[i] > 2*c.whole() || took[i] == 0 && 2+i != c.lost {
			c.t.Errorf("machine %d took %v, not %v", i, took[i], c.whole())
		}
	}
}

// The first of eight machines, or one in their midst, is lost half-way: it refuses, or
// says nothing any more.
func TestALostMachineCostsTheOthersLittle(t *testing.T) {
	for _, lost := range []struct {
		host   int
		silent bool
	}{{2, false}, {2, true}, {5, true}} {
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd(t, megabyte)
			c.lost, c.silent, c.when = lost.host, lost.silent, time.Now().Add(c.whole()/2)
			c.timely()
		})
	}
}

// A machine in the midst with a line of 100 kB/s is left alone by those after it, which
// do not wait for it.
func TestASlowMachineIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, megabyte)
		c.lines[address(5).String()].rate = 100_000
		c.timely()
	})
}

// A first machine that gives each chunk in time, but far more slowly than the server would,
// is left by the one behind it, and the others stay: they need a fraction of what it takes
// each for itself. One that is half as fast as the server is not left.
func TestASlowFirstMachineIsLeft(t *testing.T) {
	for _, c := range []struct {
		rate   int
		copies float64
		least  float64 // how many times as fast as each for itself
	}{{400_000, 4, 1.5}, {700_000, 4, 1.5}, {5 * megabyte, 1.05, 3}} {
		synctest.Test(t, func(t *testing.T) {
			crowd := newCrowd(t, 10*megabyte)
			crowd.content = content(128*Chunk + 100)
			crowd.lines[address(2).String()].rate = c.rate
			apart := 8 * crowd.whole()
			copies, took := crowd.begin(true)
			t.Logf("the first gives %d bytes a second: %.2f copies in %v, and each for itself in %v", c.rate, copies, took, apart)
			if copies > c.copies {
				t.Errorf("%.2f copies left the server", copies)
			}
			for i := range took {
				if took[i].Seconds()*c.least > apart.Seconds() {
					t.Errorf("machine %d took %v, and each for itself %v", i, took[i], apart)
				}
			}
		})
	}
}

// Machines that take long for what they get, and for what they give, since all of them
// have too much to do, get it from one another all the same, though the server would be
// quicker, and need not twice the time.
func TestSlowMachinesStayTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 10*megabyte)
		c.pace = 800 * time.Millisecond
		for _, l := range c.lines {
			l.rate = 3 * Chunk / 2
		}
		_, apart := c.begin(false)
		copies, took := c.begin(true)
		t.Logf("%.2f copies in %v, not %v", copies, took, apart[7])
		if copies > 1.3 {
			t.Errorf("%.2f copies left the server", copies)
		}
		for i := range took {
			if took[i] > 2*apart[i] {
				t.Errorf("machine %d took %v, and %v from the server", i, took[i], apart[i])
			}
		}
	})
}

// Machines that begin together need no memory for the blob, since they are never far from
// one another: an eighth of it does. Those that begin later than the memory of those
// before reaches back cost more copies, though fewer than when each asks for itself.
func TestLittleMemory(t *testing.T) {
	for _, c := range []struct {
		gap  time.Duration
		most float64
	}{{0, 1.02}, {time.Second, 4.5}} {
		synctest.Test(t, func(t *testing.T) {
			crowd := newCrowd(t, 10*megabyte)
			crowd.content = content(128*Chunk + 100)
			crowd.memory, crowd.gap = leastMemory, c.gap
			copies, took := crowd.begin(true)
			t.Logf("%v apart: %.2f copies in %v", c.gap, copies, took)
			if copies > c.most {
				t.Errorf("%v apart: %.2f copies left the server, not %v at most", c.gap, copies, c.most)
			}
		})
	}
}

// A server that refuses for a while, half-way, costs that time and the pauses of who
// asks again, and no more copies: no machine leaves another for it.
func TestAServerThatRefusesForAWhile(t *testing.T) {
	for _, down := range []time.Duration{time.Second, 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			c := newCrowd(t, 2*megabyte)
			c.content = content(64*Chunk + 100)
			c.from, c.down = c.whole()/2, down
			copies, took := c.begin(true)
			t.Logf("%v: %.2f copies in %v, not %v", down, copies, took, c.whole())
			if copies > 1.1 {
				t.Errorf("%.2f copies left the server that refused for %v", copies, down)
			}
			for i := range took {
				if most := c.whole()*11/10 + 2*down + 2*pause; took[i] > most {
					t.Errorf("machine %d took %v, and at most %v are %v and what the server and the machines wait", i, took[i], most, c.whole())
				}
			}
		})
	}
}

// What was on its way when a neighbour broke off fails as one; a later break counts again.
func TestOneBreakIsOneStrike(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace("")
		for i, want := range []time.Duration{firstLeave, 2 * firstLeave} {
			asked := time.Now()
			for range ahead + 1 {
				p.strike(io.ErrUnexpectedEOF, asked)
				time.Sleep(time.Second / 2)
			}
			if got := p.until.Sub(asked); got != want {
				t.Errorf("break %d: left alone for %v, not %v", i, got, want)
			}
			time.Sleep(time.Until(p.until))
		}
	})
}

// A neighbour that gives other bytes than the server's sum says is asked for no more
// than is on its way, and what it gave is neither used nor passed on.
func TestALiarIsNotBelieved(t *testing.T) {
	b := content(20 * Chunk)
	s := lend(t, b)
	var asked sync.Map
	liar := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Header.Get("Range"), true)
		false_ := append([]byte(nil), b...)
		for i := 0; i < len(false_); i += Chunk {
			false_[i]++
		}
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(false_)))
	})
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: liar}
	go server.Serve(l)
	defer server.Close()
	if code, _ := s.asks(t, "liar", ore.DigestOf(b), l.Addr().(*net.TCPAddr).Port); code != http.StatusOK {
		t.Fatal(code)
	}
	first, second := s.joins(t, "1", 0), s.joins(t, "2", 0)
	s.has(t, first, b)
	s.has(t, second, b)
	n := 0
	asked.Range(func(any, any) bool { n++; return true })
	if n == 0 || n > 2*(ahead+1) {
		t.Errorf("the liar was asked for %d chunks", n)
	}
	if c := first.Counts(); c.Near != 0 || c.Home < int64(len(b)) {
		t.Errorf("the first has %+v", c)
	}
	if c := second.Counts(); c.Near != int64(len(b)) {
		t.Errorf("the second has %+v", c)
	}
}
