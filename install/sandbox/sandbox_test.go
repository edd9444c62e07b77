package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// workers are what a test runs inside a sandbox, by name.
var workers = map[string]func(s *Sandbox, dir string) error{
	"run": workRun,
}

func TestMain(m *testing.M) {
	Main()
	if len(os.Args) == 4 && os.Args[1] == "worker" {
		if err := work(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func work(name, dir string) error {
	s, err := Enter(Options{Owners: filepath.Join(dir, "owners")})
	if err != nil {
		return err
	}
	if err := workers[name](s, dir); err != nil {
		return err
	}
	return s.Close()
}

// inside runs a worker as the present user and returns what it wrote.
func inside(t *testing.T, tier Tier, name, dir string) string {
	t.Helper()
	var out, said bytes.Buffer
	err := Spawn(context.Background(), Options{
		Tier: tier, Args: []string{"worker", name, dir}, Stdout: &out, Stderr: &said,
	})
	if err != nil {
		t.Fatalf("worker %s in %s: %v\n%s%s", name, tier, err, out.String(), said.String())
	}
	return out.String()
}

// busyboxTree makes a tree whose programs are busybox, from Debian's package
// busybox-static.
func busyboxTree(dir string) error {
	b, err := os.ReadFile("/bin/busybox")
	if err != nil {
		return fmt.Errorf("%w: install busybox-static", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/busybox"), b, 0o755); err != nil {
		return err
	}
	return os.Symlink("busybox", filepath.Join(dir, "bin/sh"))
}

// sh runs a script in a tree and returns its output.
func sh(s *Sandbox, root, script string) (string, error) {
	var out bytes.Buffer
	err := s.Run(context.Background(), Command{
		Root: root, Args: []string{"sh", "-euc", "busybox --install -s /bin 2>/dev/null || :\n" + script},
		Env: []string{"PATH=/bin"}, Stdout: &out, Stderr: &out,
	})
	return out.String(), err
}

func workRun(s *Sandbox, dir string) error {
	lower, upper, work, root := filepath.Join(dir, "lower"), filepath.Join(dir, "upper"), filepath.Join(dir, "work"), filepath.Join(dir, "root")
	for _, d := range []string{upper, work, root} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	if err := busyboxTree(lower); err != nil {
		return err
	}
	if err := s.Overlay([]string{lower}, upper, work, root); err != nil {
		return err
	}
	out, err := sh(s, root, `
		echo pid=$$ uid=$(id -u) groups=$(id -G) host=$(hostname) umask=$(umask)
		ls /dev | tr '\n' ' '; echo
		ls / | tr '\n' ' '; echo
		ip link | grep -c '^[0-9]'
		sync; echo hello > /greeting; cat /greeting > /dev/null
		(sleep 1000 &)
		ps > /dev/null
		mount | grep -v ' on /dev/' | cut -d' ' -f3,5 | tr '\n' ';'`)
	fmt.Print(out)
	if err != nil {
		return err
	}
	var exit *ExitError
	if _, err = sh(s, root, "exit 7"); !errors.As(err, &exit) || exit.Code != 7 {
		return fmt.Errorf("exit 7 came as %v", err)
	}
	if _, err = sh(s, root, "kill -9 $$"); !errors.As(err, &exit) || exit.Signal != syscall.SIGKILL {
		return fmt.Errorf("kill -9 came as %v", err)
	}
	err = s.Run(context.Background(), Command{Root: root, Args: []string{"/bin/nothing"}})
	if err == nil || errors.As(err, &exit) {
		return fmt.Errorf("a missing program came as %v", err)
	}
	fmt.Println("error:", err)
	return nil
}

func TestRun(t *testing.T) {
	out := inside(t, Root, "run", t.TempDir())
	t.Log(out)
	for _, want := range []string{"uid=0", "groups=0 ", "host=localhost", "umask=0022", "null ", "ptmx ", "\n1\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in output", want)
		}
	}
}
