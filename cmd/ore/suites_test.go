package main

import (
	"strings"
	"testing"
)

// An environment may be of another suite than the host's: it is made, and is
// whole in the eyes of its own dpkg and apt.
func TestAnotherSuite(t *testing.T) {
	p := someone(t)
	p.file(t, "trixie.yaml", `
environment: {base: debian/trixie, packages: [hello]}
run: {script: ". /etc/os-release; echo $VERSION_CODENAME; hello; dpkg --audit; dpkg --verify; apt-get check -qq && echo clean"}
`)
	for range 2 { // made, and found again
		if o := p.must(t, "run", "-q", "-f", "trixie.yaml", "--results", p.results(t)); o.out != "trixie\nHello, world!\nclean\n" {
			t.Errorf("%v", o)
		}
	}
	if o := p.must(t, "plan", "-f", "trixie.yaml"); !strings.Contains(o.out, "way          exact") {
		t.Errorf("plan: %v", o)
	}
}
