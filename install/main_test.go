package install

import (
	"context"
	"fmt"
	"os"
	"testing"

	"ore/install/sandbox"
)

// workerWord makes this test's executable the worker of a build.
const workerWord = "install-worker"

func TestMain(m *testing.M) {
	sandbox.Main()
	if len(os.Args) > 1 && os.Args[1] == workerWord {
		if err := Worker(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) > 1 && os.Args[1] == asWord {
		if err := runErrand(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	if shared != "" {
		os.RemoveAll(shared)
	}
	os.Exit(code)
}

// shared is the builder's folder of all tests, so that packages are decoded
// once.
var shared string

// testDir returns it; ORE_TEST_DIR keeps it between runs.
func testDir(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("ORE_TEST_DIR"); dir != "" {
		return dir
	}
	if shared == "" {
		dir, err := os.MkdirTemp("", "ore-install-test-")
		if err != nil {
			t.Fatal(err)
		}
		shared = dir
	}
	return shared
}
