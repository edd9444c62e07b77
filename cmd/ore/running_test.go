package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// sawDeadline is how long a command may take to write what is waited for.
const sawDeadline = 3 * time.Minute

// running is a command under way.
type running struct {
	cmd    *exec.Cmd
	cancel func()

	mu       sync.Mutex // guards out, errs and waiting
	out      bytes.Buffer
	errs     bytes.Buffer
	waiting  []expectation
	finished bool
}

// expectation is somebody who waits for words.
type expectation struct {
	words string
	met   chan struct{}
}

// stream is one of the outputs of a running command.
type stream struct {
	of *running
	to *bytes.Buffer
}

// Write keeps the bytes and tells those whose words have come.
func (s stream) Write(b []byte) (int, error) {
	s.of.mu.Lock()
	defer s.of.mu.Unlock()
	s.to.Write(b)
	s.of.check()
	return len(b), nil
}

func (r *running) check() {
	var still []expectation
	for _, e := range r.waiting {
		if strings.Contains(r.out.String(), e.words) || strings.Contains(r.errs.String(), e.words) {
			close(e.met)
		} else {
			still = append(still, e)
		}
	}
	r.waiting = still
}

// begin starts the command.
func (p *person) begin(t *testing.T, args ...string) *running {
	t.Helper()
	return p.beginFed(t, nil, args...)
}

// beginFed starts the command with a standard input, nil for none.
func (p *person) beginFed(t *testing.T, in *os.File, args ...string) *running {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	r := &running{cmd: p.command(ctx, args...), cancel: cancel}
	if in != nil {
		r.cmd.Stdin = in
	}
	r.cmd.Stdout, r.cmd.Stderr = stream{r, &r.out}, stream{r, &r.errs}
	if err := r.cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !r.finished {
			r.cmd.Process.Kill()
			r.cmd.Wait()
		}
		cancel()
	})
	return r
}

// saw returns when the command has written the words.
func (r *running) saw(t *testing.T, words string) {
	t.Helper()
	e := expectation{words, make(chan struct{})}
	r.mu.Lock()
	r.waiting = append(r.waiting, e)
	r.check()
	r.mu.Unlock()
	select {
	case <-e.met:
	case <-time.After(sawDeadline):
		r.mu.Lock()
		defer r.mu.Unlock()
		t.Fatalf("%v has not written %q in %v: stdout %s\nstderr %s", r.cmd.Args, words, sawDeadline, r.out.String(), r.errs.String())
	}
}

func (r *running) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		t.Fatalf("%v: %v", r.cmd.Args, err)
	}
}

// end waits for the command's end.
func (r *running) end(t *testing.T) outcome {
	t.Helper()
	err := r.cmd.Wait()
	r.finished = true
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%v: %v", r.cmd.Args, err)
	}
	return outcome{code: r.cmd.ProcessState.ExitCode(), out: r.out.String(), err: r.errs.String()}
}

// await returns when the condition holds. There is no event to wait for where
// processes die that are not our children, so it looks again and again.
func (p *person) await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(sawDeadline)
	for !holds() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("%s has not come: %v", what, p.traces(t))
		}
	}
}
