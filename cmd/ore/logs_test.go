package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"ore"
	"ore/image"
)

// The logs of several ranks come in their order, and say whose they are.
func TestLogsOfRanks(t *testing.T) {
	dir := t.TempDir()
	for _, rank := range []string{"0", "2", "10"} {
		if err := os.Mkdir(filepath.Join(dir, rank), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"stdout", "stderr"} {
			if err := os.WriteFile(filepath.Join(dir, rank, name), []byte(name+" of "+rank+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for range 10 { // an order by chance would show
		var out bytes.Buffer
		a := &app{io: stdio{out: &out, err: &out}}
		if err := a.logs(dir, ""); err != nil {
			t.Fatal(err)
		}
		want := "0: stdout of 0\n0: stderr of 0\n2: stdout of 2\n2: stderr of 2\n10: stdout of 10\n10: stderr of 10\n"
		if out.String() != want {
			t.Fatalf("got %q, want %q", out.String(), want)
		}
	}
	var out bytes.Buffer
	a := &app{io: stdio{out: &out, err: &out}}
	if err := a.logs(dir, "2"); err != nil || out.String() != "stdout of 2\nstderr of 2\n" {
		t.Errorf("of one rank: %q, %v", out.String(), err)
	}
}

func TestVersionFlag(t *testing.T) {
	var out bytes.Buffer
	if code := run(t.Context(), []string{"--version"}, stdio{in: strings.NewReader(""), out: &out, err: &out}); code != 0 || !strings.HasPrefix(out.String(), "ore ") {
		t.Errorf("exit code %d, %q", code, out.String())
	}
}

// What is said of the version is known, however ore was compiled.
func TestVersionIsKnown(t *testing.T) {
	var out bytes.Buffer
	if code := run(t.Context(), []string{"version"}, stdio{in: strings.NewReader(""), out: &out, err: &out}); code != 0 || strings.Contains(out.String(), "unknown") || !strings.HasPrefix(out.String(), "ore "+version+" (go") {
		t.Errorf("exit code %d: %q", code, out.String())
	}
}

// A full disk is told with what to do about it, once, wherever it was met.
func TestFullDiskIsToldWithAdvice(t *testing.T) {
	for _, err := range []error{
		&fs.PathError{Op: "write", Path: "/o/state/.new-1", Err: syscall.ENOSPC},
		image.Full(&fs.PathError{Op: "write", Path: "/o/state/.new-1", Err: syscall.EDQUOT}),
	} {
		var out bytes.Buffer
		if code := report(&out, err, false); code != ore.ExitFailed || strings.Count(out.String(), "free some space") != 1 {
			t.Errorf("exit code %d: %q", code, out.String())
		}
	}
}
