package link

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseMAC(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"52:54:00:12:34:56", "52:54:00:12:34:56"}, {"52-54-00-AB-34-56", "52:54:00:ab:34:56"}, {"525400123456", "52:54:00:12:34:56"},
		{"00:00:00:00:00:00", ""}, {"ff:ff:ff:ff:ff:ff", ""}, {"01:00:5e:00:00:01", ""}, {"52:54:00:12:34", ""}, {"52:54-00:12:34:56", ""}, {"", ""},
	} {
		m, err := ParseMAC(c.text)
		if c.want == "" && err == nil || c.want != "" && (err != nil || m.String() != c.want) {
			t.Errorf("%q: %s %v", c.text, m, err)
		}
	}
}

func FuzzParseMAC(f *testing.F) {
	f.Add("52:54:00:12:34:56")
	f.Fuzz(func(t *testing.T, s string) {
		m, err := ParseMAC(s)
		if err != nil {
			return
		}
		for _, again := range []string{m.String(), m.Path()} {
			if n, err := ParseMAC(again); err != nil || n != m {
				t.Fatalf("%q: %s, again %s: %v", s, m, n, err)
			}
		}
	})
}

func TestInterfaces(t *testing.T) {
	lo, err := Find("lo")
	if err != nil || lo.Addr() != netip.MustParseAddr("127.0.0.1") || lo.Broadcast() != netip.MustParseAddr("127.255.255.255") {
		t.Errorf("lo: %+v %v", lo, err)
	}
	if _, err := Find("none0"); err == nil || !strings.Contains(err.Error(), "ip link") {
		t.Errorf("no such interface: %v", err)
	}
	i := Interface{Net: netip.MustParsePrefix("10.9.4.1/22")}
	if i.Broadcast() != netip.MustParseAddr("10.9.7.255") {
		t.Errorf("broadcast of %s: %s", i.Net, i.Broadcast())
	}
}
