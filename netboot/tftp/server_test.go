package tftp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ore"
	"ore/netboot/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// content is a file that has no period of a block's length.
func content(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	for i := 0; i+8 <= n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b
}

// serve starts a server of files on the loopback interface.
func serve(t *testing.T, files map[string][]byte, watch ore.Watcher) *Server {
	t.Helper()
	lo, err := link.Find("lo")
	if err != nil {
		t.Fatal(err)
	}
	open := map[string]func() (File, error){}
	for name, b := range files {
		open[name] = func() (File, error) { return File{ReaderAt: bytes.NewReader(b), Size: int64(len(b))}, nil }
	}
	// A port of the kernel's choice: another program may hold TFTP's own. Somebody
	// may take it before the server does; then there is another one.
	var s *Server
	for s == nil {
		c, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		c.Close()
		s, err = Start(t.Context(), Config{Link: lo, Port: port, Open: Names(open), Watch: watch})
		if err != nil && !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// client reads a file as the RFCs say, losing packets on the way.
type client struct {
	t       *testing.T
	conn    *net.UDPConn
	request string
	at      netip.AddrPort // who is asked
	server  netip.AddrPort // the transfer's end, once known
	block   int
	window  int
	lose    func(packet int) bool
	packets int
}

func newClient(t *testing.T, s *Server, request string) *client {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &client{t: t, conn: conn, request: request, at: s.Addr(), block: plainBlock, window: 1, lose: func(int) bool { return false }}
	if _, err := conn.WriteToUDPAddrPort([]byte(request), s.Addr()); err != nil {
		t.Fatal(err)
	}
	return c
}

// hear returns the next packet that is not lost. A request that is not answered
// is repeated, as clients do: it may have been lost, too.
func (c *client) hear() []byte {
	c.t.Helper()
	b := make([]byte, 70000)
	for silent := 0; silent < 60; {
		if err := c.conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			c.t.Fatal(err)
		}
		n, from, err := c.conn.ReadFromUDPAddrPort(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			silent++
			if c.packets == 0 {
				if _, err := c.conn.WriteToUDPAddrPort([]byte(c.request), c.at); err != nil {
					c.t.Fatal(err)
				}
			}
			continue
		}
		if err != nil {
			c.t.Fatal(err)
		}
		c.packets++
		if c.lose(c.packets) {
			continue
		}
		c.server = from
		return b[:n]
	}
	c.t.Fatal("nothing came for a minute")
	return nil
}

func (c *client) ack(block uint16) {
	b := binary.BigEndian.AppendUint16([]byte{0, opAck}, block)
	if _, err := c.conn.WriteToUDPAddrPort(b, c.server); err != nil {
		c.t.Fatal(err)
	}
}

// get reads to the end, acknowledging each window's last block and whatever
// came before a gap.
func (c *client) get() []byte {
	c.t.Helper()
	var all []byte
	var have uint16
	for inWindow := 0; ; {
		p := c.hear()
		switch binary.BigEndian.Uint16(p) {
		case opOAck:
			c.ack(0)
			continue
		case opData:
		default:
			c.t.Fatalf("packet %q", p)
		}
		n, data := binary.BigEndian.Uint16(p[2:]), p[4:]
		if n != have+1 {
			c.ack(have)
			inWindow = 0
			continue
		}
		have, all = n, append(all, data...)
		if inWindow++; inWindow == c.window || len(data) < c.block {
			c.ack(have)
			inWindow = 0
		}
		if len(data) < c.block {
			return all
		}
	}
}

func rrq(name string, options ...any) string {
	s := "\x00\x01" + name + "\x00octet\x00"
	for _, o := range options {
		s += fmt.Sprint(o) + "\x00"
	}
	return s
}

func TestFilesArrive(t *testing.T) {
	files := map[string][]byte{"empty": {}, "one": content(1), "block": content(512), "odd": content(100_001), "long": content(65600 * 8)}
	s := serve(t, files, nil)
	for _, c := range []struct {
		name          string
		block, window int
	}{
		{"empty", 0, 0}, {"one", 0, 0}, {"block", 0, 0}, {"odd", 0, 0}, {"odd", 1432, 0}, {"odd", 1432, 16}, {"odd", 0, 5},
		{"odd", 65464, 0}, {"long", 8, 32}, // block numbers begin again after 65535
	} {
		var o []any
		if c.block > 0 {
			o = append(o, "blksize", c.block)
		}
		if c.window > 0 {
			o = append(o, "windowsize", c.window)
		}
		k := newClient(t, s, rrq(c.name, o...))
		k.block, k.window = max(c.block, 0), max(c.window, 1)
		if c.block == 0 {
			k.block = plainBlock
		}
		if got := k.get(); !bytes.Equal(got, files[c.name]) {
			t.Errorf("%s, block %d, window %d: %d octets came, want %d, or others", c.name, c.block, c.window, len(got), len(files[c.name]))
		}
	}
}

func TestLostPacketsAreSentAgain(t *testing.T) {
	want := content(60_000)
	s := serve(t, map[string][]byte{"f": want}, nil)
	for _, window := range []int{1, 8} {
		k := newClient(t, s, rrq("f", "blksize", 1024, "windowsize", window, "timeout", 1))
		k.block, k.window = 1024, window
		k.lose = func(n int) bool { return n == 1 || n == 20 || n == 37 }
		if got := k.get(); !bytes.Equal(got, want) {
			t.Errorf("window %d: %d octets came, or others", window, len(got))
		}
	}
}

// TestLateAcknowledgementsDoubleNothing is the Sorcerer's Apprentice.
func TestLateAcknowledgementsDoubleNothing(t *testing.T) {
	want := content(40 * 512)
	s := serve(t, map[string][]byte{"f": want}, nil)
	// The server is to repeat nothing because of a busy computer's silence.
	k := newClient(t, s, rrq("f", "timeout", 100))
	k.hear() // what was agreed
	k.ack(0)
	var have uint16
	for {
		p := k.hear()
		if n := binary.BigEndian.Uint16(p[2:]); n == have+1 {
			have = n
		}
		k.ack(have)
		k.ack(have) // as a network that doubles packets does
		if len(p) < headerLen+plainBlock {
			break
		}
	}
	if blocks := len(want)/plainBlock + 1; k.packets > 1+blocks {
		t.Errorf("%d packets came for %d blocks", k.packets-1, blocks)
	}
}

func TestSizeIsTold(t *testing.T) {
	s := serve(t, map[string][]byte{"f": content(70000)}, nil)
	k := newClient(t, s, rrq("f", "tsize", 0, "blksize", 60000, "windowsize", 9999))
	p := k.hear()
	if want := "\x00\x06blksize\x0060000\x00windowsize\x0032\x00tsize\x0070000\x00"; string(p) != want {
		t.Errorf("got %q, want %q", p, want)
	}
	if _, err := k.conn.WriteToUDPAddrPort([]byte("\x00\x05\x00\x08enough\x00"), k.server); err != nil {
		t.Fatal(err)
	}
}

func TestRefusals(t *testing.T) {
	var mu sync.Mutex
	var told []string
	s := serve(t, map[string][]byte{"f": content(10)}, func(e ore.Event) {
		mu.Lock()
		defer mu.Unlock()
		told = append(told, e.Text)
	})
	for _, c := range []struct {
		request string
		code    uint16
	}{
		{rrq("../../etc/shadow"), codeNotFound}, {rrq("g"), codeNotFound}, {"\x00\x02f\x00octet\x00", codeAccess}, {rrq("f", "blksize", 3), codeOptions},
		{rrq(strings.Repeat("f", maxName+1)), codeIllegal}, {rrq(strings.Repeat("f", 600)), codeIllegal}, {rrq(strings.Repeat("f", 6000)), codeIllegal},
	} {
		p := newClient(t, s, c.request).hear()
		if binary.BigEndian.Uint16(p) != opError || binary.BigEndian.Uint16(p[2:]) != c.code {
			t.Errorf("%q: got %q, want ERROR %d", c.request, p, c.code)
		}
	}
	s.Close()
	mu.Lock()
	defer mu.Unlock()
	if !strings.Contains(strings.Join(told, "\n"), "/etc/shadow") {
		t.Errorf("nobody is told of a missing file: %q", told)
	}
}

// sockets counts this process's.
func sockets(t *testing.T) int {
	t.Helper()
	all, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range all {
		if to, err := os.Readlink(f); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// TestHostileClientsCostLittle opens more transfers than are allowed and
// answers none of them, beside one who wants a file.
func TestHostileClientsCostLittle(t *testing.T) {
	want := content(5000)
	before := sockets(t)
	s := serve(t, map[string][]byte{"f": want}, nil)
	mute, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 3000 {
		b := make([]byte, r.IntN(600))
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		if i%3 == 0 {
			b = []byte(rrq("f", "windowsize", 65535))
		}
		if _, err := mute.WriteToUDPAddrPort(b, s.Addr()); err != nil {
			t.Fatal(err)
		}
	}
	var many []*net.UDPConn
	for i := range 20 {
		c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)})
		if err != nil {
			t.Fatal(err)
		}
		many = append(many, c)
		if _, err := c.WriteToUDPAddrPort([]byte(rrq("f")), s.Addr()); err != nil {
			t.Fatal(i, err)
		}
	}
	k := newClient(t, s, rrq("f"))
	k.conn.Close()
	k.conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 3)})
	if err != nil {
		t.Fatal(err)
	}
	defer k.conn.Close()
	if _, err := k.conn.WriteToUDPAddrPort([]byte(rrq("f")), s.Addr()); err != nil {
		t.Fatal(err)
	}
	if got := k.get(); !bytes.Equal(got, want) {
		t.Error("the file did not come, or another")
	}
	s.mu.Lock()
	n := len(s.active)
	s.mu.Unlock()
	if most := 2*maxPerClient + 2; n > most {
		t.Errorf("%d transfers, want at most %d", n, most)
	}
	for _, c := range many {
		c.Close()
	}
	mute.Close()
	k.conn.Close()
	s.Close()
	if after := sockets(t); after > before {
		t.Errorf("%d sockets before, %d after", before, after)
	}
}

// TestBusyboxReads lets a client of other people's judge.
func TestBusyboxReads(t *testing.T) {
	want := content(300_000)
	s := serve(t, map[string][]byte{"dir/f": want}, nil)
	for _, block := range []string{"512", "1432", "60000"} {
		out := filepath.Join(t.TempDir(), "f")
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		c := exec.CommandContext(ctx, "busybox", "tftp", "-g", "-b", block, "-r", "dir/f", "-l", out, "127.0.0.1", fmt.Sprint(s.Addr().Port()))
		text, err := c.CombinedOutput()
		cancel()
		if err != nil {
			t.Fatalf("block %s: %v: %s", block, err, text)
		}
		if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
			t.Errorf("block %s: %v: %d octets came, or others", block, err, len(got))
		}
	}
}

func TestBlocksFitTheInterface(t *testing.T) {
	lo, err := link.Find("lo")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{config: Config{Link: lo}}
	if o := s.limit(options{block: 65464, window: 65535}); o.window != maxWindow || o.block != 65464 {
		t.Errorf("on the loopback interface: %+v", o)
	}
	s.config.Link.MTU = 1500
	if o := s.limit(options{block: 65464, window: 2}); o.window != 2 || o.block != 1468 {
		t.Errorf("on an Ethernet: %+v", o)
	}
	if _, err := Names(nil)(t.Context(), "x"); err != fs.ErrNotExist {
		t.Error(err)
	}
}
