package guest_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"ore/guest"
	"ore/vm/home"
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

// initramfs makes the archive with ore-init and the modules that layers need.
func initramfs(t testing.TB, dir string) string {
	t.Helper()
	tree := filepath.Join(dir, "initramfs")
	os.MkdirAll(filepath.Join(tree, "ore"), 0o755)
	os.MkdirAll(filepath.Join(tree, "dev"), 0o755)
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(tree, "init"), "ore/cmd/ore-init")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build ore-init: %v\n%s", err, out)
	}
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
	file := filepath.Join(dir, "initrd")
	run(t, "sh", "-c", fmt.Sprintf("cd %s && find . | cpio --quiet -o -H newc > %s", tree, file))
	return file
}

// busybox makes a layer with a small system.
func busybox(t testing.TB, dir string) string {
	t.Helper()
	tree := filepath.Join(dir, "busybox")
	for _, d := range []string{"bin", "etc", "usr/lib/pkg/a", "root", "tmp", "lib"} {
		os.MkdirAll(filepath.Join(tree, d), 0o755)
	}
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
	run(t, "mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=1,nodiscard", "-O", "^has_journal", file)
	return file
}

// uml is a machine in User Mode Linux.
type uml struct {
	*guest.Conn
	console *console
	ready   time.Duration
}

// start starts a machine with the layers, the lowest first.
func start(t testing.TB, initrd string, id guest.Identity, memory string, layers ...string) *uml {
	t.Helper()
	dir := t.TempDir()
	token := make([]byte, 16)
	rand.Read(token)
	id.Token, id.Layers = hex.EncodeToString(token), len(layers)
	base, err := os.ReadFile(initrd)
	if err != nil {
		t.Fatal(err)
	}
	extra, err := id.Archive()
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(dir, "initrd")
	os.WriteFile(own, append(base, extra...), 0o600)
	args := []string{
		"mem=" + memory, "initrd=" + own, "con=null", "con0=null,fd:1", "quiet", "panic=-1", "noreboot",
		"initcall_blacklist=raid6_select_algo", "pty.legacy_count=0", "ssl=null", "ssl1=fd:3", "iomem=mmapper," + home.FilePath(4),
		"uml_dir=" + dir, "umid=" + id.Name,
	}
	for i, l := range layers {
		args = append(args, fmt.Sprintf("ubd%dr=%s", i, l))
	}
	args = append(args, fmt.Sprintf("ubd%d=%s", len(layers), disk(t, filepath.Join(dir, "disk"))))

	line, err := home.NewWire()
	if err != nil {
		t.Fatal(err)
	}
	m := &uml{console: new(console)}
	cmd := exec.Command("linux.uml", args...)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = m.console, m.console, []*os.File{line.Bell, line.Memory}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v: install user-mode-linux", err)
	}
	line.Inherited()
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		cmd.Wait()
		if t.Failed() {
			m.console.mu.Lock()
			t.Logf("console of %s:\n%s", id.Name, m.console.b.Bytes())
			m.console.mu.Unlock()
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), bootLimit)
	defer cancel()
	c, err := guest.Accept(ctx, line.Stream, guest.Want{Token: id.Token})
	if err != nil {
		t.Fatal(err)
	}
	m.Conn, m.ready = c, time.Since(begin)
	t.Cleanup(func() { c.Close() })
	return m
}

// sh runs a script and wants it to succeed; it returns what it wrote.
func (m *uml) sh(t testing.TB, script string) string {
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
	initrd, layer := initramfs(t, dir), busybox(t, dir)
	id := guest.Identity{Name: "m0", Hosts: []guest.Host{{Name: "m0", IP: "10.86.0.2"}, {Name: "m1", IP: "10.86.0.3"}}}
	m := start(t, initrd, id, "128M", layer)
	t.Logf("ready after %v: %v", m.ready, m.Hello())

	t.Run("names", func(t *testing.T) {
		out := m.sh(t, "hostname; cat /etc/hosts; pwd; id -u; echo $HOME $LANG; wc -c < /etc/machine-id; df -m / | tail -1")
		for _, want := range []string{"m0\n", "10.86.0.3\tm1\n", "/job\n0\n/root C.UTF-8\n33\n", " 20"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in %q", want, out)
			}
		}
	})
}
