package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"

	"ore"
	"ore/vnet/trunk"
)

// Trunks says how a host's network is joined with those of the job's other
// hosts. It is the whole truth each time: what is not in it any more ends. The
// first one, which may be without peers, opens the port that the others are
// then told; it may come before the first Start.
type Trunks struct {
	Network ore.Network    // as in Start
	Subnet  netip.Prefix   // as in Start
	ID      string         // of this host in the job
	Listen  netip.AddrPort // for UDP and TCP: an address at which the others reach this host; port 0 takes a free one
	Peers   []trunk.Peer   // the job's other hosts, with what runs there
}

// Joined is the answer to Trunks.
type Joined struct {
	Address netip.AddrPort // where this host's links are
}

// SetTrunks joins the network with those of other hosts, and returns where.
func (n *Node) SetTrunks(t Trunks) (Joined, error) {
	if !t.Subnet.IsValid() {
		return Joined{}, errors.New("join hosts: no subnet: all hosts of the job must be given the same")
	}
	n.trunking.Lock()
	defer n.trunking.Unlock()
	network, err := n.join(Start{Network: t.Network, Subnet: t.Subnet})
	if err != nil {
		return Joined{}, err
	}
	if network.Prefix() != t.Subnet.Masked() {
		return Joined{}, fmt.Errorf("join hosts: subnet %v: the job's network here is %v already", t.Subnet, network.Prefix())
	}
	n.mu.Lock()
	mesh := n.mesh
	n.mu.Unlock()
	if mesh == nil {
		mesh, err = trunk.New(trunk.Config{Network: network, ID: t.ID, Listen: t.Listen, Log: n.log})
		if err != nil {
			return Joined{}, err
		}
		n.mu.Lock()
		gone := n.gone
		if !gone {
			n.mesh = mesh
		}
		n.mu.Unlock()
		if gone {
			return Joined{}, errors.Join(errors.New("the job was released"), mesh.Close())
		}
	}
	if err := mesh.Set(t.Peers); err != nil {
		return Joined{}, err
	}
	return Joined{Address: mesh.Address()}, nil
}

// Trunks tells of the links to other hosts. With measure it finds the rate of
// each first, one after the other.
func (n *Node) Trunks(ctx context.Context, measure bool) ([]trunk.Stats, error) {
	n.mu.Lock()
	mesh := n.mesh
	n.mu.Unlock()
	if mesh == nil {
		return nil, nil
	}
	all := mesh.Stats()
	if !measure {
		return all, nil
	}
	for _, s := range all {
		if !s.Up {
			continue
		}
		if err := mesh.Measure(ctx, s.ID); err != nil {
			return mesh.Stats(), err
		}
	}
	return mesh.Stats(), nil
}

// serveTrunks adds what concerns links to other hosts to the node's interface.
func (n *Node) serveTrunks(mux *http.ServeMux) {
	mux.HandleFunc("PUT /v1/trunks", func(w http.ResponseWriter, r *http.Request) {
		var t Trunks
		var j Joined
		err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxStart)).Decode(&t)
		if err == nil {
			j, err = n.SetTrunks(t)
		}
		reply(w, j, err)
	})
	mux.HandleFunc("GET /v1/trunks", func(w http.ResponseWriter, r *http.Request) {
		s, err := n.Trunks(r.Context(), r.FormValue("measure") != "")
		reply(w, s, err)
	})
}

// SetTrunks joins the node's network with those of the job's other hosts.
func (c *Client) SetTrunks(ctx context.Context, t Trunks) (Joined, error) {
	var j Joined
	err := c.call(ctx, http.MethodPut, "/v1/trunks", t, &j)
	return j, err
}

// Trunks tells of the node's links to other hosts; measuring their rates uses
// each for a moment as much as it can.
func (c *Client) Trunks(ctx context.Context, measure bool) ([]trunk.Stats, error) {
	path := "/v1/trunks"
	if measure {
		path += "?measure=1"
	}
	var all []trunk.Stats
	err := c.call(ctx, http.MethodGet, path, nil, &all)
	return all, err
}
