package engine

import "ore/chain/shape"

// Rack is where a host stands. Hosts of one rack are neighbours, and racks on one
// switch are nearer to each other than to others: a blob goes through a rack before
// it goes to the next, so that each link between racks carries it once. Hosts of
// which nothing is known stand together.
type Rack struct {
	Name   string
	Switch string // that the rack's own is connected with
}

// of describes a host in the rack for the planner of transfers.
func (r Rack) of(name string) shape.Host {
	return shape.Host{Name: name, Rack: r.Name, Switch: r.Switch}
}

// rack is where the host stands, as its agent was told.
func (h *host) rack() Rack { return Rack{Name: h.facts.Rack, Switch: h.facts.Switch} }
