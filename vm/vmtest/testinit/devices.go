package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// prepare mounts what the kernel shows and loads the modules that came along.
func prepare() error {
	for _, m := range [][2]string{{"/proc", "proc"}, {"/sys", "sysfs"}, {"/dev", "devtmpfs"}} {
		os.MkdirAll(m[0], 0o755)
		if err := unix.Mount(m[1], m[0], m[1], 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m[0], err)
		}
	}
	mods, err := filepath.Glob("/modules/*.ko")
	if err != nil {
		return err
	}
	return load(mods)
}

// load loads modules in an order that suits what they need of each other, by
// trying again those that miss a symbol (ENOENT).
func load(mods []string) error {
	for len(mods) > 0 {
		var wait []string
		for _, p := range mods {
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			err = unix.InitModule(b, "")
			if errors.Is(err, unix.ENOENT) {
				wait = append(wait, p)
			} else if err != nil && !errors.Is(err, unix.EEXIST) {
				return fmt.Errorf("load %s: %w", p, err)
			}
		}
		if len(wait) == len(mods) {
			return fmt.Errorf("load %s: a symbol is missing", wait)
		}
		mods = wait
	}
	return nil
}

// stream is a device read and written with plain blocking system calls.
type stream int

// Read reads what there is.
func (s stream) Read(b []byte) (int, error) {
	for {
		n, err := unix.Read(int(s), b)
		if err == unix.EINTR {
			continue
		}
		if err == nil && n == 0 {
			err = io.EOF
		}
		return max(n, 0), err
	}
}

// Write writes all of b.
func (s stream) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		n, err := unix.Write(int(s), b[done:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// frames sends frames back to whoever sent them.
func (m *machine) frames(args []string) error {
	s, err := m.link()
	if err != nil {
		return err
	}
	if err := m.answer("ok"); err != nil {
		return err
	}
	b := make([]byte, 64<<10)
	for n := number(args, 0); n > 0; {
		k, err := s.Read(b)
		if err != nil {
			return err
		}
		// EtherType 0x88b5 is for local experiments (IEEE 802); the kernel's own
		// IPv6 chatter has others.
		if k < 14 || b[12] != 0x88 || b[13] != 0xb5 {
			continue
		}
		dst, src := slices.Clone(b[:6]), slices.Clone(b[6:12])
		copy(b, src)
		copy(b[6:], dst)
		if _, err := s.Write(b[:k]); err != nil {
			return err
		}
		n--
	}
	return nil
}

// link opens the interface, up, as a packet socket, or the Fake's file.
func (m *machine) link() (io.ReadWriter, error) {
	if !m.real {
		return stream(4), nil
	}
	const all = 0x0300 // htons(ETH_P_ALL)
	links, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		if l.HardwareAddr == nil {
			continue
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, all)
		if err != nil {
			return nil, err
		}
		r, err := unix.NewIfreq(l.Name)
		if err != nil {
			return nil, err
		}
		r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
		if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r); err != nil {
			return nil, err
		}
		return stream(fd), unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: l.Index})
	}
	return nil, errors.New("no interface")
}
