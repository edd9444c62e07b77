package vnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/adapters/gonet"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/link/channel"
	gvethernet "gvisor.dev/gvisor/pkg/tcpip/link/ethernet"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/stack"

	"ore"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" { // inside a machine of a benchmark
		play := playRole
		if role == memoryRole {
			play = func(string) error { return useMemory() }
		}
		fmt.Println("ended", play(role))
		return
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must happen; reaching it is a failure.
const patience = 2 * time.Minute

// guest is a machine without a hypervisor: a network stack of its own behind
// the socket that a hypervisor would get.
type guest struct {
	Address
	t     testing.TB
	file  *os.File
	stack *stack.Stack
}

// newGuest attaches a machine to n.
func newGuest(t testing.TB, n *Network, name string) *guest {
	t.Helper()
	f, a, err := n.Attach(name)
	if err != nil {
		t.Fatal(err)
	}
	return newGuestOn(t, f, a)
}

// newGuestAt is newGuest with the address of a rank.
func newGuestAt(t testing.TB, n *Network, name string, rank int) *guest {
	t.Helper()
	f, a, err := n.AttachAt(name, rank)
	if err != nil {
		t.Fatal(err)
	}
	return newGuestOn(t, f, a)
}

func newGuestOn(t testing.TB, f *os.File, a Address) *guest {
	t.Helper()
	file := pollable(t, f)
	channelEnd := channel.New(1024, uint32(a.MTU+header.EthernetMinimumSize), tcpip.LinkAddress(a.MAC))
	channelEnd.SupportedGSOKind = stack.GVisorGSOSupported
	end := gvethernet.New(channelEnd)
	s, err := newStack(end, a.Prefix)
	if err != nil {
		t.Fatal(err)
	}
	local, _ := tcpip.NewSubnet(tcpip.AddrFrom4(a.Prefix.Masked().Addr().As4()), tcpip.MaskFromBytes(net.CIDRMask(a.Prefix.Bits(), 32)))
	s.SetRouteTable([]tcpip.Route{
		{Destination: local, NIC: nic},
		{Destination: header.IPv4EmptySubnet, Gateway: tcpip.AddrFrom4(a.Gateway.As4()), NIC: nic},
	})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { guestReads(file, channelEnd) })
	wg.Go(func() { guestWrites(ctx, file, channelEnd) })
	t.Cleanup(func() {
		s.Close()
		cancel()
		file.Close()
		wg.Wait()
		s.Wait()
	})
	return &guest{Address: a, t: t, file: file, stack: s}
}

// pollable returns f's socket as a file that Close wakes readers of.
func pollable(t testing.TB, f *os.File) *os.File {
	t.Helper()
	defer f.Close()
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	return os.NewFile(uintptr(fd), "guest")
}

func guestReads(f *os.File, e *channel.Endpoint) {
	b := make([]byte, 1<<16)
	for {
		n, err := f.Read(b)
		if err != nil {
			return
		}
		pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(b[:n])})
		e.InjectInbound(0, pkt)
		pkt.DecRef()
	}
}

func guestWrites(ctx context.Context, f *os.File, e *channel.Endpoint) {
	for {
		pkt := e.ReadContext(ctx)
		if pkt == nil {
			return
		}
		v := pkt.ToView()
		pkt.DecRef()
		_, err := f.Write(v.AsSlice())
		v.Release()
		if err != nil {
			return
		}
	}
}

func (g *guest) dial(to netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	c, err := gonet.DialContextTCP(ctx, g.stack, full(to), ipv4.ProtocolNumber)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (g *guest) mustDial(to netip.AddrPort) net.Conn {
	g.t.Helper()
	c, err := g.dial(to)
	if err != nil {
		g.t.Fatalf("dial %v: %v", to, err)
	}
	c.SetDeadline(time.Now().Add(patience))
	return c
}

func (g *guest) listen(port uint16) net.Listener {
	g.t.Helper()
	l, err := gonet.ListenTCP(g.stack, full(netip.AddrPortFrom(g.IP, port)), ipv4.ProtocolNumber)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { l.Shutdown(); l.Close() })
	return l
}

// dialUDP returns a datagram socket connected to an address.
func (g *guest) dialUDP(to netip.AddrPort) *gonet.UDPConn {
	g.t.Helper()
	a := full(to)
	c, err := gonet.DialUDP(g.stack, nil, &a, ipv4.ProtocolNumber)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}

func full(a netip.AddrPort) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Addr: tcpip.AddrFrom4(a.Addr().As4()), Port: a.Port()}
}

// echo serves l by sending back what comes, until l is closed.
func echo(t testing.TB, l net.Listener) {
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				// A connection that was cut off, not closed, ends with the test.
				stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Now()) })
				defer stop()
				defer c.Close()
				io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { l.Close(); cancel(); wg.Wait() })
}

// roundTrip sends text over c, closes that direction and returns what came back.
func roundTripText(c net.Conn, text string) (string, error) {
	if _, err := io.WriteString(c, text); err != nil {
		return "", err
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return "", err
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

func mustEcho(t *testing.T, c net.Conn) {
	t.Helper()
	defer c.Close()
	const text = "from here to there and back"
	if got, err := roundTripText(c, text); err != nil || got != text {
		t.Errorf("echo: got %q, %v", got, err)
	}
}

// newNet returns a network that ends with the test.
func newNet(t testing.TB, c Config) *Network {
	t.Helper()
	n, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

// hostEcho returns the address of an echo server of the host.
func hostEcho(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	echo(t, l)
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// eventually fails the test unless ok becomes true. It looks again after each
// of the network's events, for which there is no signal: so it yields between.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	limit := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("never happened: %s", what)
		}
	}
}

func isRefused(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Err.Error() == (&tcpip.ErrConnectionRefused{}).String()
}

var natConfig = Config{Policy: ore.NAT}
