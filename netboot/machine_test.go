package netboot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"ore"
	"ore/boot"
	"ore/deb/shelf"
	"ore/deb/shelf/shelftest"
	"ore/netboot/dhcp"
	"ore/netboot/lab"
	"ore/netboot/link"
	"ore/netboot/roster"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// bootTime is how long an emulated machine may say nothing, on a host that does
	// much else.
	bootTime = 5 * time.Minute
	card     = lab.Card
	loaderOf = "/usr/lib/ipxe/"
)

func alone(t *testing.T) bool {
	t.Helper()
	return lab.Alone(t)
}

// watcher keeps what was told.
type watcher struct {
	t    *testing.T
	mu   sync.Mutex
	told []string
}

func (w *watcher) tell(e ore.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.told = append(w.told, fmt.Sprintf("%s %s %s %v", e.Stage, e.Machine, e.Text, e.Final))
}

func (w *watcher) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.told, "\n")
}

// payload is a system of Debian's kernel and the tests' installer.
func payload(t *testing.T) (roster.System, func(context.Context, ore.Digest) (io.ReadSeekCloser, error)) {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "init")
	c := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, "./testdata/init")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v: %s", err, out)
	}
	init, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	s, err := shelf.Open(filepath.Join(dir, "shelf"), shelftest.Source(t))
	if err != nil {
		t.Fatal(err)
	}
	b, err := boot.QEMU(t.Context(), boot.Config{Dir: filepath.Join(dir, "boot"), Shelf: s, Init: init}, "linux-image-cloud-amd64")
	if err != nil {
		t.Fatal(err)
	}
	paths := map[ore.Digest]string{}
	add := func(path string) ore.Digest {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		d := ore.DigestOf(content)
		paths[d] = path
		return d
	}
	system := roster.System{Kernel: add(b.Kernel.Path), Initramfs: []ore.Digest{add(b.Initrd)},
		Arguments: "console=ttyS0 panic=-1 quiet nokaslr cryptomgr.notests net.ifnames=0", Recipe: []byte("cake")}
	return system, func(_ context.Context, d ore.Digest) (io.ReadSeekCloser, error) {
		path, ok := paths[d]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return os.Open(path)
	}
}

// bootSector is a disk whose only program writes a word to the serial line.
func bootSector(t *testing.T) string {
	t.Helper()
	code := append([]byte{
		0x31, 0xc0, 0x8e, 0xd8, // xor ax, ax; mov ds, ax
		0xbe, 0x1a, 0x7c, // mov si, the word
		0xba, 0xf8, 0x03, // mov dx, 0x3f8
		0xac, 0x84, 0xc0, 0x74, 0x03, // lodsb; test al, al; jz
		0xee, 0xeb, 0xf8, // out dx, al; jmp lodsb
		0xfa, 0xf4, 0xeb, 0xfc, 0x90, 0x90, 0x90, 0x90, // cli; hlt; jmp
	}, "netboot test: the disk\n\x00"...)
	b := make([]byte, 1<<20)
	copy(b, code)
	b[510], b[511] = 0x55, 0xaa
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// config is a server's on the tests' switch.
func config(t *testing.T, w *watcher) Config {
	return Config{Interface: "br0", Dir: t.TempDir(), Probe: 300 * time.Millisecond, Watch: w.tell,
		Loaders: Loaders{BIOS: loaderOf + "undionly.kpxe", UEFI: loaderOf + "ipxe.efi"}}
}

func addresses() dhcp.Range {
	return dhcp.Range{First: netip.MustParseAddr("10.9.0.50"), Last: netip.MustParseAddr("10.9.0.60")}
}

func boots(t *testing.T, c Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func mac(t *testing.T) link.MAC {
	m, err := link.ParseMAC(card)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func state(t *testing.T, s *Server) roster.Machine {
	t.Helper()
	m, _, err := s.Roster().Find(mac(t))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// ready is what the installed system's first process says.
func ready(t *testing.T, home string) {
	t.Helper()
	r, err := http.Post(home, "application/jsonl", strings.NewReader(`{"n":9,"stage":"ready","event":"end"}`+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != http.StatusOK {
		t.Fatal(r.Status)
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestBIOS is the whole life of a machine whose firmware is QEMU's BIOS with its
// iPXE: unknown, confirmed by an operator, installed, and started from its disk.
func TestBIOS(t *testing.T) {
	if !alone(t) {
		return
	}
	lab.Ethernet(t)
	w := &watcher{t: t}
	c := config(t, w)
	c.Range = addresses()
	var system roster.System
	system, c.Blob = payload(t)
	s := boots(t, c)
	m := lab.Run(t, "-machine", "pc,graphics=off", "-boot", "n", "-device", "virtio-net-pci,netdev=n0,mac="+card,
		"-drive", "if=none,id=d,format=raw,file="+bootSector(t), "-device", "virtio-blk-pci,drive=d")
	m.Expect(bootTime, "To install it: ore install assign "+card)
	if got := state(t, s); got.State != roster.Waiting || got.Firmware != "BIOS" || !addresses().First.Less(got.Address.Next()) {
		t.Errorf("waiting: %+v", got)
	}
	if _, err := s.Roster().Assign(roster.Order{MAC: mac(t), Name: "m1", System: system}, time.Now()); err != nil {
		t.Fatal(err)
	}
	home := m.Expect(bootTime, `netboot test: machine m1 recipe cake home (\S+) end`)[1]
	m.Expect(bootTime, "netboot test: the disk")
	if got := state(t, s); got.State != roster.Restarting || len(got.Stages) != 2 || got.Tries != 1 {
		t.Errorf("restarting: %+v", got)
	}
	ready(t, home)
	if got := state(t, s); got.State != roster.Installed || got.Is != system.Digest() {
		t.Errorf("installed: %+v", got)
	}
	for _, want := range []string{"it waits, being waiting", "it gets the installer", "installer start m1  true", "it boots from its disk"} {
		if !strings.Contains(w.text(), want) {
			t.Errorf("not told: %s", want)
		}
	}
	t.Logf("told:\n%s", w.text())
}

// sockets counts this process's.
func sockets(t *testing.T) int {
	t.Helper()
	all, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range all {
		if to, err := os.Readlink(f); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// TestServersComeAndGo starts and ends a server in which things go on, again
// and again, and counts what is left.
func TestServersComeAndGo(t *testing.T) {
	if !alone(t) {
		return
	}
	lab.Ethernet(t)
	w := &watcher{t: t}
	c := config(t, w)
	c.Range, c.Probe = addresses(), -1
	before := sockets(t)
	for range 20 {
		s, err := Start(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Start(t.Context(), c); err == nil || !strings.Contains(err.Error(), "another process") {
			t.Errorf("a second server in one folder: %v", err)
		}
		conn, err := net.Dial("tcp4", strings.TrimPrefix(s.URL(), "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "GET /boot/%s HTTP/1.0\r\n\r\n", mac(t).Path())
		if b, err := io.ReadAll(conn); err != nil || !bytes.Contains(b, []byte("#!ipxe")) {
			t.Errorf("%v: %s", err, b)
		}
		conn.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if after := sockets(t); after > before {
		t.Errorf("%d sockets before, %d after", before, after)
	}
	c.Loaders = Loaders{BIOS: "/nowhere"}
	if _, err := Start(t.Context(), c); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no loader: %v", err)
	}
}
