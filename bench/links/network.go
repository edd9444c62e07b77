package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// prefix begins the names of all namespaces of this program.
const prefix = "orelk-"

// The namespaces beside the hosts, which are numbers from 1.
const (
	hub     = prefix + "hub"
	cacher  = prefix + "cache"
	mirrors = prefix + "mirror"
)

const mirrorAddress = "10.79.1.1"

// mostLinks is how many addresses the cache has: each is a link of its own to
// the hosts, so that what is learned of one rate is not taken for another.
const mostLinks = 40

func hostSpace(host int) string { return fmt.Sprint(prefix, host) }
func cacheAddress(k int) string { return fmt.Sprintf("10.79.2.%d", k+1) }

// run runs a program and returns what it said if it went wrong.
func run(ctx context.Context, line string) error {
	args := strings.Fields(line)
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", line, err, bytes.TrimSpace(out))
	}
	return nil
}

// up makes a switch with a cache, a mirror and hosts around it.
func up(ctx context.Context, hosts int) error {
	if err := down(); err != nil { // what an earlier run left
		return err
	}
	lines := []string{
		"ip netns add " + hub,
		"ip -n " + hub + " link add br0 type bridge mcast_snooping 0",
		"ip -n " + hub + " link set br0 up",
	}
	attach := func(ns, port string, addresses ...string) {
		lines = append(lines, "ip netns add "+ns, "ip -n "+ns+" link set lo up",
			fmt.Sprintf("ip -n %s link add eth0 type veth peer name %s netns %s", ns, port, hub))
		for _, a := range addresses {
			lines = append(lines, fmt.Sprintf("ip -n %s addr add %s/16 dev eth0", ns, a))
		}
		lines = append(lines, "ip -n "+ns+" link set eth0 up", fmt.Sprintf("ip -n %s link set %s master br0 up", hub, port))
	}
	var all []string
	for k := range mostLinks {
		all = append(all, cacheAddress(k))
	}
	attach(cacher, "cache", all...)
	attach(mirrors, "mirror", mirrorAddress)
	for i := range hosts {
		attach(hostSpace(i+1), fmt.Sprint("h", i+1), fmt.Sprintf("10.79.3.%d", i+1))
	}
	for _, l := range lines {
		if err := run(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// down removes all namespaces of this program.
func down() error {
	out, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		return err
	}
	var errs []error
	for l := range strings.Lines(string(out)) {
		name, _, _ := strings.Cut(strings.TrimSpace(l), " ")
		if strings.HasPrefix(name, prefix) {
			errs = append(errs, run(context.Background(), "ip netns del "+name))
		}
	}
	return errors.Join(errs...)
}

// Bounds of a shaped link. The burst is what 4 ms carry, since a larger one
// would pass small images unshaped, and no less than some packets; the queue is
// a tenth of a second, since with a shorter one TCP does not reach the rate.
const (
	burstSeconds = 0.004
	leastBurst   = 16 << 10
	queueSeconds = 0.1
	leastQueue   = 64 << 10
)

// shape gives the link between the cache and the switch a rate in bits a
// second, both ways.
func shape(ctx context.Context, rate float64) error {
	burst := max(leastBurst, rate/8*burstSeconds)
	queue := max(leastQueue, rate/8*queueSeconds) + burst
	for _, end := range [][2]string{{cacher, "eth0"}, {hub, "cache"}} {
		line := fmt.Sprintf("tc -n %s qdisc replace dev %s root tbf rate %.0fbit burst %.0f limit %.0f", end[0], end[1], rate, burst, queue)
		if err := run(ctx, line); err != nil {
			return err
		}
	}
	return nil
}

// within calls f in a network namespace: what it opens and starts is there.
func within(space string, f func() error) error {
	done := make(chan error)
	go func() {
		// The thread is never unlocked, so that it ends with this goroutine and
		// nothing else ever runs on it.
		runtime.LockOSThread()
		done <- func() error {
			ns, err := os.Open(filepath.Join("/run/netns", space))
			if err != nil {
				return err
			}
			defer ns.Close()
			if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter namespace %s: %w", space, err)
			}
			return f()
		}()
	}()
	return <-done
}
