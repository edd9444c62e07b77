package guard

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestServices(t *testing.T) {
	dir := t.TempDir()
	daemon := filepath.Join(dir, daemonFile)
	if err := os.MkdirAll(filepath.Dir(daemon), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(daemon, []byte("#!/bin/sh\nexit 7\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	code := func(name string) int {
		var failed *exec.ExitError
		if err := exec.Command(filepath.Join(dir, name)).Run(); errors.As(err, &failed) {
			return failed.ExitCode()
		} else if err != nil {
			return -1
		}
		return 0
	}
	want := errors.New("reason")
	err := Services(dir, func() error {
		if code(daemonFile) != 0 || code(policyFile) != 101 {
			t.Errorf("inside: start-stop-daemon %d, policy-rc.d %d", code(daemonFile), code(policyFile))
		}
		return want
	})
	if !errors.Is(err, want) {
		t.Errorf("error %v", err)
	}
	err = Policy(dir, func() error {
		if code(daemonFile) != 7 || code(policyFile) != 101 {
			t.Errorf("with the policy alone: start-stop-daemon %d, policy-rc.d %d", code(daemonFile), code(policyFile))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadDir(filepath.Dir(daemon))
	if err != nil || len(list) != 1 || code(daemonFile) != 7 {
		t.Errorf("afterwards: %v %v, start-stop-daemon %d", list, err, code(daemonFile))
	}
}
