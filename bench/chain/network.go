package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// prefix begins the names of all namespaces of a bench.
const prefix = "orecb"

// Queue and burst of a shaped link. With a shorter queue TCP does not reach the
// link's rate.
const (
	queue = "4mb"
	burst = "256kb"
)

func space(host int) string   { return fmt.Sprintf("%s%d", prefix, host) }
func address(host int) string { return fmt.Sprintf("10.77.%d.%d", host/250, host%250+1) }

// command runs a program and returns what it said if it went wrong.
func command(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

// up makes the switch and the hosts: 0 is the source.
func (b *bench) up(ctx context.Context) error {
	b.down() // what an earlier run left
	sw := prefix + "sw"
	lines := []string{
		"ip netns add " + sw,
		"ip -n " + sw + " link add br0 type bridge mcast_snooping 0",
		"ip -n " + sw + " link set br0 up",
	}
	for i := range b.hosts + 1 {
		ns, port := space(i), fmt.Sprintf("p%d", i)
		lines = append(lines,
			"ip netns add "+ns,
			fmt.Sprintf("ip -n %s link add eth0 type veth peer name %s netns %s", ns, port, sw),
			fmt.Sprintf("ip -n %s addr add %s/16 broadcast + dev eth0", ns, address(i)),
			fmt.Sprintf("ip -n %s link set eth0 up", ns),
			fmt.Sprintf("ip -n %s link set lo up", ns),
			fmt.Sprintf("ip -n %s route add 224.0.0.0/4 dev eth0", ns),
			fmt.Sprintf("ip -n %s link set %s master br0 up", sw, port),
		)
	}
	for _, l := range lines {
		if err := command(ctx, strings.Fields(l)...); err != nil {
			return err
		}
	}
	for i := range b.hosts + 1 {
		if err := b.shape(ctx, i, b.rate); err != nil {
			return err
		}
	}
	return nil
}

// shape gives a host's link a rate, both ways.
func (b *bench) shape(ctx context.Context, host int, rate float64) error {
	const form = "tc -n %s qdisc replace dev %s root tbf rate %.0fkbit burst " + burst + " limit " + queue
	for _, end := range [][2]string{{space(host), "eth0"}, {prefix + "sw", fmt.Sprintf("p%d", host)}} {
		if err := command(ctx, strings.Fields(fmt.Sprintf(form, end[0], end[1], rate*1000))...); err != nil {
			return err
		}
	}
	return nil
}

// down removes all namespaces of a bench.
func (b *bench) down() error {
	out, err := exec.Command("ip", "netns", "list").Output()
	if err != nil {
		return err
	}
	for _, l := range strings.Split(string(out), "\n") {
		if name, _, _ := strings.Cut(l, " "); strings.HasPrefix(name, prefix) {
			if err := exec.Command("ip", "netns", "del", name).Run(); err != nil {
				return fmt.Errorf("remove namespace %s: %w", name, err)
			}
		}
	}
	return nil
}

// afterwards bounds how long a killed command's output is waited for.
const afterwards = 5 * time.Second

// in makes a command that runs at a host. At the end of ctx all that it has
// started is killed, too.
func in(ctx context.Context, host int, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", space(host)}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = afterwards
	return cmd
}

// iperf measures what one TCP stream gets from the source to a receiver.
func (b *bench) iperf(ctx context.Context) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	server := in(ctx, 1, "iperf3", "-s", "-1")
	if err := server.Start(); err != nil {
		return 0, err
	}
	defer server.Wait()
	defer cancel()
	for ctx.Err() == nil {
		// Until the server listens, this ends without a rate; and not always
		// with an exit code that says so.
		out, err := in(ctx, 0, "iperf3", "-c", address(1), "-t", "4", "-O", "1", "-J").Output()
		if rate := received(out); err == nil && rate > 0 {
			return rate / 8, nil
		}
		settle(ctx)
	}
	return 0, fmt.Errorf("iperf3: no byte came through the shaped links: %w", ctx.Err())
}

// received takes the rate at the receiver out of iperf3's report.
func received(report []byte) float64 {
	var r struct {
		End struct {
			Received struct {
				Rate float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal(report, &r); err != nil {
		return 0
	}
	return r.End.Received.Rate
}
