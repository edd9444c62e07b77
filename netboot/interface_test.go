package netboot

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/net/ipv6"

	"ore/netboot/lab"
	"ore/netboot/link"
)

// up waits until packets pass through interfaces: the kernel lets them some time
// after their lines are connected.
func up(t *testing.T, names ...string) {
	t.Helper()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	end := time.After(time.Minute)
	for _, name := range names {
		for {
			state, err := exec.Command("ip", "-o", "link", "show", name).Output() // sysfs is another namespace's
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(state), " state UP ") {
				break
			}
			select {
			case <-end:
				t.Fatalf("%s is %s", name, state)
			case <-look.C:
			}
		}
	}
}

// discover asks for an address out of an interface that may have none.
func discover(t *testing.T, name string, n byte) *net.UDPConn {
	t.Helper()
	i := link.Interface{Name: name}
	c, err := i.ShareUDP(t.Context(), 68)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	m, err := dhcpv4.NewDiscovery(net.HardwareAddr{2, 0, 0, 0, 9, n}, dhcpv4.WithBroadcast(true),
		dhcpv4.WithOption(dhcpv4.OptClassIdentifier("PXEClient:Arch:00000")),
		dhcpv4.WithOption(dhcpv4.OptGeneric(dhcpv4.OptionClientSystemArchitectureType, []byte{0, 0})))
	if err != nil {
		t.Fatal(err)
	}
	for _, port := range []uint16{67, 4011} {
		to := netip.AddrPortFrom(netip.MustParseAddr("255.255.255.255"), port)
		if _, err := c.WriteToUDPAddrPort(m.ToBytes(), to); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// TestOtherInterfacesHearNothing asks a server on both of two networks that
// its host is on, first on the one that it was not told of. Packets are answered
// in the order of their coming, so once the second is answered, the first has
// been passed over.
func TestOtherInterfacesHearNothing(t *testing.T) {
	if !alone(t) {
		return
	}
	lab.IP(t, `link set lo up
		link add br0 type veth peer name client0
		link add s1 type veth peer name client1
		address add 10.9.0.1/24 dev br0
		address add 10.8.0.1/24 dev s1
		link set br0 up
		link set s1 up
		link set client0 up
		link set client1 up`)
	up(t, "br0", "client0", "s1", "client1")
	// Both ends of each line are this host's, so an answer comes from an address
	// of its own: not what one takes from a line as a rule.
	for _, set := range []string{"all/accept_local=1", "all/rp_filter=0", "br0/rp_filter=0", "s1/rp_filter=0", "client0/rp_filter=0", "client1/rp_filter=0"} {
		name, value, _ := strings.Cut(set, "=")
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+name, []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, proxy := range []bool{false, true} {
		w := &watcher{t: t}
		c := config(t, w)
		c.Probe = -1
		if !proxy {
			c.Range = addresses()
		}
		s := boots(t, c)
		other, own := discover(t, "client1", 1), discover(t, "client0", 2)
		b := make([]byte, 1500)
		if err := own.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := own.Read(b); err != nil {
			t.Fatalf("proxy %v: no answer on its own interface: %v", proxy, err)
		}
		if err := other.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if n, err := other.Read(b); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("proxy %v: %d octets came on another interface: %v", proxy, n, err)
		}
		for _, port := range []int{8067, 69} {
			conn, err := net.Dial("tcp4", fmt.Sprintf("10.8.0.1:%d", port))
			if err == nil {
				conn.Close()
				t.Errorf("port %d is open on another interface", port)
			}
		}
		own.Close()
		other.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestSolicitationsAreAnswered asks for an IPv6 router, as iPXE does, on the
// server's interface and on another one.
func TestSolicitationsAreAnswered(t *testing.T) {
	if !alone(t) {
		return
	}
	lab.IP(t, `link set lo up
		link add br0 type veth peer name client0
		address add 10.9.0.1/24 dev br0
		link set br0 up
		link set client0 up`)
	w := &watcher{t: t}
	c := config(t, w)
	c.Range, c.Probe = addresses(), -1
	client, err := (&net.ListenConfig{Control: link.Interface{Name: "client0"}.Bind}).ListenPacket(t.Context(), "ip6:ipv6-icmp", "::")
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	p := ipv6.NewPacketConn(client)
	var only ipv6.ICMPFilter
	only.SetAll(true)
	only.Accept(ipv6.ICMPTypeRouterAdvertisement)
	if err := errors.Join(p.SetICMPFilter(&only), p.SetMulticastHopLimit(255), p.SetControlMessage(ipv6.FlagHopLimit|ipv6.FlagSrc, true)); err != nil {
		t.Fatal(err)
	}
	boots(t, c)
	// A link-local address is not used before its duplicates were looked for
	// (RFC 4862, section 5.4), which takes a second; so the question is repeated.
	b := make([]byte, 1500)
	for try := 0; ; try++ {
		if _, err := p.WriteTo([]byte{133, 0, 0, 0, 0, 0, 0, 0}, nil, &net.IPAddr{IP: net.ParseIP("ff02::2"), Zone: "client0"}); err != nil && try > 240 {
			t.Fatal(err)
		}
		if err := p.SetReadDeadline(time.Now().Add(250 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		n, control, _, err := p.ReadFrom(b)
		if err == nil {
			if n != 16 || b[0] != 134 || control.HopLimit != 255 || !control.Src.IsLinkLocalUnicast() {
				t.Errorf("%x from %+v", b[:n], control)
			}
			break
		}
		if try > 240 {
			t.Fatalf("no answer: %v\n%s", err, w.text())
		}
	}
}
