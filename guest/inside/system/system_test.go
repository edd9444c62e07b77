package system

import (
	"testing"

	"ore/guest"
)

func TestHostsAndResolver(t *testing.T) {
	hosts := []guest.Host{{Name: "m0", IP: "10.0.0.2"}, {Name: "m1", IP: "10.0.0.3"}}
	network := &guest.Network{Search: "job.internal", DNS: []string{"10.0.0.1", "10.0.0.254"}}
	const local = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
	for _, c := range []struct {
		summary         string
		id              guest.Identity
		hosts, resolver string
	}{
		{"alone", guest.Identity{Name: "m0"}, local + "127.0.1.1\tm0\n", ""},
		{"two without a network", guest.Identity{Name: "m0", Hosts: hosts}, local + "10.0.0.2\tm0\n10.0.0.3\tm1\n", ""},
		{"two", guest.Identity{Name: "m1", Hosts: hosts, Network: network},
			local + "10.0.0.2\tm0.job.internal m0\n10.0.0.3\tm1.job.internal m1\n",
			"search job.internal\nnameserver 10.0.0.1\nnameserver 10.0.0.254\n"},
	} {
		m := &Machine{Identity: c.id}
		if got := m.hosts(); got != c.hosts {
			t.Errorf("%s: hosts %q", c.summary, got)
		}
		if got := m.resolver(); got != c.resolver {
			t.Errorf("%s: resolv.conf %q", c.summary, got)
		}
	}
}
