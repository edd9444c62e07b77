package deb_test

import (
	"errors"
	"os"
	"testing"

	"ore"
	"ore/deb"
)

// BenchmarkWarm opens the host's suite from a cache filled before and resolves
// a package: what a second run of a job does.
func BenchmarkWarm(b *testing.B) {
	suite := deb.HostSuite()
	if suite == "" {
		suite = "bookworm"
	}
	base := ore.Base{Suite: suite}
	c := deb.Config{Dir: b.TempDir(), Base: base, Mirror: os.Getenv("ORE_MIRROR")}
	run := func() {
		a, err := deb.Open(b.Context(), c)
		if errors.Is(err, deb.ErrNoMirror) {
			b.Skip(err)
		}
		if err != nil {
			b.Fatal(err)
		}
		if _, err := a.Resolve(b.Context(), ore.Wants{Base: base, Packages: []ore.Wish{{Name: "ncbi-blast+"}}}); err != nil {
			b.Fatal(err)
		}
		if err := a.Close(); err != nil {
			b.Fatal(err)
		}
	}
	run()
	for b.Loop() {
		run()
	}
}
