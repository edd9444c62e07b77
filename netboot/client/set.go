package client

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// socket is what the calls of netdevice(7) are made on.
func socket() (int, error) {
	return unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
}

// switchOn brings an interface up.
func switchOn(name string) error {
	s, err := socket()
	if err != nil {
		return err
	}
	defer unix.Close(s)
	r, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(s, unix.SIOCGIFFLAGS, r); err != nil {
		return err
	}
	r.SetUint16(r.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, r)
}

// apply sets what a server gave.
func (l Lease) apply() error {
	s, err := socket()
	if err != nil {
		return err
	}
	defer unix.Close(s)
	var mask [4]byte
	binary.BigEndian.PutUint32(mask[:], ^uint32(0)<<(32-l.Address.Bits()))
	for _, set := range []struct {
		call  uint
		value [4]byte
	}{{unix.SIOCSIFADDR, l.Address.Addr().As4()}, {unix.SIOCSIFNETMASK, mask}} {
		r, err := unix.NewIfreq(l.Interface)
		if err == nil {
			err = r.SetInet4Addr(set.value[:])
		}
		if err == nil {
			err = unix.IoctlIfreq(s, set.call, r)
		}
		if err != nil {
			return fmt.Errorf("set %s on %s: %w", l.Address, l.Interface, err)
		}
	}
	if !l.Router.IsValid() {
		return nil
	}
	return route(s, l.Router)
}

// entry is struct rtentry of the kernel's <linux/route.h> on 64 bits.
type entry struct {
	_                 uint64
	dst, gateway      unix.RawSockaddrInet4
	genmask           unix.RawSockaddrInet4
	flags             uint16
	_                 [6]byte
	_                 [2]uint64
	metric            int16
	_                 [6]byte
	dev               uintptr
	mtu, window, irtt uint64
}

// route sets the way to everywhere else.
func route(s int, over netip.Addr) error {
	e := entry{flags: unix.RTF_UP | unix.RTF_GATEWAY}
	e.dst.Family, e.gateway.Family, e.genmask.Family = unix.AF_INET, unix.AF_INET, unix.AF_INET
	e.gateway.Addr = over.As4()
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(s), unix.SIOCADDRT, uintptr(unsafe.Pointer(&e)))
	if errno != 0 && errno != unix.EEXIST {
		return fmt.Errorf("set the route over %s: %w", over, errno)
	}
	return nil
}
