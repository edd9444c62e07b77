// Package ports listens at addresses of the host that a job's ports are published
// at, and says what to do where that cannot be.
//
// An address says what it means: 0.0.0.0 is every IPv4 address of the host and no
// IPv6 one, [::] every IPv6 address and no IPv4 one.
package ports

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// Listen listens at an address such as "127.0.0.1:8080"; port 0 takes a free one.
func Listen(address string) (*net.TCPListener, error) {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, fmt.Errorf("publish %s: %w: use an address and a port, such as 127.0.0.1:8080", address, err)
	}
	family := "tcp6"
	if at.Addr().Is4() {
		family = "tcp4"
	}
	l, err := net.ListenTCP(family, net.TCPAddrFromAddrPort(at))
	if err != nil {
		return nil, fmt.Errorf("publish %s: %w", address, advise(err, at))
	}
	return l, nil
}

// Check says whether Listen would do, now, for each of addresses. Two of them that
// exclude each other are told too.
func Check(addresses []string) (err error) {
	var open []*net.TCPListener
	defer func() {
		for _, l := range open {
			err = errors.Join(err, l.Close())
		}
	}()
	for _, a := range addresses {
		l, err := Listen(a)
		if err != nil {
			return err
		}
		open = append(open, l)
	}
	return nil
}

// advise says what to do about an address where nobody can listen.
func advise(err error, at netip.AddrPort) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("in use%s: choose another port, or 0 for one that is free", holder(at))
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return errors.New("this host has no such address: use one that 'ip address' shows, or 0.0.0.0 for all of them")
	case errors.Is(err, syscall.EACCES):
		return errors.New("only root may listen at ports as low: choose one from 1024 on, or have root lower net.ipv4.ip_unprivileged_port_start")
	case errors.Is(err, syscall.EAFNOSUPPORT):
		return errors.New("this host has no addresses of that kind: use another kind")
	}
	return err
}
