package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"

	"ore/namespace"
)

// Streams are what a program is connected to.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Ended is an installer that did not come to its end. What there is to say has
// been said by its reports, and by itself.
type Ended struct{ Code int }

// Error says with what it ended.
func (e *Ended) Error() string {
	return fmt.Sprintf("the installer ended with exit code %d: what it wrote before says why", e.Code)
}

// Apart runs this program again, with other arguments, in namespaces of its own
// for processes and mounts, and waits for it: whatever ends either of them, nothing
// is left mounted, and nothing runs on. It returns false where the kernel refuses
// that, and then nothing was run.
func Apart(ctx context.Context, args []string, s Streams) (bool, error) {
	p, err := namespace.Start(ctx, namespace.Options{
		Kinds: namespace.PID | namespace.Mount, Args: args, Stdin: s.In, Stdout: s.Out, Stderr: s.Err,
	})
	if errors.Is(err, namespace.ErrRefused) {
		return false, nil
	}
	if err != nil {
		return true, err
	}
	err = p.Wait()
	var exit *exec.ExitError
	if ctx.Err() != nil {
		return true, ctx.Err()
	} else if errors.As(err, &exit) {
		return true, &Ended{exit.ExitCode()}
	}
	return true, err
}
