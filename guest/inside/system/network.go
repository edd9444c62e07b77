package system

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setUpNetwork gives the machine its address. It is done with the old ioctls
// of netdevice(7) and route in rt(7): netlink would say no more and make this
// program twice as large.
func (b *Machine) setUpNetwork() error {
	fd, _, errno := unix.RawSyscall(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if errno != 0 {
		return fmt.Errorf("socket: %w", errno)
	}
	s := links{fd}
	defer closeFD(int(fd))
	if err := s.up("lo"); err != nil {
		return err
	}
	// Ordinary users may ping, as systemd has it on Debian.
	writeFile("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")
	n := b.Identity.Network
	if n == nil {
		return nil
	}
	var name string
	err := await("network interface "+n.MAC, func() bool {
		name = s.find(n.MAC)
		return name != ""
	})
	if err != nil {
		return err
	}
	prefix, err := netip.ParsePrefix(n.Address)
	if err != nil || !prefix.Addr().Is4() {
		return fmt.Errorf("address %q: not IPv4 with a prefix length", n.Address)
	}
	// There is no IPv6 in a job's network; without this, programs would try
	// it first and wait.
	writeFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", "1")
	if err := s.address(name, prefix, n.MTU); err != nil {
		return err
	}
	if err := s.up(name); err != nil {
		return err
	}
	if n.Gateway == "" {
		return nil
	}
	gw, err := netip.ParseAddr(n.Gateway)
	if err != nil || !gw.Is4() {
		return fmt.Errorf("gateway %q: not an IPv4 address", n.Gateway)
	}
	return s.defaultRoute(gw)
}

// links asks about network interfaces and changes them, over a socket.
type links struct{ fd uintptr }

// request is struct ifreq of the kernel's <linux/if.h> on 64 bits.
type request struct {
	name [unix.IFNAMSIZ]byte
	data [24]byte
}

func (s links) ioctl(op uintptr, r *request) error {
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, s.fd, op, uintptr(unsafe.Pointer(r)))
	if errno != 0 {
		return errno
	}
	return nil
}

// set makes a request about the interface name; set fills in what is wanted.
func (s links) set(op uintptr, name string, set func(data []byte)) error {
	var r request
	copy(r.name[:len(r.name)-1], name)
	set(r.data[:])
	if err := s.ioctl(op, &r); err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	return nil
}

// maxInterfaces is how far the kernel's numbers of interfaces are followed: a
// machine has lo, its own, and what the kernel makes by itself for tunnels.
const maxInterfaces = 64

// find finds the interface with a hardware address, or the first that has one.
func (s links) find(mac string) string {
	for i := range uint32(maxInterfaces) {
		var r request
		binary.NativeEndian.PutUint32(r.data[:], i+1)
		if s.ioctl(unix.SIOCGIFNAME, &r) != nil || s.ioctl(unix.SIOCGIFHWADDR, &r) != nil {
			continue
		}
		// The data is a sockaddr now: the type of hardware, then its address.
		if binary.NativeEndian.Uint16(r.data[:]) != unix.ARPHRD_ETHER {
			continue
		}
		if have := net.HardwareAddr(r.data[2:8]).String(); mac == "" || strings.EqualFold(have, mac) {
			return unix.ByteSliceToString(r.name[:])
		}
	}
	return ""
}

func (s links) up(name string) error {
	return s.set(unix.SIOCSIFFLAGS, name, func(data []byte) {
		binary.NativeEndian.PutUint16(data, unix.IFF_UP|unix.IFF_RUNNING)
	})
}

func (s links) address(name string, p netip.Prefix, mtu int) error {
	// The data is a sockaddr_in: family, port, address.
	put := func(a [4]byte) func([]byte) {
		return func(data []byte) {
			binary.NativeEndian.PutUint16(data, unix.AF_INET)
			copy(data[4:8], a[:])
		}
	}
	if err := s.set(unix.SIOCSIFADDR, name, put(p.Addr().As4())); err != nil {
		return err
	}
	var mask [4]byte
	binary.BigEndian.PutUint32(mask[:], ^uint32(0)<<(32-p.Bits()))
	err := s.set(unix.SIOCSIFNETMASK, name, put(mask))
	if err != nil || mtu == 0 {
		return err
	}
	err = s.set(unix.SIOCSIFMTU, name, func(data []byte) { binary.NativeEndian.PutUint32(data, uint32(mtu)) })
	if errors.Is(err, unix.EINVAL) {
		return nil // the driver carries less; its own size is right then
	}
	return err
}

// route is struct rtentry of the kernel's <linux/route.h> on 64 bits.
type route struct {
	_                 uint64
	dst, gateway      unix.RawSockaddrInet4
	genmask           unix.RawSockaddrInet4
	flags             uint16
	_                 int16
	_                 [4]byte
	_                 uint64
	_                 uint64
	metric            int16
	_                 [6]byte
	dev               uintptr
	mtu, window, irtt uint64
}

func (s links) defaultRoute(gw netip.Addr) error {
	r := route{flags: unix.RTF_UP | unix.RTF_GATEWAY}
	r.dst.Family, r.gateway.Family, r.genmask.Family = unix.AF_INET, unix.AF_INET, unix.AF_INET
	r.gateway.Addr = gw.As4()
	_, _, errno := unix.RawSyscall(unix.SYS_IOCTL, s.fd, unix.SIOCADDRT, uintptr(unsafe.Pointer(&r)))
	if errno != 0 {
		return fmt.Errorf("default route over %s: %w", gw, errno)
	}
	return nil
}
