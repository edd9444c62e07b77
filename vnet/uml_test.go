package vnet

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"ore"
	"ore/vnet/ethernet"
)

// Programs of Debian's user-mode-linux and busybox-static.
const (
	umlKernel = "/usr/bin/linux.uml"
	busybox   = "/bin/busybox"
)

// newc appends a file to an initramfs (Documentation/driver-api/early-userspace/
// buffer-format.rst in the kernel's source).
func newc(w *bytes.Buffer, name string, mode uint32, content []byte) {
	fmt.Fprintf(w, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", 0, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	for _, b := range [][]byte{append([]byte(name), 0), content} {
		w.Write(b)
		w.Write(make([]byte, (4-w.Len()%4)%4))
	}
}

// initramfs returns one in which busybox runs script, with a further program
// /bin/role if it is given.
func initramfs(t testing.TB, script string, role ...[]byte) string {
	t.Helper()
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	var w bytes.Buffer
	for _, dir := range []string{"bin", "dev", "proc", "etc"} {
		newc(&w, dir, syscall.S_IFDIR|0o755, nil)
	}
	newc(&w, "bin/busybox", syscall.S_IFREG|0o755, program)
	newc(&w, "init", syscall.S_IFREG|0o755, []byte(script))
	for _, b := range role {
		newc(&w, "bin/role", syscall.S_IFREG|0o755, b)
	}
	newc(&w, "TRAILER!!!", 0, nil)
	path := filepath.Join(t.TempDir(), "initramfs")
	if err := os.WriteFile(path, w.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// script brings up the network of a machine and runs commands, of which each
// line that is printed goes to the test.
func script(a Address, commands string) string {
	return "#!/bin/busybox sh\nexport PATH=/bin\n/bin/busybox --install -s /bin\n" +
		"mount -t proc proc /proc\nmount -t devtmpfs dev /dev\nifconfig lo 127.0.0.1 up\n" +
		fmt.Sprintf("ifconfig vec0 %s netmask %s mtu %d up\nroute add default gw %s\n", a.IP, net.IP(net.CIDRMask(a.Prefix.Bits(), 32)), a.MTU, a.Gateway) +
		fmt.Sprintf("echo 'nameserver %s' > /etc/resolv.conf\necho 'search %s' >> /etc/resolv.conf\n", a.DNS, a.Domain) +
		commands + "\npoweroff -f\n"
}

// umlGuest starts a real machine and returns the lines of its console, which
// end when it does.
func umlGuest(t testing.TB, n *Network, name, commands string, program ...[]byte) (Address, <-chan string) {
	t.Helper()
	for _, program := range []string{umlKernel, busybox} {
		if _, err := os.Stat(program); err != nil {
			t.Skipf("needs %s of Debian's user-mode-linux and busybox-static: %v", program, err)
		}
	}
	f, a, err := n.Attach(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, umlKernel, "mem=128M", "initrd="+initramfs(t, script(a, commands), program...), "rdinit=/init",
		"con0=null,fd:1", "con=null", "quiet", "panic=-1", "initcall_blacklist=raid6_select_algo",
		"uml_dir="+dir, "umid="+name,
		fmt.Sprintf("vec0:transport=fd,fd=3,mac=%s,mtu=%d", a.MAC, a.MTU))
	cmd.Env = []string{"TMPDIR=" + dir, "HOME=" + dir}
	cmd.ExtraFiles = []*os.File{f}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1000)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer close(lines)
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- strings.TrimRight(s.Text(), "\r")
		}
		cmd.Wait()
	}()
	t.Cleanup(func() { cancel(); <-done })
	return a, lines
}

// await returns what follows prefix on the first line that begins with it.
func await(t testing.TB, lines <-chan string, prefix string) string {
	t.Helper()
	limit := time.After(3 * time.Minute)
	for {
		select {
		case l, ok := <-lines:
			if !ok {
				t.Fatalf("the machine ended without saying %q", prefix)
			}
			t.Log(l)
			if rest, found := strings.CutPrefix(l, prefix); found {
				return rest
			}
		case <-limit:
			t.Fatalf("the machine never said %q", prefix)
		}
	}
}

// TestRealMachines has two User Mode Linux machines do everything that machines
// do on a network.
func TestRealMachines(t *testing.T) {
	hello := hostHello(t)
	far := netip.MustParseAddrPort("192.0.2.80:80")
	n := newNet(t, Config{Policy: ore.NAT, Allow: []Allowance{{From: far, To: hello}}})
	l, err := n.Listen(8000)
	if err != nil {
		t.Fatal(err)
	}
	echo(t, l)
	own := ownAddress(t)
	_, m1 := umlGuest(t, n, "m1", "httpd -p 80 -h /etc\n(while :; do nc -l -p 82 -e cat; done) &\nsleep 1\necho ready\nsleep 1000")
	await(t, m1, "ready")
	_, m0 := umlGuest(t, n, "m0", strings.Join([]string{
		"echo mtu $(ifconfig vec0 | grep -o 'MTU:[0-9]*')",
		"echo name $(wget -q -O - http://m1/resolv.conf | head -n 1)",
		"echo domain $(wget -q -O - http://m1.ore.internal/resolv.conf | wc -l)",
		"echo ping $(ping -c 1 -W 5 m1 | grep -c ' 0% packet loss')",
		"echo large $(ping -c 1 -W 5 -s 20000 m1 | grep -c ' 0% packet loss')",
		"echo gateway $(ping -c 1 -W 5 gateway | grep -c ' 0% packet loss')",
		"echo reverse $(nslookup $(hostname -i 2>/dev/null || echo " + n.subnet.at(firstMachine).String() + ") | grep -c 'm1.ore.internal')",
		"echo listen $(echo over there | nc gateway 8000)",
		"echo outside $(wget -q -O - http://" + far.Addr().String() + "/)",
		fmt.Sprintf("echo own $(wget -q -O - http://%s:%d/ 2>&1)", own, hello.Port()),
		"echo done", "sleep 1000",
	}, "\n"))
	for _, c := range []struct{ prefix, want string }{
		{"mtu ", "MTU:" + strconv.Itoa(DefaultMTU)},
		{"name ", "nameserver " + n.Gateway().String()}, {"domain ", "2"},
		{"ping ", "1"}, {"large ", "1"}, {"gateway ", "1"}, {"reverse ", "1"},
		{"listen ", "over there"}, {"outside ", "hello from the host"},
		{"own ", "wget: can't connect to remote host (" + own + "): Connection refused"},
	} {
		if got := await(t, m0, c.prefix); got != c.want {
			t.Errorf("%s: %q, want %q", c.prefix, got, c.want)
		}
	}
	await(t, m0, "done")
	c, err := n.DialContext(t.Context(), "m1", 82)
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(patience))
	mustEcho(t, c)
	s := n.Stats()
	for name, p := range s.Ports {
		t.Logf("%s: %+v", name, p)
		for _, v := range []ethernet.Verdict{ethernet.Runt, ethernet.Giant, ethernet.Spoofed, ethernet.Malformed, ethernet.Full} {
			if p.Dropped[v.String()] > 0 {
				t.Errorf("%s: an honest machine had %d frames dropped as %v", name, p.Dropped[v.String()], v)
			}
		}
	}
}

// hostHello is a server of the host that greets over HTTP.
func hostHello(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			bufio.NewReader(c).ReadString('\n')
			io.WriteString(c, "HTTP/1.0 200 OK\r\n\r\nhello from the host\n")
			c.Close()
		}
	}()
	t.Cleanup(func() { l.Close(); <-done })
	return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), l.Addr().(*net.TCPAddr).AddrPort().Port())
}

// ownAddress returns an address of the host other than loopback.
func ownAddress(t *testing.T) string {
	t.Helper()
	list, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range prefixes(list) {
		if !p.Addr().IsLoopback() {
			return p.Addr().String()
		}
	}
	t.Fatal("the host has no address but loopback")
	return ""
}

// The benchmark's machines run this test's own program, which must therefore be
// static (CGO_ENABLED=0), as the project's programs are.
const (
	roleVariable = "VNET_BENCHMARK_ROLE" // "receive" or "send"
	benchBytes   = 64 << 20
)

// playRole is what the program does inside a machine.
func playRole(role string) error {
	if role == "receive" {
		l, err := net.Listen("tcp", ":81")
		if err != nil {
			return err
		}
		fmt.Println("ready")
		for {
			c, err := l.Accept()
			if err != nil {
				return err
			}
			n, err := io.Copy(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c})
			fmt.Println("received", n, err)
			c.Close()
		}
	}
	for i, to := range strings.Fields(os.Args[1]) {
		c, err := net.Dial("tcp", to)
		if err != nil {
			return err
		}
		chunk := make([]byte, 1<<20)
		begin := time.Now()
		for range benchBytes / len(chunk) {
			if _, err := c.Write(chunk); err != nil {
				return err
			}
		}
		c.(*net.TCPConn).CloseWrite()
		c.Read(chunk[:1]) // until the other end has read all
		fmt.Println("took", i, time.Since(begin).Seconds())
		c.Close()
	}
	return nil
}

// BenchmarkRealMachines measures TCP between real machines and with the gateway.
func BenchmarkRealMachines(b *testing.B) {
	program, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		b.Fatal(err)
	}
	for _, mtu := range benchMTUs {
		b.Run(strconv.Itoa(mtu), func(b *testing.B) {
			n := newNet(b, Config{MTU: mtu})
			l, err := n.Listen(8000)
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				io.Copy(io.Discard, c)
				c.Close()
			}()
			a, m1 := umlGuest(b, n, "m1", roleVariable+"=receive /bin/role", program)
			await(b, m1, "ready")
			_, m0 := umlGuest(b, n, "m0", fmt.Sprintf("%s=send /bin/role '%s:81 gateway:8000'", roleVariable, a.IP), program)
			for i, what := range []string{"between-MB/s", "out-MB/s"} {
				seconds, err := strconv.ParseFloat(await(b, m0, fmt.Sprintf("took %d ", i)), 64)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(benchBytes/1e6/seconds, what)
			}
			await(b, m1, "received ")
			c, err := n.DialContext(b.Context(), "m1", 81)
			if err != nil {
				b.Fatal(err)
			}
			begin := time.Now()
			chunk := make([]byte, 1<<20)
			for range benchBytes / len(chunk) {
				if _, err := c.Write(chunk); err != nil {
					b.Fatal(err)
				}
			}
			c.Close()
			await(b, m1, "received ")
			b.ReportMetric(benchBytes/1e6/time.Since(begin).Seconds(), "in-MB/s")
		})
	}
}
