package configure

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"syscall"

	"ore"
	"ore/install/output"
)

// environment is what programs in the tree find: Debian's PATH for root, no
// questions, and messages that can be read everywhere.
func environment() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C",
		"DEBIAN_FRONTEND=noninteractive", "LVM_SUPPRESS_FD_WARNINGS=1",
	}
}

// run runs a program in the tree as its root.
func (s *setup) run(ctx context.Context, argv []string, in string) ([]byte, error) {
	out := &output.Lines{Watch: func(e ore.Event) { s.tell(e.Text) }}
	// env(1) looks for the program in the tree, where the host's PATH says nothing.
	c := exec.CommandContext(ctx, "/usr/bin/env", append([]string{"--"}, argv...)...)
	c.Env, c.Dir, c.Stdin, c.Stdout, c.Stderr = environment(), "/", strings.NewReader(in), out, out
	c.SysProcAttr = &syscall.SysProcAttr{Chroot: s.Target, Pdeathsig: syscall.SIGKILL}
	err := c.Run()
	return []byte(out.Tail()), err
}

// tell says what the step that is being done is at.
func (s *setup) tell(doing string) {
	e := s.now
	e.Text += ": " + doing
	s.Watch.Tell(e)
}

// call runs a program in the tree and makes an error of what it said.
func (s *setup) call(ctx context.Context, in string, argv ...string) error {
	s.tell(argv[0])
	said, err := s.Command(ctx, argv, in)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("%s: %w: its output ends with:\n%s", strings.Join(argv[:min(len(argv), 2)], " "), err, said)
	}
	return nil
}
