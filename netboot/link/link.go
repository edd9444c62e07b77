// Package link opens sockets that belong to one network interface.
//
// A server that boots machines must never speak on a network that it was not
// told of: a DHCP answer on the wrong one takes strangers' machines off the
// net. So every socket of package netboot is bound to its interface by the
// kernel (SO_BINDTODEVICE, socket(7)): nothing that comes in by another one
// reaches it, and nothing that it sends leaves by another one, whatever the
// routing table says.
//
// Only IPv4 is served: the firmware of machines (PXE 2.1, UEFI) falls back to it
// everywhere.
package link

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Interface is one network interface with the IPv4 address that is used on it.
type Interface struct {
	Name string
	MTU  int
	MAC  net.HardwareAddr
	Net  netip.Prefix // the interface's own address, with the length of its network's prefix
}

// Find returns the interface called name with its first IPv4 address.
func Find(name string) (Interface, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return Interface{}, fmt.Errorf("interface %s: %w: give one of ip link's names", name, err)
	}
	if i.Flags&net.FlagUp == 0 {
		return Interface{}, fmt.Errorf("interface %s: is down: ip link set %s up", name, name)
	}
	addresses, err := i.Addrs()
	if err != nil {
		return Interface{}, fmt.Errorf("interface %s: addresses: %w", name, err)
	}
	for _, a := range addresses {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && p.Addr().Is4() {
			return Interface{Name: name, MTU: i.MTU, MAC: i.HardwareAddr, Net: p}, nil
		}
	}
	return Interface{}, fmt.Errorf("interface %s: has no IPv4 address: ip address add ADDRESS/LENGTH dev %s", name, name)
}

// Addr returns the interface's own address.
func (i Interface) Addr() netip.Addr { return i.Net.Addr() }

// Broadcast returns the address that all on the interface's network hear.
func (i Interface) Broadcast() netip.Addr {
	b := i.Net.Addr().As4()
	for bit := i.Net.Bits(); bit < 32; bit++ {
		b[bit/8] |= 1 << (7 - bit%8)
	}
	return netip.AddrFrom4(b)
}

// Bind makes a socket the interface's; it is for a Control field of package net.
func (i Interface) Bind(_, _ string, c syscall.RawConn) error {
	var err error
	control := c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), i.Name) })
	if control != nil {
		return control
	}
	return err
}

// bindShared is Bind for a port that a client of this host may hold too.
func (i Interface) bindShared(network, address string, c syscall.RawConn) error {
	var err error
	control := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	})
	if control != nil {
		return control
	}
	if err != nil {
		return err
	}
	return i.Bind(network, address, c)
}

// ListenUDP opens a datagram socket at port of addr; the unspecified address
// takes broadcasts too, of this interface only.
func (i Interface) ListenUDP(ctx context.Context, addr netip.Addr, port uint16) (*net.UDPConn, error) {
	return i.listenUDP(ctx, net.ListenConfig{Control: i.Bind}, netip.AddrPortFrom(addr, port))
}

// ShareUDP is ListenUDP for a port that a program of this host may hold as well,
// as its DHCP client does with port 68: both hear broadcasts.
func (i Interface) ShareUDP(ctx context.Context, port uint16) (*net.UDPConn, error) {
	return i.listenUDP(ctx, net.ListenConfig{Control: i.bindShared}, netip.AddrPortFrom(netip.IPv4Unspecified(), port))
}

func (i Interface) listenUDP(ctx context.Context, l net.ListenConfig, at netip.AddrPort) (*net.UDPConn, error) {
	c, err := l.ListenPacket(ctx, "udp4", at.String())
	if err != nil {
		return nil, fmt.Errorf("interface %s: UDP port %d: %w", i.Name, at.Port(), err)
	}
	return c.(*net.UDPConn), nil
}

// DialUDP opens a datagram socket of a port of its own that hears only peer.
func (i Interface) DialUDP(ctx context.Context, peer netip.AddrPort) (*net.UDPConn, error) {
	d := net.Dialer{Control: i.Bind, LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(i.Addr(), 0))}
	c, err := d.DialContext(ctx, "udp4", peer.String())
	if err != nil {
		return nil, fmt.Errorf("interface %s: UDP to %s: %w", i.Name, peer, err)
	}
	return c.(*net.UDPConn), nil
}

// ListenTCP listens at port of the interface's own address; port 0 takes any.
func (i Interface) ListenTCP(ctx context.Context, port uint16) (net.Listener, error) {
	l := net.ListenConfig{Control: i.Bind}
	c, err := l.Listen(ctx, "tcp4", net.JoinHostPort(i.Addr().String(), strconv.Itoa(int(port))))
	if err != nil {
		return nil, fmt.Errorf("interface %s: TCP port %d: %w", i.Name, port, err)
	}
	return c, nil
}

// Until closes c when ctx ends. The function that it returns closes c at once;
// when that has returned, c is closed, whoever did it.
func Until(ctx context.Context, c io.Closer) (closeNow func()) {
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		c.Close()
	})
	return sync.OnceFunc(func() {
		if stop() {
			c.Close()
			return
		}
		<-closed
	})
}
