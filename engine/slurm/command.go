package slurm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
)

// environ is what Slurm's commands and the agents get of this process's
// environment: not the variables of an allocation that we may be in, which would
// be taken for options, and not our own, some of which are secrets.
func environ() []string {
	var env []string
	for _, e := range os.Environ() {
		name, _, _ := strings.Cut(e, "=")
		if name != "SLURM_CONF" && name != "SLURM_JWT" && (strings.HasPrefix(name, "SLURM_") || strings.HasPrefix(name, "SLURMD_") || strings.HasPrefix(name, "ORE_")) {
			continue
		}
		env = append(env, e)
	}
	return env
}

// ask runs one of Slurm's commands that answers and ends.
func ask(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = environ()
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	if err != nil {
		err = explain(args[0], err, said.String())
	}
	return out.String(), err
}

// explain makes an error of what a command said.
func explain(program string, err error, said string) error {
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%s: it is not here: run ore where Slurm's commands are, on a login node, or install Debian's slurm-client", program)
	}
	if said = strings.TrimSpace(said); said == "" {
		return fmt.Errorf("%s: %w", program, err)
	}
	lines := strings.Split(said, "\n")
	for i, l := range lines {
		lines[i] = strings.TrimPrefix(strings.TrimPrefix(l, program+": "), "error: ")
	}
	return &spoken{fmt.Sprintf("%s: %s", program, strings.Join(lines, "; ")), err}
}

// spoken is an error that a command has explained itself.
type spoken struct {
	text string
	err  error
}

// Error gives what it said.
func (s *spoken) Error() string { return s.text }

// Unwrap gives how it ended.
func (s *spoken) Unwrap() error { return s.err }

// process is one of Slurm's commands that stays.
type process struct {
	cmd  *exec.Cmd
	said *tail
	done chan struct{} // closed when it has ended
	err  error         // how; to be read after done
}

// start starts a command that stays, and returns what it says. Each line of its
// errors is told to lines, which may be nil. cmd has its standard input.
func start(cmd *exec.Cmd, lines func(string)) (*process, *os.File, error) {
	p := &process{cmd: cmd, said: &tail{lines: lines}, done: make(chan struct{})}
	cmd.Env, cmd.Stderr = environ(), p.said
	// Not a StdoutPipe, which Wait closes: the last words would be lost.
	out, theirs, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer theirs.Close()
	cmd.Stdout = theirs
	// An interrupt at the terminal is for us: we end what we started in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if cmd.Args[0] == "salloc" {
		// On which it takes back a request that waits. srun would kill what it
		// started, which ends by itself and in order when its input does.
		cmd.SysProcAttr.Pdeathsig = syscall.SIGTERM
	}
	started := make(chan error, 1)
	go func() {
		// The signal is sent when the thread that started the process ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		out.Close()
		return nil, nil, explain(cmd.Args[0], err, "")
	}
	return p, out, nil
}

// stop has the process end, and kills it when ctx ends before it has.
func (p *process) stop(ctx context.Context) error {
	p.cmd.Process.Signal(syscall.SIGTERM)
	return p.wait(ctx)
}

// wait waits for the end, and kills when ctx ends.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s: it did not end by itself: %w", p.cmd.Args[0], ctx.Err())
	}
}

// fault is how the process ended, with what it said.
func (p *process) fault() error {
	err := p.err
	if err == nil {
		err = errors.New("it ended")
	}
	return explain(p.cmd.Args[0], err, p.said.String())
}

// maxTail bounds what is kept of what a command says: the end is what explains.
const maxTail = 4 << 10

// tail keeps the end of what is written to it. It hands on whole lines as well.
type tail struct {
	mu    sync.Mutex // guards what follows
	text  []byte
	lines func(string) // may be nil
	part  []byte
}

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, b...)
	t.text = t.text[max(0, len(t.text)-maxTail):]
	if t.lines == nil {
		return len(b), nil
	}
	t.part = append(t.part, b...)
	for {
		line, rest, ok := bytes.Cut(t.part, []byte("\n"))
		if !ok {
			break
		}
		t.lines(string(line))
		t.part = rest
	}
	t.part = t.part[max(0, len(t.part)-maxTail):]
	return len(b), nil
}

// String returns the end of what was said.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
