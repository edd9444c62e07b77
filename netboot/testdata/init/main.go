// Command init is the installer of package netboot's tests: it says over the
// console what it was told, gets an address, reports two stages home, and
// restarts the machine.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"golang.org/x/sys/unix"
)

// card is the only one of the test's machines.
const card = "eth0"

func main() {
	if err := run(); err != nil {
		fmt.Println("netboot test: error:", err)
	}
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART); err != nil {
		fmt.Println("netboot test: restart:", err)
	}
}

func run() error {
	b, err := os.ReadFile("/ore/netboot.json")
	if err != nil {
		return err
	}
	var me struct {
		Name, Home string
		Recipe     []byte
	}
	if err := json.Unmarshal(b, &me); err != nil {
		return err
	}
	if err := load(); err != nil {
		return err
	}
	if err := address(); err != nil {
		return err
	}
	for _, line := range []string{
		`{"n":1,"stage":"installer start","event":"start"}`,
		`{"n":2,"stage":"installer start","event":"end"}`,
		`{"n":3,"stage":"restart","event":"start"}`,
	} {
		if err := post(me.Home, line); err != nil {
			return err
		}
	}
	fmt.Printf("netboot test: machine %s recipe %s home %s end\n", me.Name, me.Recipe, me.Home)
	return nil
}

func load() error {
	list, err := os.ReadFile("/ore/modules")
	if err != nil {
		return err
	}
	for path := range strings.FieldsSeq(string(list)) {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("load %s: %w", path, err)
		}
	}
	return nil
}

// request is struct ifreq of netdevice(7) with an address in it.
type request struct {
	name   [unix.IFNAMSIZ]byte
	family uint16
	port   uint16
	addr   [4]byte
	_      [16]byte
}

func set(what uint, a net.IP) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	r := request{family: unix.AF_INET}
	copy(r.name[:], card)
	if what == unix.SIOCSIFFLAGS {
		r.family = unix.IFF_UP | unix.IFF_BROADCAST | unix.IFF_RUNNING // the flags lie where an address's family does
	} else {
		copy(r.addr[:], a.To4())
	}
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(s), uintptr(what), uintptr(unsafe.Pointer(&r))); e != 0 {
		return fmt.Errorf("ioctl %x: %w", what, e)
	}
	return nil
}

// address gets one by DHCP.
func address() error {
	if err := set(unix.SIOCSIFFLAGS, nil); err != nil {
		return err
	}
	i, err := net.InterfaceByName(card)
	if err != nil {
		return err
	}
	l := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { unix.BindToDevice(int(fd), card) })
	}}
	conn, err := l.ListenPacket(context.Background(), "udp4", "0.0.0.0:68")
	if err != nil {
		return err
	}
	defer conn.Close()
	discover, err := dhcpv4.NewDiscovery(i.HardwareAddr, dhcpv4.WithBroadcast(true))
	if err != nil {
		return err
	}
	offer, err := exchange(conn, discover)
	if err != nil {
		return err
	}
	ask, err := dhcpv4.NewRequestFromOffer(offer, dhcpv4.WithBroadcast(true))
	if err != nil {
		return err
	}
	ack, err := exchange(conn, ask)
	if err != nil {
		return err
	}
	if err := set(unix.SIOCSIFADDR, ack.YourIPAddr); err != nil {
		return err
	}
	return set(unix.SIOCSIFNETMASK, net.IP(ack.SubnetMask()))
}

// exchange sends a packet, each second again, until its answer comes.
func exchange(c net.PacketConn, m *dhcpv4.DHCPv4) (*dhcpv4.DHCPv4, error) {
	b := make([]byte, 1500)
	for range 30 {
		if _, err := c.WriteTo(m.ToBytes(), &net.UDPAddr{IP: net.IPv4bcast, Port: 67}); err != nil {
			return nil, err
		}
		if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			return nil, err
		}
		for {
			n, _, err := c.ReadFrom(b)
			if err != nil {
				break
			}
			if r, err := dhcpv4.FromBytes(b[:n]); err == nil && r.TransactionID == m.TransactionID && !r.YourIPAddr.IsUnspecified() {
				return r, nil
			}
		}
	}
	return nil, errors.New("no DHCP server answers")
}

// post reports a line, over a connection of its own.
func post(home, line string) error {
	host, path, _ := strings.Cut(strings.TrimPrefix(home, "http://"), "/")
	c, err := net.DialTimeout("tcp4", host, 10*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	fmt.Fprintf(c, "POST /%s HTTP/1.0\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s\n", path, host, len(line)+1, line)
	answer, err := io.ReadAll(c)
	if err != nil || !bytes.Contains(answer, []byte(" 200 ")) {
		return fmt.Errorf("report %s: %v: %s", line, err, answer)
	}
	return nil
}
