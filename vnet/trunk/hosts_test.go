package trunk

import (
	"testing"

	"ore/testbed"
	"ore/vnet"
)

// TestRealHosts joins four hosts in network namespaces: their machines reach each
// other with packets of all sizes, and each link's MTU is that of the veth.
func TestRealHosts(t *testing.T) {
	b := bedOf(t, testbed.Config{Hosts: 4})
	all := players(t, b, vnet.DefaultMTU)
	for _, from := range all {
		for _, to := range all {
			if from == to {
				continue
			}
			for _, size := range []string{"56", "1472", "15000", "40000"} { // the last in IP fragments
				on(t, b, from.name, "ping", "-n", "-c", "2", "-i", "0.01", "-W", "5", "-s", size, to.machineIP())
			}
		}
	}
	for _, p := range all {
		eventually(t, "the MTU is found", func() bool {
			for _, s := range p.ask(order{}).Stats {
				if s.MTU != 1500 {
					return false
				}
			}
			return true
		})
		for _, s := range p.ask(order{}).Stats {
			delete(s.Dropped, "stale") // an answer that came twice, on a slow machine
			if !s.Up || s.Way != "udp" || s.RTT <= 0 || len(s.Dropped) > 0 {
				t.Errorf("%s: %+v", p.name, s)
			}
		}
	}
}
