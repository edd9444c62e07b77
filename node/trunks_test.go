package node

import (
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"ore"
	"ore/vnet/trunk"
)

// TestTrunks joins the networks of two nodes through their interface.
func TestTrunks(t *testing.T) {
	subnet := netip.MustParsePrefix("10.9.8.0/24")
	job := trunk.NewKey()
	ids := []string{"a", "b"}
	var nodes []*Node
	var clients []*Client
	var at []netip.AddrPort
	wanted := func(i int) Trunks {
		return Trunks{Network: ore.Isolated, Subnet: subnet, ID: ids[i], Listen: netip.MustParseAddrPort("127.0.0.1:0")}
	}
	for i := range ids {
		n := New(Config{Dir: t.TempDir()})
		t.Cleanup(func() { n.Release() })
		s := httptest.NewServer(n.Handler())
		t.Cleanup(s.Close)
		c := NewClientOver(s.Client(), s.URL)
		if got, err := c.Trunks(t.Context(), false); err != nil || len(got) != 0 {
			t.Errorf("before: %v, %v", got, err)
		}
		j, err := c.SetTrunks(t.Context(), wanted(i))
		if err != nil || j.Address.Port() == 0 {
			t.Fatalf("%v, %v", j, err)
		}
		nodes, clients, at = append(nodes, n), append(clients, c), append(at, j.Address)
	}
	for i, c := range clients {
		other := 1 - i
		w := wanted(i)
		w.Peers = []trunk.Peer{{ID: ids[other], Key: trunk.PairKey(job, "a", "b"), Address: at[other]}}
		if j, err := c.SetTrunks(t.Context(), w); err != nil || j.Address != at[i] {
			t.Errorf("the port changed from %v to %v, %v", at[i], j, err)
		}
	}
	deadline := time.After(2 * time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for _, c := range clients {
		for up := false; !up; {
			s, err := c.Trunks(t.Context(), false)
			if err != nil || len(s) != 1 {
				t.Fatalf("%v, %v", s, err)
			}
			if up = s[0].Up; up {
				break
			}
			select {
			case <-tick.C:
			case <-deadline:
				t.Fatalf("the link is not up: %+v", s)
			}
		}
	}
	if s, err := clients[0].Trunks(t.Context(), true); err != nil || s[0].Rate <= 0 || s[0].RTT <= 0 {
		t.Errorf("%+v, %v", s, err)
	}
	w := wanted(0)
	w.Subnet = netip.MustParsePrefix("10.7.0.0/24")
	if _, err := clients[0].SetTrunks(t.Context(), w); err == nil || !strings.Contains(err.Error(), "10.9.8.0/24 already") {
		t.Errorf("another subnet: %v", err)
	}
	if _, err := clients[0].SetTrunks(t.Context(), Trunks{}); err == nil {
		t.Error("no subnet is taken for one")
	}
	if err := nodes[0].Release(); err != nil {
		t.Error(err)
	}
	if _, err := clients[0].SetTrunks(t.Context(), wanted(0)); err == nil {
		t.Error("a job that was released was joined")
	}
}
