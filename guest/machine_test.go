package guest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ore"
	"ore/guest"
	"ore/vm"
	"ore/vm/uml"
	"ore/vnet"
)

// bootLimit is when a test gives up on a machine. A start takes a third of a
// second; the limit only keeps a broken one from hanging the test run.
const bootLimit = 60 * time.Second

// console keeps what a machine's kernel says, for the log of a failed test.
type console struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.Write(p)
}

// run runs a tool of the host, which the test needs.
func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// initTree makes the tree of an initramfs, without modules.
func initTree(t testing.TB, dir string) string {
	t.Helper()
	tree := filepath.Join(dir, "initramfs")
	os.MkdirAll(filepath.Join(tree, "ore"), 0o755)
	os.MkdirAll(filepath.Join(tree, "dev"), 0o755)
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(tree, "init"), "ore/cmd/ore-init")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build ore-init: %v\n%s", err, out)
	}
	return tree
}

// pack makes an initramfs of its tree.
func pack(t testing.TB, dir, tree string) string {
	t.Helper()
	file := filepath.Join(dir, "initrd")
	run(t, "sh", "-c", fmt.Sprintf("cd %s && find . | cpio --quiet -o -H newc > %s", tree, file))
	return file
}

// initramfs makes the archive for User Mode Linux.
func initramfs(t testing.TB, dir string) string {
	t.Helper()
	tree := initTree(t, dir)
	var list []string
	for _, name := range []string{"fs/squashfs/squashfs.ko", "fs/overlayfs/overlay.ko"} {
		found, _ := filepath.Glob("/usr/lib/uml/modules/*/kernel/" + name)
		if len(found) != 1 {
			t.Fatalf("%d modules %s are installed: install user-mode-linux", len(found), name)
		}
		run(t, "cp", found[0], filepath.Join(tree, "ore"))
		list = append(list, "/ore/"+filepath.Base(name)+"\n")
	}
	os.WriteFile(filepath.Join(tree, guest.ModulesPath), []byte(strings.Join(list, "")), 0o644)
	return pack(t, dir, tree)
}

// busybox makes a layer with a small system.
func busybox(t testing.TB, dir string) string {
	t.Helper()
	tree := filepath.Join(dir, "busybox")
	for _, d := range []string{"bin", "etc", "usr/lib/pkg/a", "root", "tmp", "lib"} {
		os.MkdirAll(filepath.Join(tree, d), 0o755)
	}
	os.Chmod(filepath.Join(tree, "tmp"), 0o777|os.ModeSticky)
	os.WriteFile(filepath.Join(tree, "usr/lib/pkg/a/file"), []byte("lower\n"), 0o644)
	os.WriteFile(filepath.Join(tree, "etc/passwd"), []byte("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n"), 0o644)
	os.WriteFile(filepath.Join(tree, "etc/group"), []byte("root:x:0:\nuser:x:1000:\nextra:x:2000:user\n"), 0o644)
	run(t, "cp", "/bin/busybox", filepath.Join(tree, "bin/busybox"))
	run(t, "chroot", tree, "/bin/busybox", "--install", "-s", "/bin")
	layer := filepath.Join(dir, "busybox.squashfs")
	run(t, "mksquashfs", tree, layer, "-quiet", "-no-progress", "-all-root", "-comp", "zstd", "-Xcompression-level", "1")
	return layer
}

// disk makes an empty private disk.
func disk(t testing.TB, file string) string {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	f.Truncate(20 << 30)
	f.Close()
	run(t, "mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=1,nodiscard", "-O", "^has_journal", "-m", "0", file)
	return file
}

// machine is a running machine.
type machine struct {
	*guest.Conn
	console *console
	ready   time.Duration
}

// cluster is what machines of one test have in common.
type cluster struct {
	hypervisor vm.Hypervisor
	initrd     string
	kernel     string
	layers     []string
	memory     int64
	net        *vnet.Network // nil for none
}

// start starts the machines with these identities, all at once.
func (c cluster) start(t testing.TB, ids ...guest.Identity) []*machine {
	t.Helper()
	files := make([]*os.File, len(ids))
	var hosts []guest.Host
	for i := range ids {
		if c.net == nil {
			continue
		}
		f, a, err := c.net.Attach(ids[i].Name)
		if err != nil {
			t.Fatal(err)
		}
		files[i] = f
		ids[i].Network = &guest.Network{
			MAC: a.MAC.String(), Address: a.Prefix.String(), Gateway: a.Gateway.String(),
			DNS: []string{a.DNS.String()}, MTU: a.MTU, Search: a.Domain,
		}
		hosts = append(hosts, guest.Host{Name: ids[i].Name, IP: a.IP.String()})
	}
	ms := make([]*machine, len(ids))
	var all sync.WaitGroup
	for i, id := range ids {
		if c.net != nil {
			id.Hosts = hosts
		}
		all.Go(func() { ms[i] = c.startOne(t, id, files[i]) })
	}
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return ms
}

func (c cluster) startOne(t testing.TB, id guest.Identity, network *os.File) *machine {
	m, err := c.boot(t, id, network)
	if err != nil {
		t.Error(err)
		return nil
	}
	return m
}

// boot starts a machine and waits for its greeting.
func (c cluster) boot(t testing.TB, id guest.Identity, network *os.File) (*machine, error) {
	token := make([]byte, 16)
	rand.Read(token)
	id.Token, id.Layers, id.Size = hex.EncodeToString(token), len(c.layers)-len(id.Mounts), max(id.Size, 1)
	extra, err := id.Archive()
	if err != nil {
		return nil, err
	}
	dir := t.TempDir()
	m := &machine{console: new(console)}
	config := vm.Config{
		Name: id.Name, Dir: dir, Initrd: c.initrd, Kernel: c.kernel, Extra: extra, Layers: c.layers,
		Disk: disk(t, filepath.Join(dir, "disk")), Net: network, Console: m.console,
		Resources: ore.Resources{CPUs: 1, Memory: c.memory},
	}
	if id.Network != nil {
		config.MAC, _ = net.ParseMAC(id.Network.MAC)
	}
	begin := time.Now()
	life, end := context.WithCancel(context.Background())
	v, err := c.hypervisor.Start(life, config)
	if err != nil {
		end()
		return nil, err
	}
	t.Cleanup(func() {
		end()
		v.Wait()
		if t.Failed() {
			m.console.mu.Lock()
			t.Logf("console of %s:\n%s", id.Name, m.console.b.Bytes())
			m.console.mu.Unlock()
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	if m.Conn, err = guest.Accept(ctx, v.Home(), guest.Want{Token: id.Token}); err != nil {
		return nil, err
	}
	m.ready = time.Since(begin)
	t.Cleanup(func() { m.Close() })
	return m, nil
}

// umlPath is where Debian's package user-mode-linux has the kernel.
const umlPath = "/usr/bin/linux.uml"

// inUML is a cluster of User Mode Linux.
func inUML(t testing.TB, dir string, memory int64, layers ...string) cluster {
	return cluster{hypervisor: uml.New(uml.Config{Program: umlPath}), initrd: initramfs(t, dir), memory: memory, layers: layers}
}

// sh runs a script and wants it to succeed; it returns what it wrote.
func (m *machine) sh(t testing.TB, script string) string {
	t.Helper()
	var out, bad bytes.Buffer
	e, err := m.Exec(t.Context(), guest.Command{Script: script, Stdout: &out, Stderr: &bad})
	if err != nil || e.Code != 0 {
		t.Errorf("script %q: %v %v\n%s%s", script, e, err, &out, &bad)
	}
	return out.String()
}

func TestMachineInUML(t *testing.T) {
	dir := t.TempDir()
	id := guest.Identity{Name: "m0", Hosts: []guest.Host{{Name: "m0", IP: "10.86.0.2"}, {Name: "m1", IP: "10.86.0.3"}}}
	m := inUML(t, dir, 128<<20, busybox(t, dir)).start(t, id)[0]
	t.Logf("ready after %v: %v", m.ready, m.Hello())
	m.testAll(t)
}

// testAll does with a machine what jobs do, and what they should not do.
func (m *machine) testAll(t *testing.T) {
	t.Run("names", m.testNames)
	t.Run("renamed folder", m.testRename)
	t.Run("fork bomb", m.testForkBomb)
	t.Run("signals to all", m.testSignals)
	t.Run("out of memory", m.testMemory)
	t.Run("full disk", m.testFullDisk)
	t.Run("terminal", m.testTerminal)
	t.Run("much input and output", m.testMuch)
	t.Run("set-aside processes", m.testReaping)
	t.Run("power off", m.testPowerOff)
}

func (m *machine) testNames(t *testing.T) {
	out := m.sh(t, "hostname; cat /etc/hosts; pwd; id -u; echo $HOME $LANG; wc -c < /etc/machine-id; df -m / | tail -1")
	for _, want := range []string{"m0\n", "10.86.0.3\tm1\n", "/job\n0\n/root C.UTF-8\n33\n", " 20"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in %q", want, out)
		}
	}
	if out := m.sh(t, "ls /; cat /proc/mounts"); strings.Contains(out, "identity") {
		t.Errorf("the identity can be seen: %s", out)
	}
	// What ordinary users need of /dev, /tmp and /job.
	var bad bytes.Buffer
	e, err := m.Exec(t.Context(), guest.Command{
		Script: "id -u; id -G; echo x > /dev/null; echo y > /tmp/y; echo z > z; head -c 1 /dev/urandom > /dev/shm/r; test -p /dev/fd/9 9</dev/null; ls -l /proc/self/fd > /dev/full || true",
		User:   "user", Stderr: &bad,
	})
	if err != nil || e.Code != 0 || strings.Contains(bad.String(), "ermission denied") {
		t.Errorf("as a user: %v %v %s", e, err, &bad)
	}
}

// testRename renames a folder of a layer, which an overlay refuses (EXDEV)
// unless it may keep redirections on its private disk.
func (m *machine) testRename(t *testing.T) {
	out := m.sh(t, "mv -T /usr/lib/pkg /usr/lib/renamed && cat /usr/lib/renamed/a/file && mkdir /usr/lib/pkg && ls /usr/lib/pkg | wc -l; "+
		"echo upper > /usr/lib/renamed/a/file; mv /usr/lib/renamed/a /usr/lib/pkg/b && cat /usr/lib/pkg/b/file; rm -r /usr/lib/pkg; ls /usr/lib")
	if want := "lower\n0\nupper\nrenamed\n"; out != want {
		t.Errorf("got %q, want %q", out, want)
	}
}

// testForkBomb lets a bomb go off and cancels it.
func (m *machine) testForkBomb(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var bad upTo
	bad.text, bad.end = "fork", cancel // the kernel's refusal, as the shell tells it
	_, err := m.Exec(ctx, guest.Command{
		Script: "b() { b | b & }; b; while :; do sleep 1 || :; done", Stderr: &bad, Grace: time.Millisecond, Processes: 50,
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if out := m.sh(t, "ps | wc -l"); len(out) > 3 {
		t.Errorf("processes after the bomb: %s", out)
	}
}

// testSignals sends every signal to process 1 and to all that can be reached.
func (m *machine) testSignals(t *testing.T) {
	m.sh(t, "for s in $(seq 1 64); do kill -$s 1 2>/dev/null; done; exit 0")
	// Those of the C libraries kill a process 1 that has no action for them now and
	// then, while its first thread has all signals blocked; and no job inherits one.
	m.sh(t, "i=0; while [ $i -lt 100 ]; do (true & ); kill -32 1; kill -33 1; kill -34 1; i=$((i+1)); done")
	if out := m.sh(t, "grep SigIgn /proc/self/status"); !strings.HasSuffix(strings.TrimSpace(out), "0000000000000000") {
		t.Errorf("a job ignores signals from the beginning: %s", out)
	}
	e, err := m.Exec(t.Context(), guest.Command{Script: "kill -9 -1; echo not reached"})
	if err != nil || (e.Signal != "SIGKILL" && e.Code != 0) {
		t.Errorf("kill -9 -1: %v, %v", e, err)
	}
	m.sh(t, "true")
}

// testMemory uses up all memory: the process is killed, not the machine.
func (m *machine) testMemory(t *testing.T) {
	e, err := m.Exec(t.Context(), guest.Command{
		Script: "exec dd if=/dev/zero of=/dev/null bs=$(awk '/^MemTotal/ {print $2 - 1000}' /proc/meminfo)k count=1",
	})
	if err != nil || e.Signal != "SIGKILL" {
		t.Errorf("got %v, %v", e, err)
	}
	m.sh(t, "true")
}

// testFullDisk fills the disk; the machine still runs commands and gives files.
func (m *machine) testFullDisk(t *testing.T) {
	e, err := m.Exec(t.Context(), guest.Command{
		Script: "set -e; free=$(df -k / | awk 'END {print $4}'); fallocate -l $(((free - 8192) * 1024)) big1; ! dd if=/dev/zero of=big2 bs=1M count=100 2>/dev/null; test -s big2",
	})
	if err != nil || e.Code != 0 {
		t.Errorf("got %v, %v", e, err)
	}
	if err := m.Get(t.Context(), "", []string{"y*"}, io.Discard); err != nil {
		t.Error(err)
	}
	m.sh(t, "rm -f big1 big2")
}

func (m *machine) testTerminal(t *testing.T) {
	var out bytes.Buffer
	e, err := m.Exec(t.Context(), guest.Command{
		Args: []string{"/bin/sh", "-c", "tty; read a; echo $a; exit 3"}, Stdin: strings.NewReader("typed\n"), Stdout: &out,
		TTY: &guest.TTY{Size: guest.Size{Rows: 24, Cols: 80}},
	})
	if err != nil || e.Code != 3 || !strings.Contains(out.String(), "/dev/pts/") || !strings.HasSuffix(out.String(), "typed\r\n") {
		t.Errorf("%v, %v: %q", e, err, &out)
	}
}

// testMuch brings files in and out and says how fast.
func (m *machine) testMuch(t *testing.T) {
	const size = 32 << 20
	file := filepath.Join(t.TempDir(), "file")
	content := make([]byte, size)
	mathrand.NewChaCha8([32]byte{1}).Read(content)
	os.WriteFile(file, content, 0o644)
	r, w := io.Pipe()
	go func() { w.CloseWithError(guest.Pack(w, []string{file})) }()
	begin := time.Now()
	if err := m.Put(t.Context(), "", r); err != nil {
		t.Fatal(err)
	}
	in := time.Since(begin)
	begin = time.Now()
	var back bytes.Buffer
	if _, err := m.Exec(t.Context(), guest.Command{Args: []string{"cat", "file"}, Stdout: &back}); err != nil || !bytes.Equal(back.Bytes(), content) {
		t.Errorf("%d bytes came back, %v", back.Len(), err)
	}
	out := time.Since(begin)
	t.Logf("in: %.0f MB/s, out: %.0f MB/s", size/in.Seconds()/1e6, size/out.Seconds()/1e6)
}

// testReaping leaves orphans behind, which process 1 must not leave as zombies.
func (m *machine) testReaping(t *testing.T) {
	m.sh(t, "for i in $(seq 50); do (true & ) ; done")
	if out := m.sh(t, "while ps -o stat | grep -q Z; do sleep 0.01; done; echo none"); out != "none\n" {
		t.Errorf("zombies: %q", out)
	}
}

func (m *machine) testPowerOff(t *testing.T) {
	begin := time.Now()
	if err := m.PowerOff(t.Context()); err != nil {
		t.Error(err)
	}
	t.Logf("off after %v", time.Since(begin))
}
