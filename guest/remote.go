package guest

import "ore/guest/wire"

// Launch returns c as the request that asks a peer to run it on machine, and
// the streams to connect it with: what [wire.Session.Call] takes. A node's
// client uses it, since it reaches machines only through their node.
func (c Command) Launch(machine string) (wire.Request, wire.Streams) {
	q, s := c.request(wire.Launch)
	q.To = machine
	return q, s
}
