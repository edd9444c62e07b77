//go:build system

package uml

import (
	"os/exec"
	"path/filepath"
	"testing"

	"ore"
	"ore/deb/shelf"
	"ore/deb/shelf/shelftest"
	"ore/vm"
	"ore/vm/vmtest"
)

// TestConformanceOfSuites runs the suite with the User Mode Linux of each
// release of Debian that machines may be started with, as ore starts it: out of
// its package, with the release's own C library.
func TestConformanceOfSuites(t *testing.T) {
	initrd := initramfs(t)
	for _, suite := range []string{"bookworm", "trixie"} {
		t.Run(suite, func(t *testing.T) {
			s, err := shelf.Open(filepath.Join(t.TempDir(), "shelf"), shelftest.SuiteSource(t, suite))
			if err != nil {
				t.Fatal(err)
			}
			p, err := s.Program(t.Context(), "user-mode-linux", "usr/bin/linux.uml")
			if err != nil {
				t.Fatal(err)
			}
			h := New(Config{Command: func(args ...string) *exec.Cmd { return p.Command(t.Context(), args...) }})
			if a, err := h.Probe(t.Context()); err != nil || !a.Works {
				t.Fatalf("%+v, %v", a, err)
			}
			vmtest.Conformance(t, h, vm.Config{Initrd: initrd, Resources: ore.Resources{CPUs: 1, Memory: 128 << 20}})
		})
	}
}
