package ports

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func listen(t *testing.T, address string) netip.AddrPort {
	t.Helper()
	l, err := Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// All IPv4 addresses are no IPv6 address, and the other way round.
func TestAddressesMeanWhatTheySay(t *testing.T) {
	for _, c := range []struct{ listen, at, not string }{
		{"0.0.0.0:0", "127.0.0.1", "::1"}, {"[::]:0", "::1", "127.0.0.1"}, {"127.0.0.1:0", "127.0.0.1", "::1"},
	} {
		if strings.Contains(c.listen+c.at, "::") && !hasIPv6() {
			t.Logf("%s: this host has no IPv6", c.listen)
			continue
		}
		port := fmt.Sprint(listen(t, c.listen).Port())
		conn, err := net.Dial("tcp", net.JoinHostPort(c.at, port))
		if err != nil {
			t.Errorf("%s is not reached at %s: %v", c.listen, c.at, err)
			continue
		}
		conn.Close()
		if conn, err := net.Dial("tcp", net.JoinHostPort(c.not, port)); err == nil {
			conn.Close()
			t.Errorf("%s is reached at %s", c.listen, c.not)
		}
	}
}

func hasIPv6() bool {
	l, err := net.Listen("tcp6", "[::1]:0")
	if err == nil {
		l.Close()
	}
	return err == nil
}

// Who cannot listen is told by whom the port is taken, and what to do.
func TestRefusalsSayWhatToDo(t *testing.T) {
	taken := listen(t, "127.0.0.1:0").String()
	us := fmt.Sprintf("in use by %s (process %d) of ", filepath.Base(os.Args[0]), os.Getpid())
	for address, want := range map[string]string{
		taken: us,
		strings.Replace(taken, "127.0.0.1", "0.0.0.0", 1): us,
		"192.0.2.1:0": "this host has no such address: use one that 'ip address' shows",
		"nowhere:80":  "use an address and a port",
	} {
		if l, err := Listen(address); err == nil || !strings.HasPrefix(err.Error(), "publish "+address+": ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v, want %q", address, l, err, want)
		}
	}
	if err := Check([]string{"127.0.0.1:0", taken}); err == nil || !strings.Contains(err.Error(), "choose another port") {
		t.Errorf("%v", err)
	}
	free := listen(t, "127.0.0.1:0").String()
	if err := Check([]string{strings.Replace(free, "127.0.0.1", "127.0.0.2", 1)}); err != nil {
		t.Errorf("a free one: %v", err)
	}
}

// FuzzFind has tables of any form read.
func FuzzFind(f *testing.F) {
	f.Add("  sl  local_address rem_address   st\n   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000    33        0 4711 1 0 100 0 0 10 0\n")
	f.Add("0: 00000000000000000000000001000000:1F90 : 0A 0 0 0 1 0 2")
	f.Fuzz(func(t *testing.T, table string) {
		s, found := find(strings.NewReader(table), netip.MustParseAddrPort("127.0.0.1:8080"))
		if found != (s.inode != "") {
			t.Errorf("%v, %+v", found, s)
		}
	})
}

func TestCalled(t *testing.T) {
	for line, want := range map[string]string{
		"/usr/sbin/nginx\x00-g\x00": "nginx", "nginx: master process /usr/sbin/nginx": "nginx", "\x00": "a program", "": "a program",
	} {
		if got := called([]byte(line)); got != want {
			t.Errorf("%q is called %q", line, got)
		}
	}
}

func TestFind(t *testing.T) {
	table := "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000    33        0 4711 1 0\n"
	for at, want := range map[string]bool{"127.0.0.1:8080": true, "0.0.0.0:8080": true, "127.0.0.2:8080": false, "127.0.0.1:80": false} {
		if s, found := find(strings.NewReader(table), netip.MustParseAddrPort(at)); found != want || found && s != (socket{"33", "4711"}) {
			t.Errorf("%s: %+v, %v", at, s, found)
		}
	}
}
