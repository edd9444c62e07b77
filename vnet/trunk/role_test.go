package trunk

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ore/testbed"
	"ore/vnet"
)

// roleVariable has this test's program run as one host of several: with one
// machine, which is a tap device in the host's own network namespace, so that
// real programs and the real kernel's TCP use the network.
const roleVariable = "ORE_TRUNK_TEST_ROLE"

// role is what such a program is told.
type role struct {
	ID     string
	Listen netip.AddrPort
	Rank   int
	MTU    int
}

// order is what it is asked on its input, one a line; the answer is a report.
type order struct {
	Peers   []Peer
	Measure string
}

type report struct {
	Address netip.AddrPort
	Stats   []Stats
	CPU     time.Duration // of the program so far
	Error   string
}

const tapName = "ore0"

// play is the program.
func play(text string) error {
	var r role
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return err
	}
	n, err := vnet.New(vnet.Config{Subnet: subnet, MTU: r.MTU, Socket: unix.SOCK_SEQPACKET})
	if err != nil {
		return err
	}
	defer n.Close()
	if err := attachTap(n, r.Rank); err != nil {
		return err
	}
	m, err := New(Config{Network: n, ID: r.ID, Listen: r.Listen})
	if err != nil {
		return err
	}
	defer m.Close()
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var o order
		if err := in.Decode(&o); err != nil {
			return nil // who asked is gone
		}
		a := report{Address: m.Address()}
		if o.Peers != nil {
			err = m.Set(o.Peers)
		} else if o.Measure != "" {
			err = m.Measure(context.Background(), o.Measure)
		}
		if err != nil {
			a.Error = err.Error()
		}
		a.Stats = m.Stats()
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
			return err
		}
		a.CPU = time.Duration(u.Utime.Nano() + u.Stime.Nano())
		if err := out.Encode(a); err != nil {
			return err
		}
	}
}

// attachTap joins a tap device with the port of the machine of a rank.
func attachTap(n *vnet.Network, rank int) error {
	port, a, err := n.AttachAt("m"+strconv.Itoa(rank), rank)
	if err != nil {
		return err
	}
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open /dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(tapName)
	if err != nil {
		return err
	}
	req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return fmt.Errorf("make tap: %w", err)
	}
	for _, args := range [][]string{
		{"link", "set", tapName, "address", a.MAC.String(), "mtu", strconv.Itoa(a.MTU)},
		{"addr", "add", a.Prefix.String(), "dev", tapName}, {"link", "set", tapName, "up"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %v: %w: %s", args, err, out)
		}
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return err
	}
	tap := os.NewFile(uintptr(fd), tapName)
	raw, err := unix.Dup(int(port.Fd()))
	if err != nil {
		return err
	}
	if err := unix.SetNonblock(raw, true); err != nil {
		return err
	}
	f := os.NewFile(uintptr(raw), "port")
	pump := func(to io.Writer, from io.Reader) {
		b := make([]byte, 1<<17)
		for {
			k, err := from.Read(b)
			if err != nil {
				return // the program ends
			}
			_, _ = to.Write(b[:k]) // a device that takes none drops them
		}
	}
	go pump(tap, f)
	go pump(f, tap)
	return nil
}

// player is a program that plays a host on a bed.
type player struct {
	t     testing.TB
	role  role
	name  string // of the bed's host
	in    *json.Encoder
	out   *json.Decoder
	at    netip.AddrPort
	peers []Peer
}

// ask gives an order and returns the report.
func (p *player) ask(o order) report {
	p.t.Helper()
	if err := p.in.Encode(o); err != nil {
		p.t.Fatal(err)
	}
	var r report
	if err := p.out.Decode(&r); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
	if r.Error != "" {
		p.t.Errorf("%s: %s", p.name, r.Error)
	}
	return r
}

// bedOf makes a bed, or says why the test cannot run.
func bedOf(t testing.TB, c testbed.Config) *testbed.Bed {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	b, err := testbed.Up(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Down(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// players starts a program on each numbered host of a bed, and joins them.
func players(t testing.TB, b *testbed.Bed, mtu int) []*player {
	t.Helper()
	info, err := b.Info()
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var all []*player
	for i, h := range info.Hosts[1:] {
		p := &player{t: t, name: h.Name, role: role{ID: h.Name, Listen: netip.AddrPortFrom(h.Address, 0), Rank: i, MTU: mtu}}
		text, err := json.Marshal(p.role)
		if err != nil {
			t.Fatal(err)
		}
		cmd := b.Command(context.Background(), h.Name, exe)
		cmd.Env = append(os.Environ(), roleVariable+"="+string(text))
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { in.Close(); cmd.Wait() })
		p.in, p.out = json.NewEncoder(in), json.NewDecoder(bufio.NewReader(out))
		p.at = p.ask(order{}).Address
		all = append(all, p)
	}
	job := NewKey()
	for _, p := range all {
		for _, o := range all {
			if o != p {
				ip, err := vnet.AddressOf(subnet, o.role.Rank)
				if err != nil {
					t.Fatal(err)
				}
				p.peers = append(p.peers, Peer{ID: o.role.ID, Key: PairKey(job, p.role.ID, o.role.ID), Address: o.at,
					Machines: []vnet.Remote{{Name: "m" + strconv.Itoa(o.role.Rank), IP: ip}}})
			}
		}
		p.ask(order{Peers: p.peers})
	}
	for _, p := range all {
		eventually(t, "all links of "+p.name+" are up", func() bool {
			for _, s := range p.ask(order{}).Stats {
				if !s.Up {
					return false
				}
			}
			return true
		})
	}
	return all
}

// machineIP returns the address of a player's machine.
func (p *player) machineIP() string {
	ip, err := vnet.AddressOf(subnet, p.role.Rank)
	if err != nil {
		p.t.Fatal(err)
	}
	return ip.String()
}

// on runs a command on a host of a bed.
func on(t testing.TB, b *testbed.Bed, host string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := b.Command(ctx, host, args...).CombinedOutput()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("%s: %v: %v: %s", host, args, err, out)
		}
		t.Fatal(err)
	}
	return string(out)
}
