package agent

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// CardRate returns the bytes a second, each way, of the network card that has the
// address, by what its driver says; 0 where that is not known. Of a host's address that
// is none of its own, and of all addresses at once (0.0.0.0), it is the rate of all
// cards that are up, if they are alike.
func CardRate(addr netip.Addr) float64 {
	return cardRate("/sys/class/net", owner(addr))
}

// owner is the name of the interface that has the address, "" if none has.
func owner(addr netip.Addr) string {
	all, err := net.Interfaces()
	if err != nil {
		return ""
	}
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Unmap() == addr.Unmap() {
				return i.Name
			}
		}
	}
	return ""
}

// cardRate reads Linux's own list of interfaces (sysfs-class-net): those with a device
// behind them are cards, and their speed is in Mbit/s.
func cardRate(list, name string) float64 {
	pattern := name
	if name == "" {
		pattern = "*"
	}
	cards, _ := filepath.Glob(filepath.Join(list, pattern, "device")) // the pattern is well-formed
	var rate float64
	for _, c := range cards {
		mbit := speed(filepath.Join(filepath.Dir(c), "speed"))
		if up := word(filepath.Join(filepath.Dir(c), "operstate")); up != "up" && name == "" {
			continue
		}
		if mbit <= 0 || rate != 0 && rate != mbit {
			return 0
		}
		rate = mbit
	}
	return rate * 1e6 / 8
}

func speed(path string) float64 {
	f, err := strconv.ParseFloat(word(path), 64)
	if err != nil {
		return 0
	}
	return f
}

// word is what a file has, without the end of its line; "" if it cannot be read.
func word(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
