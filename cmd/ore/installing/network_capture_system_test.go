//go:build system

package installing

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"ore/image"
	"ore/install/recipe"
	"ore/netboot/lab"
	"ore/netboot/roster"
)

// builtAt is where the process outside of the network leaves the manifest of the
// image that the host has built.
const builtAt = "built.json"

// images runs ore images.
func images(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program(t), append([]string{"images"}, args...)...).Output()
	if err != nil {
		t.Fatalf("images %v: %v", args, err)
	}
	return out
}

// TestNetworkCapture has a machine install packages of which there is no image: the
// host keeps the one that it sends, which is that which the host has built before, to
// the byte.
func TestNetworkCapture(t *testing.T) {
	forget := func(list string) {
		r, err := roster.Open(list, roster.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		systems, err := r.Systems()
		if err != nil || len(systems) != 1 {
			t.Fatalf("%d systems, %v", len(systems), err)
		}
		p, err := recipe.Parse(bytes.NewReader(systems[0].Recipe))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(list, builtAt), p.Image.Encode(), 0o600); err != nil {
			t.Fatal(err)
		}
		images(t, "rm", string(p.Image.Key))
	}
	list, ok := assignedBut(t, forget, nil, []string{"--install-from", "base", "--again"})
	if !ok {
		return
	}
	b, err := os.ReadFile(filepath.Join(list, builtAt))
	if err != nil {
		t.Fatal(err)
	}
	built, err := image.DecodeManifest(b)
	if err != nil {
		t.Fatal(err)
	}
	lab.Ethernet(t)
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(disk, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(disk, 8<<30); err != nil {
		t.Fatal(err)
	}
	s := serve(t, list, "--silence", "2h") // its slowest script has nothing to say for a while
	lab.Run(t, firmware(false, disk)...)
	for _, says := range []string{"node1: capture", "is kept"} {
		s.expect(t, says)
	}
	var captured image.Manifest
	if err := json.Unmarshal(images(t, "show", "--json", string(built.Key)), &captured); err != nil {
		t.Fatal(err)
	}
	if captured.Digest() != built.Digest() {
		t.Errorf("captured %+v with the tree %s, built %+v with the tree %s", captured.Layers, captured.Tree.Short(), built.Layers, built.Tree.Short())
	}
	t.Logf("told:\n%s", s.text())
	s.end(syscall.SIGINT)
	leaves(t)
}
