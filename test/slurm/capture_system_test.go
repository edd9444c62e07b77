//go:build system

package slurm

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"ore/image"
)

// manifest is what a command of the user's prints as JSON.
func (l *lab) manifest(t *testing.T, args ...string) (m image.Manifest) {
	t.Helper()
	cmd := l.command(args...)
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &m)
	}
	if err != nil {
		t.Fatalf("ore %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return m
}

// What machines installed from packages on hosts of Slurm comes home as an image, the
// very one that is built here, and the next ones are written from it.
func TestCaptureOnSlurm(t *testing.T) {
	l := newLab(t)
	built := l.manifest(t, "build", "--json", "-p", "hello")
	l.well(t, "images", "rm", string(built.Key))
	install := func(more ...string) string {
		t.Helper()
		return l.well(t, append(append([]string{"run", "--engine", "slurm", "-n", "2", "--root", "disk", "--disk", "2G", "-m", "512M", "-p", "hello", "--hypervisor", "uml",
			"--results", filepath.Join(l.user.HomeDir, "results")}, more...), "--", "sh", "-c", "hello; dpkg --audit; dpkg --verify")...)
	}
	out := install("--install-from", "packages")
	if strings.Count(out, "Hello, world!\n") != 2 || !strings.Contains(out, "capture") {
		t.Errorf("from packages: %s", out)
	}
	if captured := l.manifest(t, "images", "show", "--json", string(built.Key)); captured.Digest() != built.Digest() {
		t.Errorf("captured %+v with the tree %s, built %+v with the tree %s", captured.Layers, captured.Tree.Short(), built.Layers, built.Tree.Short())
	}
	if out := install(); strings.Contains(out, "configure ") || strings.Count(out, "Hello, world!\n") != 2 {
		t.Errorf("the next request does not find it: %s", out)
	}
	l.free(t, hosts...)
}
