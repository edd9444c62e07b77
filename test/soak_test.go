//go:build soak

// Package test runs the built command again and again, as a site does that
// never sleeps: jobs of random size and packages, some of them killed at a
// random moment. After each, nothing of it may be left.
package test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// soakTime is how long the test goes on unless SOAK says otherwise.
const soakTime = 30 * time.Minute

// settle is how long the kernel and a supervisor may take to end all processes
// of a job whose command was killed.
const settle = 20 * time.Second

// look is how often processes are looked for meanwhile.
const look = 50 * time.Millisecond

func TestSoak(t *testing.T) {
	span := soakTime
	if s := os.Getenv("SOAK"); s != "" {
		var err error
		if span, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv("ORE_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("ORE_SEED=%d", seed)
	program, err := filepath.Abs("../bin/ore")
	if err != nil {
		t.Fatal(err)
	}
	s := &soak{T: t, program: program, home: t.TempDir(), random: rand.New(rand.NewPCG(seed, 0))}
	for begun := time.Now(); time.Since(begun) < span; s.round++ {
		s.one()
		if t.Failed() {
			return
		}
	}
	t.Logf("%d jobs, %d of them killed", s.round, s.killed)
}

type soak struct {
	*testing.T
	program, home string
	random        *rand.Rand
	round, killed int
}

// one runs one job, perhaps kills it, and looks at what is left.
func (s *soak) one() {
	n := 1 + s.random.IntN(6)
	packages := []string{"", "jq", "hello", "sl,jq", "bc,hello", "file,jq,bc"}[s.random.IntN(6)]
	args := []string{"run", "-q", "-n", strconv.Itoa(n), "--results", filepath.Join(s.home, "results")}
	if packages != "" {
		args = append(args, "-p", packages)
	}
	args = append(args, "--", "sh", "-c", "echo $ORE_RANK; exit $((ORE_RANK % 3))")
	cmd := exec.Command(s.program, args...)
	cmd.Env = append(os.Environ(), "ORE_HOME="+s.home)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		s.Fatal(err)
	}
	kill := s.random.IntN(3) == 0
	if kill {
		timer := time.AfterFunc(time.Duration(s.random.IntN(3000))*time.Millisecond, func() { cmd.Process.Kill() })
		defer timer.Stop()
	}
	err := cmd.Wait()
	var ended *exec.ExitError
	errors.As(err, &ended)
	if ended != nil && ended.Sys().(syscall.WaitStatus).Signaled() {
		s.killed++
	} else if code := cmd.ProcessState.ExitCode(); code != min(n-1, 2) {
		s.Errorf("round %d: %v: exit code %d, want %d\n%s", s.round, args, code, min(n-1, 2), errs.String())
	} else if got := strings.Count(out.String(), "\n"); got != n {
		s.Errorf("round %d: %d lines of output, want %d:\n%s", s.round, got, n, out.String())
	}
	s.nothingLeft()
}

// nothingLeft waits until no process works for this test's folder, and lets the
// next command sweep.
func (s *soak) nothingLeft() {
	deadline := time.Now().Add(settle)
	for len(s.processes()) > 0 {
		if time.Now().After(deadline) {
			s.Errorf("round %d: processes left: %v", s.round, s.processes())
			return
		}
		<-time.After(look) // the kernel tells nobody of processes that are not their own children
	}
	list := exec.Command(s.program, "jobs", "ls")
	list.Env = append(os.Environ(), "ORE_HOME="+s.home)
	if b, err := list.CombinedOutput(); err != nil {
		s.Errorf("round %d: jobs ls: %v: %s", s.round, err, b)
	}
	left, err := os.ReadDir(filepath.Join(s.home, "run"))
	if err != nil || len(left) > 0 {
		s.Errorf("round %d: folders of jobs left: %v, %v", s.round, left, err)
	}
}

// processes returns those whose environment or command line names the folder.
func (s *soak) processes() []string {
	var all []string
	list, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range list {
		line, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		env, _ := os.ReadFile(filepath.Join(p, "environ"))
		if p != fmt.Sprintf("/proc/%d", os.Getpid()) && (bytes.Contains(line, []byte(s.home)) || bytes.Contains(env, []byte("ORE_HOME="+s.home))) {
			all = append(all, filepath.Base(p)+" "+strings.ReplaceAll(string(line[:min(len(line), 120)]), "\x00", " "))
		}
	}
	return all
}
