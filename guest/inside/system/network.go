package system

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// setUpNetwork gives the machine its address. It is done with the old ioctls
// of netdevice(7) and route in rt(7): netlink would say no more and make this
// program twice as large.
func (b *Machine) setUpNetwork() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := linkUp(fd, "lo"); err != nil {
		return err
	}
	// Ordinary users may ping, as systemd has it on Debian.
	os.WriteFile("/proc/sys/net/ipv4/ping_group_range", []byte("0 2147483647"), 0o644)
	n := b.Identity.Network
	if n == nil {
		return nil
	}
	var name string
	err = await("network interface "+n.MAC, func() bool {
		name = interfaceOf(n.MAC)
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
	os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", name, "disable_ipv6"), []byte("1"), 0o644)
	if err := address(fd, name, prefix, n.MTU); err != nil {
		return err
	}
	if err := linkUp(fd, name); err != nil {
		return err
	}
	if n.Gateway == "" {
		return nil
	}
	gw, err := netip.ParseAddr(n.Gateway)
	if err != nil || !gw.Is4() {
		return fmt.Errorf("gateway %q: not an IPv4 address", n.Gateway)
	}
	return defaultRoute(fd, gw)
}

// interfaceOf finds the interface with a hardware address, or the only one.
func interfaceOf(mac string) string {
	entries, _ := os.ReadDir("/sys/class/net")
	found := ""
	for _, e := range entries {
		b, _ := os.ReadFile(filepath.Join("/sys/class/net", e.Name(), "address"))
		have := strings.TrimSpace(string(b))
		if mac != "" && strings.EqualFold(have, mac) {
			return e.Name()
		}
		if mac == "" && e.Name() != "lo" && have != "" {
			found = e.Name()
		}
	}
	return found
}

func ioctl(fd int, op uint, name string, set func(*unix.Ifreq) error) error {
	r, err := unix.NewIfreq(name)
	if err == nil {
		err = set(r)
	}
	if err == nil {
		err = unix.IoctlIfreq(fd, op, r)
	}
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	return nil
}

func linkUp(fd int, name string) error {
	return ioctl(fd, unix.SIOCSIFFLAGS, name, func(r *unix.Ifreq) error {
		r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		return nil
	})
}

func address(fd int, name string, p netip.Prefix, mtu int) error {
	addr := p.Addr().As4()
	err := ioctl(fd, unix.SIOCSIFADDR, name, func(r *unix.Ifreq) error { return r.SetInet4Addr(addr[:]) })
	if err != nil {
		return err
	}
	mask := ^uint32(0) << (32 - p.Bits())
	err = ioctl(fd, unix.SIOCSIFNETMASK, name, func(r *unix.Ifreq) error {
		return r.SetInet4Addr([]byte{byte(mask >> 24), byte(mask >> 16), byte(mask >> 8), byte(mask)})
	})
	if err != nil || mtu == 0 {
		return err
	}
	err = ioctl(fd, unix.SIOCSIFMTU, name, func(r *unix.Ifreq) error {
		r.SetUint32(uint32(mtu))
		return nil
	})
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

func defaultRoute(fd int, gw netip.Addr) error {
	r := route{flags: unix.RTF_UP | unix.RTF_GATEWAY}
	r.dst.Family, r.gateway.Family, r.genmask.Family = unix.AF_INET, unix.AF_INET, unix.AF_INET
	r.gateway.Addr = gw.As4()
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCADDRT, uintptr(unsafe.Pointer(&r)))
	if errno != 0 {
		return fmt.Errorf("default route over %s: %w", gw, errno)
	}
	return nil
}
