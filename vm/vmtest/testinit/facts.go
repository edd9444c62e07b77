package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Facts is what a machine says of itself. The suite has the same type.
type Facts struct {
	Release string
	CPUs    int
	Memory  int64 // MemTotal, bytes
	Uptime  float64
	Disks   []Disk
	Links   []Link
	Extra   string // content of /extra.txt
	Cmdline string
}

// Disk is a block device.
type Disk struct {
	Path     string
	Size     int64
	ReadOnly bool
}

// Link is a network interface other than the loopback.
type Link struct {
	Name string
	MAC  string
	MTU  int
}

func (m *machine) ready() error {
	f := Facts{CPUs: cpus()}
	if m.real {
		f = realFacts(f)
	} else if err := json.Unmarshal([]byte(os.Getenv("ORE_TEST_FAKE")), &f); err != nil {
		return err
	}
	b, err := json.Marshal(f)
	if err != nil {
		return err
	}
	return m.answer("ready " + string(b))
}

func realFacts(f Facts) Facts {
	f.Release = word("/proc/sys/kernel/osrelease")
	f.Cmdline = content("/proc/cmdline")
	f.Extra = content("/extra.txt")
	f.Uptime, _ = strconv.ParseFloat(word("/proc/uptime"), 64)
	for l := range strings.Lines(content("/proc/meminfo")) {
		var kb int64
		if _, err := fmt.Sscanf(l, "MemTotal: %d kB", &kb); err == nil {
			f.Memory = kb << 10
		}
	}
	for _, pattern := range []string{"/sys/block/ubd*", "/sys/block/vd*"} {
		paths, _ := filepath.Glob(pattern)
		slices.Sort(paths)
		for _, p := range paths {
			sectors, _ := strconv.ParseInt(word(p+"/size"), 10, 64)
			if sectors > 0 {
				f.Disks = append(f.Disks, Disk{"/dev/" + filepath.Base(p), sectors * 512, word(p+"/ro") == "1"})
			}
		}
	}
	links, _ := net.Interfaces()
	for _, l := range links {
		if l.HardwareAddr != nil {
			f.Links = append(f.Links, Link{l.Name, l.HardwareAddr.String(), l.MTU})
		}
	}
	return f
}

func content(path string) string {
	b, _ := os.ReadFile(path)
	return string(b)
}

func word(path string) string {
	s, _, _ := strings.Cut(strings.TrimSpace(content(path)), " ")
	return s
}
