package drivers

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLoad loads what devices ask for, each once, and what appears behind them.
func TestLoad(t *testing.T) {
	root := t.TempDir()
	device := func(name, alias string) {
		t.Helper()
		dir := filepath.Join(root, "sys/devices", name)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "modalias"), []byte(alias), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	device("pci0/a", "pci:v1\n")
	device("pci0/b", "pci:v1\n")
	device("none", "")
	var asked []string
	Load(t.Context(), root, func(_ context.Context, argv []string) ([]byte, error) {
		asked = append(asked, strings.Join(argv, " "))
		device("pci0/a/virtio0", "virtio:d1\n") // the driver of a shows it
		return nil, os.ErrNotExist
	})
	if got := strings.Join(asked, "\n"); got != "modprobe -a -b -q -- pci:v1\nmodprobe -a -b -q -- virtio:d1" {
		t.Errorf("asked for:\n%s", got)
	}
}

// TestLoadEnds sees that a bus on which there is always more holds nobody up.
func TestLoadEnds(t *testing.T) {
	root, n := t.TempDir(), 0
	grow := func() {
		n++
		dir := filepath.Join(root, "sys/devices", strings.Repeat("d", n))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "modalias"), []byte(strings.Repeat("a", n)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	grow()
	asked := 0
	Load(t.Context(), root, func(context.Context, []string) ([]byte, error) {
		asked++
		grow()
		return nil, nil
	})
	if asked != depth {
		t.Errorf("asked %d times, want %d", asked, depth)
	}
}
