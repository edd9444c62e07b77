package conduct_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"ore/chain"
	"ore/chain/conduct"
	"ore/chain/shape"

	"go.uber.org/goleak"
)

// asPeer makes the test's program be a peer in a process of its own, which can
// be killed.
const asPeer = "ORE_CHAIN_TEST_PEER"

// told is what such a process says of itself, and is told.
type told struct {
	Dir     string
	Rate    float64 // of what leaves, bytes a second; zero is no limit
	Hold    int64   // so many bytes come in, of which it tells, and the others once its input has a line
	Silence time.Duration
	Alters  bool // what it fetches comes with other bytes, but for the first
	Address string
	Conduct chain.Grant
	Add     string // a file that it offers
	Blob    chain.Blob

	in   *hold // of connections of a peer in the test's own process
	out  holds
	went *atomic.Int64 // bytes that left a peer with a rate; may be nil
}

func TestMain(m *testing.M) {
	if s := os.Getenv(asPeer); s != "" {
		if err := bePeer(s); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// bePeer runs until its input ends.
func bePeer(setting string) error {
	var t told
	if err := json.Unmarshal([]byte(setting), &t); err != nil {
		return err
	}
	if t.Hold > 0 {
		t.in = newHold(t.Hold)
	}
	p, err := t.start(context.Background())
	if err != nil {
		return err
	}
	if t.Add != "" {
		if err := offer(p, t.Blob, t.Add); err != nil {
			return err
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(told{Address: p.Addr().String(), Conduct: t.Conduct}); err != nil {
		return err
	}
	if t.in != nil {
		go func() { // until the process ends
			<-t.in.reached
			fmt.Println(heldWord)
		}()
	}
	in := bufio.NewReader(os.Stdin)
	in.ReadString('\n') // or its end
	t.in.let()
	io.Copy(io.Discard, in)
	return p.Close()
}

func offer(p *chain.Peer, b chain.Blob, name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	l, _, err := chain.Cut(context.Background(), f, b.Size)
	if err != nil {
		return err
	}
	return p.Add(b, l, name)
}

// start makes the peer that t tells of.
func (t *told) start(ctx context.Context) (*chain.Peer, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	cfg := chain.Config{Dir: t.Dir, Listener: l, Silence: t.Silence}
	if t.Rate > 0 {
		cfg.Listener = slowListener{l, &bucket{rate: t.Rate, went: t.went}, t.out}
	}
	if t.in != nil {
		cfg.Dialer.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, address)
			return heldConn{Conn: c, hold: t.in}, err
		}
	}
	if t.Alters {
		cfg.Dialer.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := (&net.Dialer{}).DialContext(ctx, network, address)
			return &alters{Conn: c, after: 64 << 10}, err
		}
	}
	p, err := chain.Start(ctx, cfg)
	if err != nil {
		return nil, err
	}
	t.Conduct = chain.NewGrant()
	t.Conduct.Conduct = true
	p.Allow(t.Conduct)
	return p, nil
}

// bucket is a link's rate, shared by all its connections.
type bucket struct {
	rate float64
	went *atomic.Int64
	mu   sync.Mutex // guards free
	free time.Time  // when the link has nothing to do
}

// burst is how much time a link may make up for: timers come late.
const burst = 20 * time.Millisecond

// take waits until n bytes have gone over the link.
func (b *bucket) take(n int) {
	b.mu.Lock()
	now := time.Now()
	if early := now.Add(-burst); b.free.Before(early) {
		b.free = early
	}
	b.free = b.free.Add(time.Duration(float64(n) / b.rate * float64(time.Second)))
	wait := time.NewTimer(b.free.Sub(now))
	b.mu.Unlock()
	<-wait.C
}

// hold is a place in what comes or goes at which it stops until it is let go on:
// what a test does there comes in the middle, however busy the computer is.
type hold struct {
	after         int64
	came          atomic.Int64
	told, letting sync.Once
	reached, open chan struct{}
}

func newHold(after int64) *hold {
	return &hold{after: after, reached: make(chan struct{}), open: make(chan struct{})}
}

// let has all go on.
func (h *hold) let() {
	if h != nil {
		h.letting.Do(func() { close(h.open) })
	}
}

// pass waits if n bytes are as many as go before the place.
func (h *hold) pass(n int64) {
	if n >= h.after {
		h.told.Do(func() { close(h.reached) })
		<-h.open
	}
}

type holds []*hold

// heldConn is one of the connections over which all that comes to a peer is held.
type heldConn struct {
	net.Conn
	hold *hold
}

func (c heldConn) Read(b []byte) (int, error) {
	c.hold.pass(c.hold.came.Load())
	n, err := c.Conn.Read(b[:min(len(b), piece)])
	c.hold.came.Add(int64(n))
	return n, err
}

type slowListener struct {
	net.Listener
	out   *bucket
	holds holds
}

func (l slowListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &slowConn{Conn: c, out: l.out, holds: l.holds}, nil
}

type slowConn struct {
	net.Conn
	out   *bucket
	holds holds
	went  int64
}

// piece is how much goes over a slow link at once.
const piece = 8 << 10

func (c *slowConn) Write(b []byte) (int, error) {
	all := 0
	for len(b) > 0 {
		for _, h := range c.holds {
			h.pass(c.went)
		}
		n, err := c.Conn.Write(b[:min(len(b), piece)])
		all, c.went = all+n, c.went+int64(n)
		if c.out.went != nil {
			c.out.went.Add(int64(n))
		}
		c.out.take(n)
		if err != nil {
			return all, err
		}
		b = b[n:]
	}
	return all, nil
}

// process is a peer that can be killed.
type process struct {
	cmd  *exec.Cmd
	in   io.Writer
	held chan struct{} // closed when it is
	host conduct.Host
	dir  string
}

func spawn(t testing.TB, name string, s told) *process {
	t.Helper()
	if s.Dir == "" {
		s.Dir = filepath.Join(t.TempDir(), name)
	}
	setting, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asPeer+"="+string(setting))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var reading sync.WaitGroup
	t.Cleanup(func() {
		in.Close()
		reading.Wait()
		cmd.Wait()
	})
	lines := bufio.NewReader(out)
	line, err := lines.ReadBytes('\n')
	if err != nil {
		t.Fatal(err)
	}
	held := make(chan struct{})
	reading.Go(func() {
		if line, _ := lines.ReadString('\n'); line == heldWord+"\n" {
			close(held)
		}
	})
	var answer told
	if err := json.Unmarshal(line, &answer); err != nil {
		t.Fatal(err)
	}
	return &process{cmd, in, held, conduct.Host{Host: shape.Host{Name: name}, Address: answer.Address, Conduct: answer.Conduct}, s.Dir}
}

// heldWord is what a process says when it is held.
const heldWord = "held"

// when calls do once something has happened, if the test still goes on.
func when(t testing.TB, happened <-chan struct{}, do func()) {
	var waiting sync.WaitGroup
	over := make(chan struct{})
	waiting.Go(func() {
		select {
		case <-happened:
			do()
		case <-over:
		}
	})
	t.Cleanup(func() {
		close(over)
		waiting.Wait()
	})
}

// goOn lets a process go on that is held.
func (p *process) goOn() {
	_, _ = io.WriteString(p.in, "\n") // one that was killed does not
}

// neighbour is a peer in the test's own process.
func neighbour(t testing.TB, name string, s told) (conduct.Host, *chain.Peer) {
	t.Helper()
	if s.Dir == "" {
		s.Dir = t.TempDir()
	}
	p, err := s.start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, h := range append(s.out, s.in) {
			h.let()
		}
		p.Close()
	})
	return conduct.Host{Host: shape.Host{Name: name}, Address: p.Addr().String(), Conduct: s.Conduct}, p
}

// blob makes n bytes in a file, and what is to be known of them.
func blob(t testing.TB, n int) (chain.Blob, []byte, string) {
	t.Helper()
	b := make([]byte, n)
	var seed [32]byte
	seed[0] = byte(n)
	rand.NewChaCha8(seed).Read(b)
	name := filepath.Join(t.TempDir(), "blob")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	l, d, err := chain.Cut(t.Context(), bytes.NewReader(b), int64(n))
	if err != nil {
		t.Fatal(err)
	}
	return chain.NewBlob(d, l), b, name
}

func sameFile(t testing.TB, name string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(name)
	if err != nil {
		t.Error(err)
	} else if !bytes.Equal(got, want) {
		t.Errorf("%s: other bytes than the source's", name)
	}
}

// allDone fails the test unless all hosts that are not in but have the blob.
func allDone(t testing.TB, r conduct.Result, but ...string) {
	t.Helper()
	for _, h := range r.Hosts {
		lost := strings.Contains(" "+strings.Join(but, " ")+" ", " "+h.Host+" ")
		if (h.Err != nil) != lost {
			t.Errorf("host %s: %v", h.Host, h.Err)
		}
	}
	for _, p := range r.Repairs {
		t.Logf("repair at %v: %s %s", p.After, p.Host, p.What)
	}
}
