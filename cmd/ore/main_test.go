package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestMain lets the test binary be the command: a copy of it that is called ore
// does what ore does. So the tests run what was just compiled, as processes of
// the users that they are about.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == program {
		main() // does not return
	}
	code := m.Run()
	if err := theWorld.end(); err != nil {
		os.Stderr.WriteString("clean up after the tests: " + err.Error() + "\n")
		code = max(code, 1)
	}
	os.Exit(code)
}
