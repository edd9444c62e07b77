package vmtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// BuildInit builds testinit and returns its bytes: a static program of 3 MB.
func BuildInit(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "init")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, "ore/vm/vmtest/testinit")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build testinit: %v\n%s", err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// WriteInitramfs writes Initramfs to a file of the test's and returns its path.
func WriteInitramfs(t *testing.T, init []byte, modules string, names ...string) string {
	t.Helper()
	b, err := Initramfs(init, os.DirFS(modules), names...)
	if err != nil {
		t.Fatal(fmt.Errorf("initramfs: %w", err))
	}
	path := filepath.Join(t.TempDir(), "initramfs")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
