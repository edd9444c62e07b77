//go:build system

package sandbox

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// debian is a tar archive of Debian's minimal set, made once.
var debian = sync.OnceValues(func() (string, error) {
	if p := os.Getenv("ORE_TEST_MINBASE"); p != "" {
		return p, nil
	}
	dir, err := os.MkdirTemp("", "ore-sandbox-debian-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "minbase.tar")
	args := []string{"--variant=minbase", "--quiet", "bookworm", path}
	if m := os.Getenv("ORE_MIRROR"); m != "" {
		args = append(args, m)
	}
	if out, err := exec.Command("mmdebstrap", args...).CombinedOutput(); err != nil {
		return "", fmt.Errorf("mmdebstrap: %w: %s", err, out)
	}
	return path, nil
})

func TestDebianIsTheSameInAllTiers(t *testing.T) {
	archive, err := debian()
	if err != nil {
		t.Fatal(err)
	}
	var want string
	for _, tier := range tiers {
		t.Run(string(tier), func(t *testing.T) {
			dir := folder(t, tier)
			if err := os.Link(archive, filepath.Join(dir, "minbase.tar")); err != nil {
				t.Fatal(err)
			}
			got := inside(t, tier, "debian", dir)
			switch {
			case tier == Root:
				want = got
			case got != want:
				t.Errorf("not as for root:\n%s", differences(want, got))
			}
		})
	}
}
