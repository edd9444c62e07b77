package vnet

import "ore/vnet/ethernet"

// Stats is what a network has counted.
type Stats struct {
	Ports   map[string]ethernet.Stats // by machine
	Gateway ethernet.Stats

	TCPOpen, UDPOpen int    // through the gateway, now
	TCP, UDP         uint64 // since the beginning
	Queries          uint64 // DNS questions passed on to the host's resolvers
	Refused          uint64 // by the policy
	Limited          uint64 // by the limits for one machine
	Failed           uint64 // because the destination did not answer
}

// Stats returns what was counted so far.
func (n *Network) Stats() Stats {
	s := Stats{
		Ports:   map[string]ethernet.Stats{},
		Gateway: n.gateway.port.Stats(),
		TCPOpen: n.flows.now(tcpFlow), UDPOpen: n.flows.now(udpFlow),
		TCP: n.flows.total[tcpFlow].Load(), UDP: n.flows.total[udpFlow].Load(),
		Queries: n.flows.total[queryFlow].Load(),
		Refused: n.flows.refused.Load(), Limited: n.flows.over.Load(), Failed: n.flows.failed.Load(),
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for name, p := range n.ports {
		s.Ports[name] = p.Stats()
	}
	return s
}
