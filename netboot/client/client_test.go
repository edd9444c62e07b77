package client

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"go.uber.org/goleak"

	"ore"
	"ore/netboot/dhcp"
	"ore/netboot/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inside says that this process is in a network namespace of its own.
const inside = "ORE_TEST_CLIENT_INSIDE"

// alone runs the test again in a network namespace of its own.
func alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) != "" {
		return true
	}
	if os.Getuid() != 0 {
		t.Skip("only root may make a network namespace with interfaces in it")
	}
	c := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
	c.Env = append(os.Environ(), inside+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return false
}

func ip(t *testing.T, lines string) {
	t.Helper()
	for line := range strings.Lines(lines) {
		if out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", strings.TrimSpace(line), err, out)
		}
	}
}

// TestUp gets an address from our own server, over a card that is off at first.
func TestUp(t *testing.T) {
	if !alone(t) {
		return
	}
	ip(t, `link set lo up
		link add br0 type veth peer name client0
		address add 10.9.0.1/24 dev br0
		link set client0 address 52:54:00:00:09:07
		link set br0 up`)
	// Both ends of the line are this host's.
	for _, set := range []string{"all/accept_local=1", "all/rp_filter=0", "br0/rp_filter=0", "client0/rp_filter=0"} {
		name, value, _ := strings.Cut(set, "=")
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+name, []byte(value), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	at, err := link.Find("br0")
	if err != nil {
		t.Fatal(err)
	}
	first := netip.MustParseAddr("10.9.0.50")
	s, err := dhcp.Start(t.Context(), dhcp.Config{Link: at, Range: dhcp.Range{First: first, Last: first}, Router: netip.MustParseAddr("10.9.0.1"),
		DNS: []netip.Addr{netip.MustParseAddr("10.9.0.2")}, Lease: time.Hour, Probe: -1, Leases: filepath.Join(t.TempDir(), "leases.json"),
		Boot: func(dhcp.Client) string { return "" }, Name: func(link.MAC) string { return "m1" }, Watch: func(ore.Event) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	card, err := link.ParseMAC("52:54:00:00:09:07")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l, err := Up(ctx, card)
	if err != nil {
		t.Fatal(err)
	}
	if l.Interface != "client0" || l.Address.String() != "10.9.0.50/24" || l.Time != time.Hour || l.Resolver() != "nameserver 10.9.0.2\n" {
		t.Errorf("got %+v", l)
	}
	has, err := exec.Command("ip", "-4", "-o", "address", "show", "dev", "client0").Output()
	if err != nil || !strings.Contains(string(has), "10.9.0.50/24") {
		t.Errorf("the interface has %s, %v", has, err)
	}
	way, err := exec.Command("ip", "-4", "route", "show", "default").Output()
	if err != nil || !strings.Contains(string(way), "via 10.9.0.1") {
		t.Errorf("the way out is %q, %v", way, err)
	}
}

// TestNoSuchCard tells which cards there are.
func TestNoSuchCard(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := Up(ctx, link.MAC{2, 0xee, 0xee, 0xee, 0xee, 0xee}); err == nil || !strings.Contains(err.Error(), "02:ee:ee:ee:ee:ee") || !strings.Contains(err.Error(), "driver") {
		t.Errorf("got %v", err)
	}
}

// TestLeases reads what servers say, also what makes no sense.
func TestLeases(t *testing.T) {
	mask := dhcpv4.WithNetmask(net.CIDRMask(24, 32))
	for _, c := range []struct {
		summary string
		address net.IP
		with    []dhcpv4.Modifier
		want    string // the resolver's file; "-" for an error
	}{
		{"all", net.IPv4(10, 0, 0, 9), []dhcpv4.Modifier{mask, dhcpv4.WithDNS(net.IPv4(10, 0, 0, 1)), dhcpv4.WithOption(dhcpv4.OptDomainName("example.org"))}, "search example.org\nnameserver 10.0.0.1\n"},
		{"a domain with a line's end", net.IPv4(10, 0, 0, 9), []dhcpv4.Modifier{mask, dhcpv4.WithOption(dhcpv4.OptDomainName("a\nnameserver 6.6.6.6"))}, ""},
		{"no mask", net.IPv4(10, 0, 0, 9), nil, "-"},
		{"no address", net.IPv4zero, []dhcpv4.Modifier{mask}, "-"},
	} {
		p, err := dhcpv4.New(append(c.with, dhcpv4.WithYourIP(c.address))...)
		if err != nil {
			t.Fatal(err)
		}
		l, err := leaseOf(p)
		if err != nil != (c.want == "-") || err == nil && l.Resolver() != c.want {
			t.Errorf("%s: %q, %v", c.summary, l.Resolver(), err)
		}
	}
}
