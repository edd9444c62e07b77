package testbed

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// spaces is where ip-netns(8) keeps the names of network namespaces.
const spaces = "/run/netns"

// network is where beds take their subnets from, and bits how long the prefix
// of each is: sixteen beds of up to 4,000 hosts.
const (
	network = "10.77.0.0/16"
	bits    = 20
)

// Places in a subnet.
const (
	headPlace  = 1
	ownPlace   = 2 // this host, with Config.Join
	firstPlace = 10
)

// Bounds of a shaped link. With a shorter queue TCP does not reach the link's
// rate; the burst lets a slow timer keep the rate up, and is small beside any
// blob worth a measurement.
const (
	queueBytes   = 4 << 20
	burstBytes   = 256 << 10
	leastBurst   = 16 << 10
	burstSeconds = 0.02
	// delayPackets is netem's own queue, in packets: what 10 Gbit/s have under
	// way in a tenth of a second.
	delayPackets = 100_000
)

// switchName stands among the hosts' names for the switch.
const switchName = "switch"

// space is the name of a host's network namespace.
func space(bed, host string) string { return "orebed." + bed + "." + host }

// port is the name of a host's port at the switch: Linux allows 15 characters.
func port(host string) string { return "p-" + host }

// place returns the n-th address of a subnet.
func place(subnet netip.Prefix, n int) netip.Addr {
	b := subnet.Addr().As4()
	v := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	v += uint32(n)
	return netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
}

// freeSubnet returns one that no bed has. The caller holds the lock of all.
func freeSubnet(taken []netip.Prefix) (netip.Prefix, error) {
	all := netip.MustParsePrefix(network)
next:
	for p := netip.PrefixFrom(all.Addr(), bits); all.Contains(p.Addr()); p = netip.PrefixFrom(place(p, 1<<(32-bits)), bits) {
		for _, t := range taken {
			if t == p {
				continue next
			}
		}
		return p, nil
	}
	return netip.Prefix{}, fmt.Errorf("no subnet of %s is free: take a bed down: see 'ore testbed ls'", network)
}

// run runs a program and puts what it said into the error. The program dies with
// this process: it would make things that a sweep has just removed.
func run(ctx context.Context, stdin string, args ...string) error {
	runtime.LockOSThread() // the signal is sent when the thread ends
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// wire makes the namespaces and the links of s, and shapes them.
func wire(ctx context.Context, s state) error {
	sw := space(s.Name, switchName)
	names := []string{sw}
	links := []string{"link add br0 type bridge mcast_snooping 0", "link set br0 up"}
	for _, h := range s.Hosts {
		names = append(names, space(s.Name, h.Name))
		links = append(links,
			fmt.Sprintf("link add %s type veth peer name eth0 netns %s", port(h.Name), space(s.Name, h.Name)),
			fmt.Sprintf("link set %s master br0 up", port(h.Name)))
	}
	var adds strings.Builder
	for _, n := range names {
		fmt.Fprintf(&adds, "netns add %s\n", n)
	}
	if err := run(ctx, adds.String(), "ip", "-batch", "-"); err != nil {
		return err
	}
	if err := run(ctx, strings.Join(links, "\n")+"\n", "ip", "-n", sw, "-batch", "-"); err != nil {
		return err
	}
	for _, h := range s.Hosts {
		up := fmt.Sprintf("link set lo up\naddr add %s/%d broadcast + dev eth0\nlink set eth0 up\nroute add 224.0.0.0/4 dev eth0\n", h.Address, bits)
		if err := run(ctx, up, "ip", "-n", space(s.Name, h.Name), "-batch", "-"); err != nil {
			return err
		}
		if err := shape(ctx, s, h.Name, s.Link); err != nil {
			return err
		}
	}
	if s.Join {
		return join(ctx, s)
	}
	return nil
}

// ownPort is the name of this host's own interface at a bed's switch.
func ownPort(subnet netip.Prefix) string {
	b := subnet.Addr().As4()
	return fmt.Sprintf("orebed%d", b[2])
}

// join gives this host a port of the switch; leave takes it away.
func join(ctx context.Context, s state) error {
	own := ownPort(s.Subnet)
	sw := space(s.Name, switchName)
	for _, line := range []string{
		fmt.Sprintf("ip -n %s link add p-own type veth peer name %s netns %d", sw, own, os.Getpid()),
		fmt.Sprintf("ip addr add %s/%d broadcast + dev %s", place(s.Subnet, ownPlace), bits, own),
		fmt.Sprintf("ip link set %s up", own),
		fmt.Sprintf("ip -n %s link set p-own master br0 up", sw),
	} {
		if err := run(ctx, "", strings.Fields(line)...); err != nil {
			return err
		}
	}
	if s.Link == 0 {
		return nil
	}
	if err := run(ctx, bucket(own, "root", s.Link), "tc", "-batch", "-"); err != nil {
		return err
	}
	return run(ctx, bucket("p-own", "root", s.Link), "tc", "-n", sw, "-batch", "-")
}

// leave deletes this host's port of a switch, if it has one. It would go with the
// switch's namespace, but some time after that has lost its name: the next bed,
// with the same subnet, would find a port that is there already.
func leave(sw string) error {
	err := run(context.Background(), "", "ip", "-n", sw, "link", "del", "p-own")
	if err != nil && strings.Contains(err.Error(), "Cannot find device") {
		return nil
	}
	return err
}

// shape gives a host's link a rate, both ways, and what the host sends its delay.
func shape(ctx context.Context, s state, host string, rate int64) error {
	at := "root"
	var near string
	if s.Delay > 0 {
		near = fmt.Sprintf("qdisc replace dev eth0 root handle 1: netem delay %dus limit %d\n", s.Delay/time.Microsecond, delayPackets)
		at = "parent 1:1 handle 10:"
	}
	var far string
	if rate > 0 {
		near += bucket("eth0", at, rate)
		far = bucket(port(host), "root", rate)
	}
	if near != "" {
		if err := run(ctx, near, "tc", "-n", space(s.Name, host), "-batch", "-"); err != nil {
			if s.Delay > 0 && strings.Contains(err.Error(), "qdisc kind is unknown") {
				return fmt.Errorf("delay on a link: this kernel has no netem: load the module sch_netem, or leave --delay out: %w", err)
			}
			return err
		}
	}
	if far == "" {
		return nil
	}
	return run(ctx, far, "tc", "-n", space(s.Name, switchName), "-batch", "-")
}

// bucket is the line that makes a token bucket, for tc.
func bucket(device, at string, rate int64) string {
	burst := min(burstBytes, max(leastBurst, int64(float64(rate)/8*burstSeconds)))
	return fmt.Sprintf("qdisc replace dev %s %s tbf rate %dbit burst %d limit %d\n", device, at, rate, burst, queueBytes+burst)
}

// removeSpaces ends all processes in the network namespaces of a bed, and removes
// these, and with them the bed's links.
func removeSpaces(bed string) error {
	all, err := filepath.Glob(filepath.Join(spaces, space(bed, "*")))
	if err != nil {
		return err
	}
	if err := evict(all); err != nil {
		return err
	}
	if sw := space(bed, switchName); slices.Contains(all, filepath.Join(spaces, sw)) {
		if err := leave(sw); err != nil {
			return err
		}
	}
	var lines strings.Builder
	for _, p := range all {
		fmt.Fprintf(&lines, "netns del %s\n", filepath.Base(p))
	}
	if lines.Len() == 0 {
		return nil
	}
	return run(context.Background(), lines.String(), "ip", "-batch", "-")
}
