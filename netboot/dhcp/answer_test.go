package dhcp

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"go.uber.org/goleak"

	"ore"
	"ore/netboot/link"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ethernet() link.Interface {
	return link.Interface{Name: "eth9", MTU: 1500, MAC: net.HardwareAddr{2, 0, 0, 0, 0, 9}, Net: netip.MustParsePrefix("10.9.0.1/24")}
}

// full is a server of the addresses from 10.9.0.50 to 10.9.0.53.
func full(t testing.TB, dir string) (*Server, *[]string) {
	return server(t, Config{Link: ethernet(), Range: Range{netip.MustParseAddr("10.9.0.50"), netip.MustParseAddr("10.9.0.53")},
		Router: netip.MustParseAddr("10.9.0.1"), DNS: []netip.Addr{netip.MustParseAddr("10.9.0.2")}, Leases: filepath.Join(dir, "leases")})
}

func server(t testing.TB, c Config) (*Server, *[]string) {
	t.Helper()
	var told []string
	c.Watch = func(e ore.Event) { told = append(told, e.Text) }
	c.Boot = func(c Client) string {
		switch {
		case c.Loader:
			return "http://10.9.0.1/boot/" + c.MAC.Path()
		case c.HTTP:
			return "http://10.9.0.1/ipxe.efi"
		case c.Arch == UEFI || c.Arch == UEFIOld:
			return "ipxe.efi"
		case c.Arch == BIOS:
			return "undionly.kpxe"
		}
		return ""
	}
	c.Name = func(m link.MAC) string { return map[byte]string{1: "m1"}[m[5]] }
	s, err := newServer(c)
	if err != nil {
		t.Fatal(err)
	}
	return s, &told
}

// ask makes a request of card n.
func ask(n byte, kind dhcpv4.MessageType, o ...dhcpv4.Option) *dhcpv4.DHCPv4 {
	m := &dhcpv4.DHCPv4{OpCode: dhcpv4.OpcodeBootRequest, HWType: 1, ClientHWAddr: net.HardwareAddr{0x52, 0x54, 0, 0, 0, n}, Options: dhcpv4.Options{},
		TransactionID: dhcpv4.TransactionID{1, 2, 3, n}}
	m.UpdateOption(dhcpv4.OptMessageType(kind))
	for _, x := range o {
		m.UpdateOption(x)
	}
	return m
}

func wish(a string) dhcpv4.Option { return dhcpv4.OptRequestedIPAddress(net.ParseIP(a)) }
func of(a string) dhcpv4.Option   { return dhcpv4.OptServerIdentifier(net.ParseIP(a)) }

// firmware are the options of a PXE client.
func firmware(arch Arch, more ...dhcpv4.Option) []dhcpv4.Option {
	uuid := append([]byte{0}, "0123456789abcdef"...)
	return append([]dhcpv4.Option{
		dhcpv4.OptClassIdentifier("PXEClient:Arch:00000:UNDI:002001"),
		dhcpv4.OptGeneric(dhcpv4.OptionClientSystemArchitectureType, []byte{byte(arch >> 8), byte(arch)}),
		dhcpv4.OptGeneric(dhcpv4.GenericOptionCode(97), uuid),
	}, more...)
}

// send brings a packet over the wire and back.
func send(t *testing.T, s *Server, m *dhcpv4.DHCPv4, port uint16) (*dhcpv4.DHCPv4, netip.AddrPort) {
	t.Helper()
	b, to := s.handle(m.ToBytes(), netip.MustParseAddrPort("0.0.0.0:68"), port)
	if b == nil {
		return nil, to
	}
	r, err := dhcpv4.FromBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	if r.TransactionID != m.TransactionID || r.ClientHWAddr.String() != m.ClientHWAddr.String() || len(b) > dhcpv4.MaxMessageSize {
		t.Errorf("an answer to another, or too long a one: %s", r.Summary())
	}
	return r, to
}

func expect(t *testing.T, what string, r *dhcpv4.DHCPv4, kind dhcpv4.MessageType, ip string) {
	t.Helper()
	switch {
	case r == nil && kind != 0:
		t.Errorf("%s: no answer, want %s", what, kind)
	case r != nil && (r.MessageType() != kind || ip != "" && r.YourIPAddr.String() != ip):
		t.Errorf("%s: got %s %s, want %s %s", what, r.MessageType(), r.YourIPAddr, kind, ip)
	}
}

func TestAddressesAreGiven(t *testing.T) {
	s, told := full(t, t.TempDir())
	offer, to := send(t, s, ask(1, dhcpv4.MessageTypeDiscover, wish("10.9.0.52")), Port)
	expect(t, "discover", offer, dhcpv4.MessageTypeOffer, "10.9.0.52")
	if to != netip.MustParseAddrPort("255.255.255.255:68") {
		t.Errorf("the offer goes to %s", to)
	}
	ack, _ := send(t, s, ask(1, dhcpv4.MessageTypeRequest, wish("10.9.0.52"), of("10.9.0.1")), Port)
	expect(t, "request", ack, dhcpv4.MessageTypeAck, "10.9.0.52")
	if ack.SubnetMask().String() != "ffffff00" || ack.Router()[0].String() != "10.9.0.1" || ack.DNS()[0].String() != "10.9.0.2" ||
		ack.HostName() != "m1" || ack.IPAddressLeaseTime(0) != time.Hour || ack.BroadcastAddress().String() != "10.9.0.255" {
		t.Errorf("options: %s", ack.Summary())
	}
	if ack.BootFileName != "" {
		t.Error("one who does not boot is given a file")
	}
	renew := ask(1, dhcpv4.MessageTypeRequest)
	renew.ClientIPAddr = net.ParseIP("10.9.0.52")
	again, to := send(t, s, renew, Port)
	expect(t, "renew", again, dhcpv4.MessageTypeAck, "10.9.0.52")
	if to != netip.MustParseAddrPort("10.9.0.52:68") {
		t.Errorf("the renewal goes to %s", to)
	}
	none, _ := send(t, s, ask(2, dhcpv4.MessageTypeRequest, wish("10.9.0.52")), Port)
	expect(t, "another card's address", none, dhcpv4.MessageTypeNak, "")
	moved, _ := send(t, s, ask(2, dhcpv4.MessageTypeRequest, wish("192.0.2.7")), Port)
	expect(t, "another network's address", moved, dhcpv4.MessageTypeNak, "")
	silent, _ := send(t, s, ask(2, dhcpv4.MessageTypeRequest, wish("10.9.0.200")), Port)
	expect(t, "another server's address", silent, 0, "")
	inform := ask(3, dhcpv4.MessageTypeInform)
	inform.ClientIPAddr = net.ParseIP("10.9.0.99")
	informed, _ := send(t, s, inform, Port)
	expect(t, "inform", informed, dhcpv4.MessageTypeAck, "0.0.0.0")
	if len(*told) > 0 {
		t.Errorf("told: %q", *told)
	}
}

// TestLeasesOutliveTheServer kills it between the answer and the next request.
func TestLeasesOutliveTheServer(t *testing.T) {
	dir := t.TempDir()
	s, _ := full(t, dir)
	offer, _ := send(t, s, ask(1, dhcpv4.MessageTypeDiscover), Port)
	got := offer.YourIPAddr.String()
	send(t, s, ask(1, dhcpv4.MessageTypeRequest, wish(got), of("10.9.0.1")), Port)
	left := filepath.Join(dir, "leases.new-123") // as a writer that was killed leaves it
	if err := os.WriteFile(left, []byte(`{"lea`), 0o600); err != nil {
		t.Fatal(err)
	}
	s, _ = full(t, dir)
	ack, _ := send(t, s, ask(1, dhcpv4.MessageTypeRequest, wish(got)), Port)
	expect(t, "after the restart", ack, dhcpv4.MessageTypeAck, got)
	for n := byte(2); n < 6; n++ {
		if o, _ := send(t, s, ask(n, dhcpv4.MessageTypeDiscover), Port); o != nil && o.YourIPAddr.String() == got {
			t.Errorf("card %d is offered the address of card 1", n)
		}
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the part of a file is still there: %v", err)
	}
}

func TestRangeIsUsedUpAndFreed(t *testing.T) {
	s, told := full(t, t.TempDir())
	seen := map[string]bool{}
	for n := byte(1); n <= 4; n++ {
		o, _ := send(t, s, ask(n, dhcpv4.MessageTypeDiscover), Port)
		expect(t, "offer", o, dhcpv4.MessageTypeOffer, "")
		seen[o.YourIPAddr.String()] = true
	}
	if len(seen) != 4 {
		t.Errorf("offered: %v", seen)
	}
	fifth, _ := send(t, s, ask(5, dhcpv4.MessageTypeDiscover), Port)
	expect(t, "the fifth of four", fifth, 0, "")
	if len(*told) != 1 || !strings.Contains((*told)[0], "every address") {
		t.Errorf("told: %q", *told)
	}
	later := time.Now().Add(offerTime + time.Second)
	r, err := s.answer(ask(5, dhcpv4.MessageTypeDiscover), Port, later)
	if err != nil || r == nil {
		t.Errorf("offers are held for ever: %v", err)
	}
	holds := byte(1)
	if !s.pool.of(link.MAC{0x52, 0x54, 0, 0, 0, holds}).IsValid() {
		holds = 2 // the fifth took the first's
	}
	release := ask(holds, dhcpv4.MessageTypeRelease)
	release.ClientIPAddr = s.pool.of(link.MAC{0x52, 0x54, 0, 0, 0, holds}).AsSlice()
	send(t, s, release, Port)
	sixth, _ := send(t, s, ask(6, dhcpv4.MessageTypeDiscover), Port)
	expect(t, "a released address", sixth, dhcpv4.MessageTypeOffer, release.ClientIPAddr.String())
}

func TestDeclinedAddressesRest(t *testing.T) {
	s, told := full(t, t.TempDir())
	o, _ := send(t, s, ask(1, dhcpv4.MessageTypeDiscover), Port)
	bad := o.YourIPAddr.String()
	send(t, s, ask(2, dhcpv4.MessageTypeDecline, wish(bad)), Port)
	if len(*told) > 0 {
		t.Errorf("a stranger is believed: %q", *told)
	}
	send(t, s, ask(1, dhcpv4.MessageTypeDecline, wish(bad)), Port)
	if len(*told) != 1 || !strings.Contains((*told)[0], "in use by another") {
		t.Errorf("told: %q", *told)
	}
	for n := byte(1); n <= 3; n++ {
		if o, _ := send(t, s, ask(n, dhcpv4.MessageTypeDiscover), Port); o == nil || o.YourIPAddr.String() == bad {
			t.Errorf("card %d is offered %v", n, o)
		}
	}
}

func TestFirmwareIsToldWhatToBoot(t *testing.T) {
	s, _ := full(t, t.TempDir())
	for _, c := range []struct {
		summary string
		options []dhcpv4.Option
		file    string
		next    string
		option  byte // one that must be there
	}{
		{"BIOS", firmware(BIOS), "undionly.kpxe", "10.9.0.1", 97},
		{"UEFI", firmware(UEFI), "ipxe.efi", "10.9.0.1", 43},
		{"UEFI of the old reading", firmware(UEFIOld), "ipxe.efi", "10.9.0.1", 60},
		{"iPXE", firmware(BIOS, dhcpv4.OptGeneric(dhcpv4.OptionUserClassInformation, []byte("iPXE"))), "http://10.9.0.1/boot/52-54-00-00-00-01", "10.9.0.1", 175},
		{"iPXE of RFC 3004", firmware(UEFI, dhcpv4.OptGeneric(dhcpv4.OptionUserClassInformation, []byte("\x04iPXE"))), "http://10.9.0.1/boot/52-54-00-00-00-01", "10.9.0.1", 175},
		{"UEFI over HTTP", append(firmware(UEFIHTTP), dhcpv4.OptClassIdentifier("HTTPClient:Arch:00016")), "http://10.9.0.1/ipxe.efi", "0.0.0.0", 67},
		{"a board of ARM", firmware(11), "", "0.0.0.0", 1},
	} {
		r, _ := send(t, s, ask(1, dhcpv4.MessageTypeDiscover, c.options...), Port)
		if r == nil {
			t.Errorf("%s: no answer", c.summary)
			continue
		}
		if r.BootFileName != c.file || r.ServerIPAddr.String() != c.next || !r.Options.Has(dhcpv4.GenericOptionCode(c.option)) {
			t.Errorf("%s: %s", c.summary, r.Summary())
		}
	}
}

func TestProxyGivesFilesAndNoAddresses(t *testing.T) {
	s, told := server(t, Config{Link: ethernet()})
	r, _ := send(t, s, ask(1, dhcpv4.MessageTypeDiscover, firmware(BIOS)...), Port)
	expect(t, "discover", r, dhcpv4.MessageTypeOffer, "0.0.0.0")
	if r.BootFileName != "undionly.kpxe" || r.ClassIdentifier() != "PXEClient" || r.Options.Has(dhcpv4.OptionSubnetMask) || r.Options.Has(dhcpv4.OptionIPAddressLeaseTime) {
		t.Errorf("offer: %s", r.Summary())
	}
	for what, m := range map[string]*dhcpv4.DHCPv4{
		"one who does not boot": ask(1, dhcpv4.MessageTypeDiscover),
		"a request of another":  ask(1, dhcpv4.MessageTypeRequest, append(firmware(BIOS), of("10.9.0.3"), wish("10.9.0.77"))...),
		"a board of ARM":        ask(1, dhcpv4.MessageTypeDiscover, firmware(11)...),
	} {
		none, _ := send(t, s, m, Port)
		expect(t, what, none, 0, "")
	}
	m := ask(1, dhcpv4.MessageTypeRequest, firmware(UEFI)...)
	m.ClientIPAddr = net.ParseIP("10.9.0.77")
	b, to := s.handle(m.ToBytes(), netip.MustParseAddrPort("10.9.0.77:4011"), ProxyPort)
	ack, err := dhcpv4.FromBytes(b)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "port 4011", ack, dhcpv4.MessageTypeAck, "0.0.0.0")
	if ack.BootFileName != "ipxe.efi" || to != netip.MustParseAddrPort("10.9.0.77:4011") {
		t.Errorf("to %s: %s", to, ack.Summary())
	}
	if len(*told) > 0 {
		t.Errorf("told: %q", *told)
	}
	send(t, s, ask(2, dhcpv4.MessageTypeRequest, of("10.9.0.4"), wish("10.9.0.78")), Port)
	if len(*told) != 1 || !strings.Contains((*told)[0], "two DHCP servers") {
		t.Errorf("told of two servers: %q", *told)
	}
}

func TestAnotherServerIsTold(t *testing.T) {
	s, told := full(t, t.TempDir())
	send(t, s, ask(1, dhcpv4.MessageTypeDiscover), Port)
	for range 3 {
		r, _ := send(t, s, ask(1, dhcpv4.MessageTypeRequest, of("10.9.0.3"), wish("10.9.0.77")), Port)
		expect(t, "a request of another", r, 0, "")
	}
	if len(*told) != 1 || !strings.Contains((*told)[0], "10.9.0.3") {
		t.Errorf("told: %q", *told)
	}
	if s.pool.of(link.MAC{0x52, 0x54, 0, 0, 0, 1}).IsValid() {
		t.Error("the offer is still held")
	}
}

func TestProbesSeeOthersOnly(t *testing.T) {
	s, _ := full(t, t.TempDir())
	m, err := dhcpv4.FromBytes(probe(s.probing, 0x01020304))
	if err != nil || !m.IsBroadcast() {
		t.Fatal(err, m)
	}
	if r, _ := send(t, s, m, Port); r != nil {
		t.Error("our own probe is answered")
	}
	other, _ := server(t, Config{Link: link.Interface{Name: "o", Net: netip.MustParsePrefix("10.9.0.3/24")},
		Range: Range{netip.MustParseAddr("10.9.0.70"), netip.MustParseAddr("10.9.0.73")}, Leases: filepath.Join(t.TempDir(), "l")})
	other.probing = link.MAC{}
	r, _ := send(t, other, m, Port)
	if a, ok := s.offered(r.ToBytes(), 0x01020304); !ok || a != netip.MustParseAddr("10.9.0.3") {
		t.Errorf("got %v %v", a, ok)
	}
	if _, ok := s.offered(r.ToBytes(), 5); ok {
		t.Error("an answer to another probe counts")
	}
	for _, c := range []struct {
		others []netip.Addr
		proxy  bool
		want   string
	}{
		{nil, false, ""}, {make([]netip.Addr, 1), false, "another DHCP server"},
		{nil, true, "no DHCP server"}, {make([]netip.Addr, 1), true, ""}, {make([]netip.Addr, 2), true, "2 DHCP servers"},
	} {
		s, _ := full(t, t.TempDir())
		if c.proxy {
			s.pool = nil
		}
		if err := s.judge(c.others, nil); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d others, proxy %v: %v", len(c.others), c.proxy, err)
		}
	}
}

func TestRelays(t *testing.T) {
	s, told := full(t, t.TempDir())
	m := ask(1, dhcpv4.MessageTypeDiscover)
	m.GatewayIPAddr = net.ParseIP("10.9.0.254")
	r, to := send(t, s, m, Port)
	expect(t, "a relay of this network", r, dhcpv4.MessageTypeOffer, "")
	if to != netip.MustParseAddrPort("10.9.0.254:67") {
		t.Errorf("the offer goes to %s", to)
	}
	m.GatewayIPAddr = net.ParseIP("192.0.2.1")
	none, _ := send(t, s, m, Port)
	expect(t, "a relay of another", none, 0, "")
	if len(*told) != 1 || !strings.Contains((*told)[0], "relay 192.0.2.1") {
		t.Errorf("told: %q", *told)
	}
}

func TestBadRangesAreRefused(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"10.9.0.50", "two IPv4 addresses"}, {"10.9.0.50-x", "two IPv4"}, {"::1-::2", "two IPv4"}, {"10.9.0.60-10.9.0.50", "ends before it begins: use 10.9.0.50-10.9.0.60"},
		{"10.9.0.60-10.9.1.50", "use addresses of 10.9.0.0/24"}, {"10.9.0.50-10.9.0.99", ""},
	} {
		r, err := ParseRange(c.text)
		if err == nil {
			err = r.check(ethernet())
		}
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.text, err)
		}
	}
}

// TestFloodsAreBounded sends requests in the names of many cards.
func TestFloodsAreBounded(t *testing.T) {
	s, told := full(t, t.TempDir())
	for i := range 5000 {
		m := ask(1, []dhcpv4.MessageType{dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeDecline}[i%3], wish("10.9.0.50"))
		m.ClientHWAddr = net.HardwareAddr{2, 0, 0, 1, byte(i >> 8), byte(i)}
		send(t, s, m, Port)
	}
	if len(s.pool.byAddr) > 4 || len(s.pool.byMAC) > 4 || len(s.told) > maxTold || len(*told) > maxTold {
		t.Errorf("%d addresses, %d cards, %d sentences are remembered", len(s.pool.byAddr), len(s.pool.byMAC), len(*told))
	}
}

// FuzzHandle sends any packet to a server of each kind, at both ports.
func FuzzHandle(f *testing.F) {
	f.Add(ask(1, dhcpv4.MessageTypeDiscover, firmware(BIOS)...).ToBytes())
	f.Add(ask(1, dhcpv4.MessageTypeRequest, of("10.9.0.1"), wish("10.9.0.50")).ToBytes())
	f.Add(ask(1, dhcpv4.MessageTypeInform, append(firmware(UEFIHTTP), dhcpv4.OptClassIdentifier("HTTPClient"))...).ToBytes())
	f.Add(ask(1, dhcpv4.MessageTypeDecline, wish("10.9.0.50")).ToBytes())
	f.Add([]byte{1})
	dir := f.TempDir()
	a, _ := full(f, dir)
	b, _ := server(f, Config{Link: ethernet()})
	f.Fuzz(func(t *testing.T, packet []byte) {
		for _, s := range []*Server{a, b} {
			for _, port := range []uint16{Port, ProxyPort} {
				out, to := s.handle(packet, netip.MustParseAddrPort("10.9.0.77:68"), port)
				if out == nil {
					continue
				}
				r, err := dhcpv4.FromBytes(out)
				if err != nil || r.OpCode != dhcpv4.OpcodeBootReply || !to.IsValid() {
					t.Fatalf("%v: %x to %s", err, out, to)
				}
				if ip := addr(r.YourIPAddr); ip.IsValid() && (s == b || !s.pool.gives(ip)) {
					t.Fatalf("gives %s", ip)
				}
			}
		}
	})
}

func FuzzParseRange(f *testing.F) {
	f.Add("10.0.0.1-10.0.0.9")
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := ParseRange(s); err == nil && (!r.First.Is4() || !r.Last.Is4()) {
			t.Fatal(r)
		}
	})
}
