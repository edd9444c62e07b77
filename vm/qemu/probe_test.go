package qemu

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// scripted returns a hypervisor whose QEMU is a shell's script.
func scripted(t *testing.T, script string) *Host {
	t.Helper()
	kernel := filepath.Join(t.TempDir(), "kernel")
	if err := os.WriteFile(kernel, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return New(Config{ProbeKernel: kernel, Command: func(...string) *exec.Cmd { return exec.Command("/bin/sh", "-c", script) }})
}

// What a kernel on KVM says is an answer; its silence is one only if it had the
// time to speak.
func TestBootOnKVM(t *testing.T) {
	const long = time.Minute // more than a busy host takes to start a shell
	for _, c := range []struct {
		summary, script, say string
		limit                time.Duration
	}{
		{"it comes far enough", "echo '" + noRoot + "'; exec sleep 60", "", long},
		{"it ends", "echo bad >&2; exit 3", "does not start", long},
		{"it is kept waiting", "exec sleep 60", "busy", 50 * time.Millisecond},
	} {
		err := scripted(t, c.script).boot(t.Context(), c.limit)
		if (err == nil) != (c.say == "") || err != nil && !strings.Contains(err.Error(), c.say) || errors.Is(err, errBusy) != (c.say == "busy") {
			t.Errorf("%s: %v", c.summary, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := scripted(t, "exec sleep 60").boot(ctx, long); err == nil || errors.Is(err, errBusy) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestSilence(t *testing.T) {
	for work, busy := range map[time.Duration]bool{0: true, bootWork - 1: true, bootWork: false, bootTime: false} {
		if err := silent(bootTime, work); errors.Is(err, errBusy) != busy {
			t.Errorf("after %v of work: %v", work, err)
		}
	}
	if processorTime(os.Getpid()) < 0 || processorTime(1<<30) != 0 {
		t.Error("the time of a process that is not there")
	}
}
