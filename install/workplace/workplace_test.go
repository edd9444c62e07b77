package workplace

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"ore/install/sandbox"
)

// openVariable makes this test's executable a build in the folder that it names.
const openVariable = "ORE_TEST_OPEN"

func TestMain(m *testing.M) {
	sandbox.Main()
	if parent := os.Getenv(openVariable); parent != "" {
		w, err := Open(context.Background(), parent)
		if err == nil {
			err = os.WriteFile(filepath.Join(w.Dir, "half"), []byte("made"), 0o600)
		}
		if err != nil {
			os.Stderr.WriteString(err.Error())
			os.Exit(1)
		}
		os.Stdout.WriteString("open\n")
		select {}
	}
	os.Exit(m.Run())
}

// build starts a build in parent and returns when it has its folder.
func build(t *testing.T, parent string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), openVariable+"="+parent)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	return cmd
}

// Of a build that is killed nothing is left, without another one.
func TestKilledBuildLeavesNothing(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	cmd := build(t, parent)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for { // the janitor is this process's child now
		_, err := unix.Wait4(-1, nil, 0, nil)
		if errors.Is(err, unix.ECHILD) {
			break
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// Sweep removes what a build left that was killed with its janitor, says how much
// that was, and leaves those alone that live.
func TestSweep(t *testing.T) {
	parent := t.TempDir()
	w, err := Open(t.Context(), parent)
	if err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(parent, "build-1")
	if err := errors.Join(os.Mkdir(dead, 0o700), os.WriteFile(filepath.Join(dead, "f"), make([]byte, 1000), 0o600), os.WriteFile(dead+".lock", nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	n, err := Sweep(t.Context(), parent)
	if err != nil || n != 1000 {
		t.Errorf("freed %d, %v", n, err)
	}
	if _, err := os.Stat(dead); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a dead build's folder: %v", err)
	}
	if _, err := os.Stat(w.Dir); err != nil {
		t.Error(err)
	}
	w.Remove()
	if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
