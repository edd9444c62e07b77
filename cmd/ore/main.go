// Command ore makes the environment that a job asks for, starts machines with
// it, runs the job on them and brings its results home.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"ore"
	"ore/cmd/ore/ending"
	"ore/cmd/ore/foreign"
	"ore/cmd/ore/installing"
	"ore/cmd/ore/keeping"
	"ore/image"
	"ore/install/sandbox"
)

func main() {
	sandbox.Main() // a process that ore itself started in namespaces ends or begins here
	os.Exit(run(context.Background(), os.Args[1:], stdio{in: os.Stdin, out: os.Stdout, err: os.Stderr}))
}

// oneRequest is the time in which several signals count as one.
const oneRequest = 500 * time.Millisecond

// stdio is what a command is connected to.
type stdio struct {
	in       io.Reader
	out, err io.Writer
	last     *ending.Words // when signals end the process
}

// exitCode is an error that is only an exit code: what there was to say has
// been said.
type exitCode int

func (e exitCode) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// usageError is a fault in the words of the command line.
type usageError struct{ error }

// run is the whole command. A first interrupt or termination signal cancels
// ctx; a second one ends the process at once, and with it all that it started.
func run(ctx context.Context, args []string, io stdio) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	io.last = &ending.Words{}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)
	go func() {
		if _, ok := <-signals; !ok {
			return
		}
		cancel()
		// Some senders signal a process and then its group: that is one request.
		for again := time.Now().Add(oneRequest); ; {
			if _, ok := <-signals; !ok {
				return
			}
			if time.Now().After(again) {
				io.last.Speak(io.err)
				os.Exit(ore.ExitCancelled)
			}
		}
	}()
	root := newRoot(io)
	root.SetArgs(args)
	root.SetIn(io.in)
	root.SetOut(io.out)
	root.SetErr(io.err)
	err := root.ExecuteContext(ctx)
	return report(io.err, err, ctx.Err() != nil)
}

// outliveReaders makes writing to a pipe that nobody reads any more an error like
// others from here to the end of the process, instead of its end by SIGPIPE
// (signal(7), os/signal): a job is not to be lost because its output went to
// head(1). Nobody reads the channel, since the write says it all.
func outliveReaders() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }

// report tells the error and gives the exit code for it.
func report(w io.Writer, err error, cancelled bool) int {
	var code exitCode
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	case cancelled && errors.Is(err, context.Canceled):
		fmt.Fprintln(w, "ore: cancelled")
		return ore.ExitCancelled
	case errors.As(err, &usage):
		fmt.Fprintf(w, "ore: %v\n", err)
		return ore.ExitUsage
	default:
		fmt.Fprintf(w, "ore: %v\n", image.Full(err))
		return ore.ExitFailed
	}
}

// newRoot returns the command tree.
func newRoot(io stdio) *cobra.Command {
	root := &cobra.Command{
		Use:   "ore",
		Short: "Run a job on virtual machines with exactly the packages it needs",
		Long: `ore makes the environment that a job asks for (or reuses what it made before),
starts virtual machines with it, runs the job on all of them, brings output and
exit codes home, and removes every trace. It needs no root, no daemon and no
hardware virtualisation.`,
		Example: `  ore run -p ncbi-blast+ -- blastp -version
  ore run -n 4 -p ncbi-blast+ --input query.fa --output '*.tsv' -- sh -c 'blastp ...'
  ore up -n 3 --name bed -p postgresql && ore shell bed
  ore doctor`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          noSuchCommand,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w: see '%s --help'", plainFlagError(err), c.CommandPath())}
	})
	root.SuggestionsMinimumDistance = 2
	a := &app{io: io}
	a.flags(root)
	root.Version = version
	root.SetVersionTemplate("ore {{.Version}}\n")
	root.AddGroup(
		&cobra.Group{ID: "jobs", Title: "Jobs:"},
		&cobra.Group{ID: "beds", Title: "Machines that are kept:"},
		&cobra.Group{ID: "images", Title: "Environments and images:"},
		&cobra.Group{ID: "site", Title: "Many hosts:"},
		&cobra.Group{ID: "host", Title: "This host:"},
	)
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add("jobs", newRun(a), newPlan(a), newJobs(a))
	add("beds", newUp(a), newExec(a), newShell(a), newCopy(a), newGrow(a), newDown(a), keeping.Console(a.keeping()), keeping.Retry(a.keeping()))
	add("images", newBuild(a), newLock(a), newImages(a),
		foreign.Command(func(err error) error { return usageError{err} }))
	add("site", newInstall(a), newCache(a), newHosts(a), newNode(a), newSlurm(a), newTestbed(a), newBench(a))
	add("host", newDoctor(a), newVersion(a))
	root.AddCommand(newSupervise(a), newInstallWorker(a), newRPMWorker(a), newAfterwards(a), newMan(a))
	root.AddCommand(installing.Installer(io.in, io.out), installing.Netbooted(io.out, io.err))
	blameUser(root)
	return root
}

// noSuchCommand refuses the words that the root command is left with, which is
// none of its subcommands.
func noSuchCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("no command %q: did you mean %s?", args[0], strings.Join(near, ", "))
	}
	return fmt.Errorf("no command %q", args[0])
}

// blameUser makes what is wrong with a command's arguments a usageError.
func blameUser(c *cobra.Command) {
	if check := c.Args; check != nil {
		c.Args = func(c *cobra.Command, args []string) error {
			if err := check(c, args); err != nil {
				return usageError{fmt.Errorf("%w: see '%s --help'", plainArgsError(c, args, err), c.CommandPath())}
			}
			return nil
		}
	}
	for _, sub := range c.Commands() {
		blameUser(sub)
	}
}
