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

// of describes a host in the rack for the planner of transfers, with a link of so many
// bytes a second; 0 where that is not known.
func (r Rack) of(name string, link float64) shape.Host {
	return shape.Host{Name: name, Rack: r.Name, Switch: r.Switch, Up: link, Down: link}
}

// place describes the host for the planner of transfers, by what its agent said.
func (h *host) place(name string) shape.Host { return h.rack().of(name, max(0, h.facts.Link)) }

// rack is where the host stands, as its agent was told.
func (h *host) rack() Rack { return Rack{Name: h.facts.Rack, Switch: h.facts.Switch} }
