package node

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"

	"ore/guest"
)

// FarSocket is the socket in a job's folder that leads to machines of the job on
// other hosts: who asks there for /NAME/v1/wire has the wire of the node that
// machine NAME is on. Whoever made the supervisor serves it, or nobody does.
const FarSocket = "far"

// elsewhere says whether a machine of the job is on another host.
func (n *Node) elsewhere(name string) bool {
	n.mu.Lock()
	known := slices.Contains(n.last.Hosts, name)
	n.mu.Unlock()
	if !known {
		return false
	}
	_, err := os.Stat(filepath.Join(n.config.Dir, FarSocket))
	return err == nil
}

// launchFar runs a command on a machine of another host. What that machine is,
// its own node adds to the environment.
func (n *Node) launchFar(ctx context.Context, name string, c guest.Command) (guest.Exit, error) {
	t := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", filepath.Join(n.config.Dir, FarSocket))
	}}
	defer t.CloseIdleConnections()
	return NewClientOver(&http.Client{Transport: t}, "http://node/"+url.PathEscape(name)).Exec(ctx, name, c)
}
