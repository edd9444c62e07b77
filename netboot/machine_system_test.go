//go:build system

package netboot

import (
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"ore"
	"ore/netboot/dhcp"
	"ore/netboot/lab"
	"ore/netboot/roster"
)

// firmwareUEFI is Debian's package ovmf; its own driver of the card boots, and
// not the ROM of QEMU's, which is iPXE.
func firmwareUEFI() []string {
	return []string{"-machine", "q35", "-bios", "/usr/share/ovmf/OVMF.fd", "-boot", "n", "-device", "virtio-net-pci,netdev=n0,romfile=,mac=" + card}
}

func firmwareBIOS() []string {
	return []string{"-machine", "pc,graphics=off", "-boot", "n", "-device", "virtio-net-pci,netdev=n0,mac=" + card}
}

// installs boots a machine that an operator has assigned, and follows it to its
// restart.
func installs(t *testing.T, c Config, w *watcher, arguments ...string) *lab.Machine {
	t.Helper()
	var system roster.System
	system, c.Blob = payload(t)
	s := boots(t, c)
	if _, err := s.Roster().Assign(roster.Order{MAC: mac(t), Name: "m1", System: system}, time.Now()); err != nil {
		t.Fatal(err)
	}
	m := lab.Run(t, arguments...)
	m.Expect(bootTime, `netboot test: machine m1 recipe cake home (\S+) end`)
	if got := state(t, s); got.State != roster.Restarting || got.Tries != 1 {
		t.Errorf("restarting: %+v", got)
	}
	t.Logf("told:\n%s", w.text())
	return m
}

// goesOn sees that the firmware of a machine that is to boot from its disk goes
// on with its next boot entry.
func goesOn(t *testing.T, m *lab.Machine) {
	t.Helper()
	m.Expect(bootTime, ">>Start PXE over IPv4")
	t.Logf("the next entry: %q", m.Expect(bootTime, ">>Start PXE over IPv6|>>Start HTTP Boot|UEFI Interactive Shell"))
	if strings.Contains(m.Said(), "NBP") {
		t.Errorf("it was given a file:\n%s", m.Said())
	}
}

// TestUEFILocal starts a machine that is installed.
func TestUEFILocal(t *testing.T) {
	if !alone(t) {
		return
	}
	lab.Ethernet(t)
	w := &watcher{t: t}
	c := config(t, w)
	c.Range = addresses()
	s := boots(t, c)
	now := time.Now()
	any := ore.DigestOf(nil)
	if _, err := s.Roster().Assign(roster.Order{MAC: mac(t), Name: "m1", System: roster.System{Kernel: any}}, now); err != nil {
		t.Fatal(err)
	}
	_, token, err := s.Roster().Ask(roster.Caller{MAC: mac(t)}, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Roster().Hear(token, roster.Report{Number: 1, Stage: roster.StageRestart, Event: roster.Start}, now); err != nil {
		t.Fatal(err)
	}
	goesOn(t, lab.Run(t, firmwareUEFI()...))
}

// TestUEFI loads iPXE by TFTP into OVMF.
func TestUEFI(t *testing.T) {
	if !alone(t) {
		return
	}
	lab.Ethernet(t)
	w := &watcher{t: t}
	c := config(t, w)
	c.Range = addresses()
	installs(t, c, w, firmwareUEFI()...)
	for _, want := range []string{"ipxe.efi: ", "it gets the installer", "(UEFI)"} {
		if !strings.Contains(w.text(), want) {
			t.Errorf("not told: %s\n%s", want, w.text())
		}
	}
}

// TestChainBIOS loads undionly.kpxe by TFTP, as the firmware of a card without
// iPXE does.
func TestChainBIOS(t *testing.T) {
	if !alone(t) {
		return
	}
	lab.Ethernet(t)
	w := &watcher{t: t}
	c := config(t, w)
	c.Range = addresses()
	installs(t, c, w, "-machine", "pc,graphics=off", "-device", "virtio-net-pci,netdev=n0,romfile=,mac="+card,
		"-kernel", loaderOf+"ipxe.lkrn", "-append", "ifconf -c dhcp net0 && chain tftp://10.9.0.1/"+nameBIOS)
	if !strings.Contains(w.text(), nameBIOS+": ") {
		t.Errorf("undionly.kpxe was not loaded:\n%s", w.text())
	}
}

// dnsmasq is somebody else's DHCP server, at 10.9.0.3 on the tests' switch.
func dnsmasq(t *testing.T, n int) {
	t.Helper()
	program, err := exec.LookPath("dnsmasq")
	if err != nil {
		t.Fatalf("%v: install dnsmasq-base", err)
	}
	c := exec.Command("sh", "-c", fmt.Sprintf("read go && ip link set lo up && ip address add 10.9.0.%d/24 dev other%d && ip link set other%d up && "+
		"exec %s -k -C /dev/null --port=0 --interface=other%d --dhcp-range=10.9.0.%d,10.9.0.%d,1h --no-ping --log-facility=- --log-dhcp --leasefile-ro --user=root",
		2+n, n, n, program, n, 100*n, 100*n+9))
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	start, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	lab.IP(t, fmt.Sprintf(`link add port%d type veth peer name other%d
		link set other%d netns %d
		link set port%d master br0 up`, n, n, n, c.Process.Pid, n))
	io.WriteString(start, "go\n")
	b := make([]byte, 4096)
	for all := ""; !strings.Contains(all, "started"); {
		k, err := said.Read(b)
		if err != nil {
			t.Fatalf("dnsmasq: %v: %s", err, all)
		}
		all += string(b[:k])
	}
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		io.Copy(io.Discard, said)
	}()
	t.Cleanup(func() {
		c.Process.Kill()
		<-drained
	})
}

// TestProxyBIOS boots beside a DHCP server that knows nothing of booting.
func TestProxyBIOS(t *testing.T) {
	if !alone(t) {
		return
	}
	lab.Ethernet(t)
	dnsmasq(t, 1)
	w := &watcher{t: t}
	installs(t, config(t, w), w, firmwareBIOS()...)
	if strings.Contains(w.text(), "no DHCP server") || strings.Contains(w.text(), "DHCP servers") {
		t.Errorf("told:\n%s", w.text())
	}
}

// TestProxyUEFI does it with OVMF, which asks at port 4011 too.
func TestProxyUEFI(t *testing.T) {
	if !alone(t) {
		return
	}
	lab.Ethernet(t)
	dnsmasq(t, 1)
	w := &watcher{t: t}
	installs(t, config(t, w), w, firmwareUEFI()...)
}

// TestOtherServersAreFound starts beside none, one and two of them.
func TestOtherServersAreFound(t *testing.T) {
	if !alone(t) {
		return
	}
	lab.Ethernet(t)
	says := func(want string) {
		t.Helper()
		told := make(chan string, 100)
		c := config(t, &watcher{t: t})
		c.Probe = 2 * time.Second
		c.Watch = (&teller{told}).tell
		s, err := Start(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		select {
		case got := <-told:
			if want == "" || !strings.Contains(got, want) {
				t.Errorf("told %q, want %q", got, want)
			}
		case <-time.After(4 * time.Second):
			if want != "" {
				t.Errorf("nothing was told, want %q", want)
			}
		}
	}
	says("no DHCP server answers")
	dnsmasq(t, 1)
	says("")
	dnsmasq(t, 2)
	says("2 DHCP servers")
	c := config(t, &watcher{t: t})
	c.Range, c.Probe = addresses(), 2*time.Second
	_, err := Start(t.Context(), c)
	var foreign *dhcp.ForeignError
	if !errors.As(err, &foreign) || len(foreign.Servers) != 2 {
		t.Errorf("addresses beside two other servers: %v", err)
	}
}

// teller passes on what is told.
type teller struct{ told chan<- string }

func (l *teller) tell(e ore.Event) { l.told <- e.Text }
