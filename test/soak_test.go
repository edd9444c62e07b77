//go:build soak

// Package test runs the built command again and again, as a site does that
// never sleeps: jobs of random size and packages, some of them killed at a
// random moment. After each, nothing of it may be left. Beside them machines are
// kept and used all the time: what works for them may not grow.
package test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	b := s.up()
	var warm, now holding
	for begun := time.Now(); time.Since(begun) < span; s.round++ {
		s.one()
		b.use()
		now = b.holds()
		if s.round == warmRounds {
			warm = now
		}
		if t.Failed() {
			return
		}
	}
	t.Logf("%d jobs, %d of them killed", s.round, s.killed)
	t.Logf("the kept machines' processes after %d rounds: %+v; at the end: %+v", warmRounds, warm, now)
	if s.round > warmRounds && now.moreThan(warm) {
		t.Errorf("the kept machines' processes hold more and more")
	}
	b.down()
	if left := slices.Concat(mountsOf(s.home), mountsOf(b.home)); len(left) > 0 {
		t.Errorf("mounts left: %q", left)
	}
}

type soak struct {
	*testing.T
	program, home string
	random        *rand.Rand
	round, killed int
}

// warmRounds is how long the kept machines' processes may grow: buffers and
// pools find their sizes.
const warmRounds = 5

// bed is machines that are kept, with a state folder of their own.
type bed struct {
	*soak
	home string
}

func (s *soak) up() bed {
	b := bed{s, s.TempDir()}
	b.ore(nil, "up", "-q", "-n", "2", "--name", "kept")
	s.Cleanup(func() { b.ore(nil, "down", "--all") })
	return b
}

func (b bed) ore(in []byte, args ...string) string {
	b.Helper()
	cmd := exec.Command(b.program, args...)
	cmd.Env = append(os.Environ(), "ORE_HOME="+b.home)
	cmd.Stdin = bytes.NewReader(in)
	out, err := cmd.CombinedOutput()
	if err != nil {
		b.Errorf("round %d: %v: %v: %s", b.round, args, err, out)
	}
	return string(out)
}

// use does a little of everything with the machines.
func (b bed) use() {
	file := filepath.Join(b.home, "file")
	content := bytes.Repeat([]byte{byte(b.round)}, 1+b.random.IntN(1<<20))
	if err := os.WriteFile(file, content, 0o600); err != nil {
		b.Fatal(err)
	}
	b.ore(nil, "cp", file, "kept:/job")
	b.ore(nil, "cp", "--rank", "1", "kept:/job/file", filepath.Join(b.home, "back"))
	if got, err := os.ReadFile(filepath.Join(b.home, "back", "file")); err != nil || !bytes.Equal(got, content) {
		b.Errorf("round %d: a file of %d bytes came back as %d: %v", b.round, len(content), len(got), err)
	}
	if got := b.ore(content, "exec", "kept", "--rank", "0", "--", "wc", "-c"); got != fmt.Sprintln(len(content)) {
		b.Errorf("round %d: %d bytes of input arrived as %s", b.round, len(content), got)
	}
	if got := b.ore(nil, "exec", "kept", "--", "sh", "-c", "rm file; ls | wc -l"); !strings.Contains(got, "0: 0\n") || !strings.Contains(got, "1: 0\n") {
		b.Errorf("round %d: files in the machines: %s", b.round, got)
	}
	if err := os.RemoveAll(filepath.Join(b.home, "back")); err != nil {
		b.Fatal(err)
	}
}

func (b bed) down() {
	b.ore(nil, "down", "kept")
	if left := processesOf(b.home); len(left) > 0 {
		b.Errorf("processes left: %v", left)
	}
}

// holding is what processes hold.
type holding struct{ Processes, Files, Threads, MemoryKiB int }

// What is no growth: a connection that is being closed, a thread for a system
// call that blocks, pages that the collector has not given back.
const (
	someFiles   = 8
	someThreads = 8
	someMemory  = 32 << 10
)

func (h holding) moreThan(o holding) bool {
	return h.Processes > o.Processes || h.Files > o.Files+someFiles || h.Threads > o.Threads+someThreads || h.MemoryKiB > o.MemoryKiB+someMemory
}

// holds counts what the bed's supervisor and keeper hold; the machines' own
// memory is what was asked for.
func (b bed) holds() holding {
	var h holding
	for _, p := range processesOf(b.home) {
		pid, line, _ := strings.Cut(p, " ")
		if !strings.Contains(line, "supervise") {
			continue
		}
		h.Processes++
		files, _ := os.ReadDir(filepath.Join("/proc", pid, "fd"))
		h.Files += len(files)
		status, _ := os.ReadFile(filepath.Join("/proc", pid, "status"))
		for l := range strings.Lines(string(status)) {
			var n int
			if k, _ := fmt.Sscanf(l, "VmRSS: %d kB", &n); k == 1 {
				h.MemoryKiB += n
			}
			if k, _ := fmt.Sscanf(l, "Threads: %d", &n); k == 1 {
				h.Threads += n
			}
		}
	}
	if h.Processes == 0 {
		b.Errorf("round %d: the kept machines are gone", b.round)
	}
	return h
}

// mountsOf lists what is mounted here from or on something in a folder.
func mountsOf(folder string) []string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return []string{err.Error()}
	}
	var all []string
	for l := range strings.Lines(string(b)) {
		if strings.Contains(l, folder) {
			all = append(all, l)
		}
	}
	return all
}

// strays are files that somebody who wrote them should have renamed or removed.
func (s *soak) strays() []string {
	var all []string
	filepath.WalkDir(s.home, func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasPrefix(d.Name(), ".new-") {
			all = append(all, p)
		}
		return nil
	})
	return all
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
	for len(processesOf(s.home)) > 0 {
		if time.Now().After(deadline) {
			s.Errorf("round %d: processes left: %v", s.round, processesOf(s.home))
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
	if all := s.strays(); len(all) > maxStrays {
		s.Errorf("round %d: half-written files left: %v", s.round, all)
	}
}

// maxStrays is how many files a killed command may leave under a temporary name:
// they are a few, of records and not of layers, and the store sweeps its own.
const maxStrays = 8

// processesOf returns those whose environment or command line names the folder.
func processesOf(home string) []string {
	var all []string
	list, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range list {
		line, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		env, _ := os.ReadFile(filepath.Join(p, "environ"))
		if p != fmt.Sprintf("/proc/%d", os.Getpid()) && (bytes.Contains(line, []byte(home)) || bytes.Contains(env, []byte("ORE_HOME="+home+"\x00"))) {
			all = append(all, filepath.Base(p)+" "+strings.ReplaceAll(string(line[:min(len(line), 120)]), "\x00", " "))
		}
	}
	return all
}
