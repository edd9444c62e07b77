package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"ore/cluster"
	"ore/guest"
	"ore/site"
)

func newShell(a *app) *cobra.Command {
	var rank int
	var user string
	c := &cobra.Command{
		Use: "shell NAME", Short: "Open a shell on a kept machine", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeJobs,
		RunE: a.onBed(func(ctx context.Context, s *site.Site, b bed, _ []string) error {
			return a.shell(ctx, b, cluster.MachineName(rank), user)
		}),
	}
	c.Flags().IntVar(&rank, "rank", 0, "the machine's `rank`")
	c.Flags().StringVarP(&user, "user", "u", "", "`user` in the machine; default root")
	return c
}

// loginShell is the user's own shell if the image has bash, else sh.
const loginShell = `if [ -x /bin/bash ]; then exec /bin/bash -l; else exec /bin/sh -l; fi`

func (a *app) shell(ctx context.Context, b bed, machine, user string) error {
	keys, end, err := a.input()
	if err != nil {
		return err
	}
	defer end()
	c := guest.Command{Args: []string{"/bin/sh", "-c", loginShell}, User: user, Stdin: keys, Stdout: a.io.out, Stderr: a.io.err, Dir: "/root"}
	if user != "" {
		c.Dir = "/"
	}
	in, terminal := isTerminal(a.io.in)
	if terminal {
		restore, tty, err := raw(ctx, in)
		if err != nil {
			return err
		}
		defer restore()
		c.TTY = tty
		c.Env = []string{"TERM=" + os.Getenv("TERM")}
	}
	exit, err := b.Exec(ctx, machine, c)
	if err == nil && exit.Code != 0 {
		return exitCode(exit.Code)
	}
	return b.again(err)
}

// raw gives all keys to the machine and follows the window's size.
func raw(ctx context.Context, in *os.File) (restore func(), tty *guest.TTY, err error) {
	fd := int(in.Fd())
	old, err := term.MakeRaw(fd)
	if err != nil {
		return nil, nil, fmt.Errorf("shell: terminal: %w", err)
	}
	size := func() guest.Size {
		w, h, err := term.GetSize(fd)
		if err != nil {
			return guest.Size{Rows: 24, Cols: 80}
		}
		return guest.Size{Rows: uint16(h), Cols: uint16(w)}
	}
	changes := make(chan guest.Size)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGWINCH)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-signals:
				select {
				case changes <- size():
				case <-ctx.Done():
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	restore = func() {
		cancel()
		<-done
		signal.Stop(signals)
		_ = term.Restore(fd, old)
	}
	return restore, &guest.TTY{Size: size(), Resize: changes}, nil
}
