// Package registrytest starts Debian's docker-registry, the reference implementation of
// a registry, for tests.
package registrytest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Start starts a registry without TLS, which ends with the test, and returns where it
// listens, host:port. The test is skipped where the program is not installed.
func Start(t testing.TB) string {
	t.Helper()
	program, err := exec.LookPath("docker-registry")
	if err != nil {
		t.Skip("docker-registry is not installed: test/needs installs it")
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: info}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: \"127.0.0.1:0\"}\n", dir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", config)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	var at string // a port that the kernel chose: nobody else can have taken it
	for lines := bufio.NewScanner(log); at == ""; {
		if !lines.Scan() {
			t.Fatal("the registry ended: ", lines.Err())
		}
		if _, rest, ok := strings.Cut(lines.Text(), "listening on "); ok {
			at, _, _ = strings.Cut(rest, `"`)
		}
	}
	go io.Copy(io.Discard, log) // ends with the registry
	return at
}
