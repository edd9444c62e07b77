package trunk

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"ore/vnet"
	"ore/vnet/trunk/datagram"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" { // a host of its own
		if err := play(role); err != nil {
			fmt.Println("ended", err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must happen; reaching it is a failure.
const patience = 2 * time.Minute

var subnet = netip.MustParsePrefix("10.9.8.0/24")

// machine is a port of a host's network without a machine behind it.
type machine struct {
	vnet.Address
	t testing.TB
	f *os.File
}

// host is a network with a mesh.
type host struct {
	t    testing.TB
	id   string
	net  *vnet.Network
	mesh *Mesh
	own  []vnet.Remote
}

// newHost returns a host whose links are at an address of the loopback.
func newHost(t testing.TB, id string, c vnet.Config) *host {
	t.Helper()
	c.Subnet = subnet
	n, err := vnet.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	m, err := New(Config{Network: n, ID: id, Listen: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return &host{t: t, id: id, net: n, mesh: m}
}

// machine attaches a machine.
func (h *host) machine(rank int) *machine {
	h.t.Helper()
	name := fmt.Sprintf("m%d", rank)
	f, a, err := h.net.AttachAt(name, rank)
	if err != nil {
		h.t.Fatal(err)
	}
	defer f.Close()
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		h.t.Fatal(err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		h.t.Fatal(err)
	}
	g := os.NewFile(uintptr(fd), name)
	h.t.Cleanup(func() { g.Close() })
	h.own = append(h.own, vnet.Remote{Name: name, IP: a.IP})
	return &machine{Address: a, t: h.t, f: g}
}

// meet tells all hosts of each other.
func meet(t testing.TB, job Key, hosts ...*host) {
	t.Helper()
	for _, h := range hosts {
		if err := h.mesh.Set(others(job, h, hosts)); err != nil {
			t.Fatal(err)
		}
	}
}

func others(job Key, h *host, hosts []*host) []Peer {
	var peers []Peer
	for _, o := range hosts {
		if o != h {
			peers = append(peers, Peer{ID: o.id, Key: PairKey(job, h.id, o.id), Address: o.mesh.Address(), Machines: o.own})
		}
	}
	return peers
}

// frame returns an IPv4 frame from one machine to another, of n bytes after the
// Ethernet header, told from others by a number.
func frame(from, to *machine, n int, number byte) []byte {
	b := make([]byte, 14+n)
	copy(b, to.MAC)
	copy(b[6:], from.MAC)
	copy(b[12:], []byte{8, 0, 0x45, 0, byte(n >> 8), byte(n)})
	copy(b[26:], from.IP.AsSlice())
	copy(b[30:], to.IP.AsSlice())
	for i := 34; i < len(b); i++ {
		b[i] = number + byte(i)*3
	}
	return b
}

func (m *machine) send(b []byte) {
	m.t.Helper()
	if _, err := m.f.Write(b); err != nil {
		m.t.Fatal(err)
	}
}

// receive waits for a frame.
func (m *machine) receive() []byte {
	m.t.Helper()
	if err := m.f.SetReadDeadline(time.Now().Add(patience)); err != nil {
		m.t.Fatal(err)
	}
	b := make([]byte, 1<<16)
	n, err := m.f.Read(b)
	if err != nil {
		m.t.Fatal(err)
	}
	return b[:n]
}

// eventually fails the test unless ok becomes true. There is no signal for what
// it waits for, so it looks again and again, and yields between.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
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

// up waits until all links of the hosts are.
func up(t testing.TB, hosts ...*host) {
	t.Helper()
	for _, h := range hosts {
		eventually(t, "the links of "+h.id+" are up", func() bool {
			for _, s := range h.mesh.Stats() {
				if !s.Up {
					return false
				}
			}
			return true
		})
	}
}

func TestFramesCross(t *testing.T) {
	for _, mtu := range []int{1500, vnet.DefaultMTU, 65517} {
		t.Run(fmt.Sprint(mtu), func(t *testing.T) {
			a, b := newHost(t, "a", vnet.Config{MTU: mtu}), newHost(t, "b", vnet.Config{MTU: mtu})
			m0, m1 := a.machine(0), b.machine(1)
			meet(t, NewKey(), a, b)
			up(t, a, b)
			for i, n := range []int{20, 46, 576, 1200, 1400, 1480, 1500, 9000, mtu} {
				n = min(n, mtu)
				for _, way := range [][2]*machine{{m0, m1}, {m1, m0}} {
					want := frame(way[0], way[1], n, byte(i))
					way[0].send(want)
					if got := way[1].receive(); !bytes.Equal(got, want) {
						t.Fatalf("%d bytes came as %d", len(want), len(got))
					}
				}
			}
			for _, h := range []*host{a, b} {
				eventually(t, "all frames are counted", func() bool { return h.mesh.Stats()[0].Sent.Frames == 9 })
				s := h.mesh.Stats()[0]
				delete(s.Dropped, "stale") // an answer that came twice, on a slow machine
				if s.Way != datagram.UDP || len(s.Dropped) > 0 || s.Received.Frames != 9 || s.Keys != 1 {
					t.Errorf("%+v", s)
				}
			}
		})
	}
}

// TestPathIsMeasured proves that the MTU of the loopback is found, the round
// trip is known, and the rate when it is asked for.
func TestPathIsMeasured(t *testing.T) {
	a, b := newHost(t, "a", vnet.Config{}), newHost(t, "b", vnet.Config{})
	meet(t, NewKey(), a, b)
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	want := min(lo.MTU, datagram.MostSize+datagram.Headers4)
	for _, h := range []*host{a, b} {
		eventually(t, "the MTU is found", func() bool { return h.mesh.Stats()[0].MTU == want })
		if err := h.mesh.Measure(t.Context(), h.mesh.Stats()[0].ID); err != nil {
			t.Error(err)
		}
		s := h.mesh.Stats()[0]
		if s.RTT <= 0 || s.MinRTT <= 0 || s.MinRTT > s.RTT || s.Rate <= 0 {
			t.Errorf("%+v", s)
		}
		t.Logf("mtu %d, rtt %v, %.0f MB/s", s.MTU, s.RTT, s.Rate/1e6)
	}
}
