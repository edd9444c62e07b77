package cluster

import (
	"context"
	"fmt"
	"regexp"

	"ore/node"
)

// outOfMemory is what a kernel says when it kills a process because there is no
// memory left (Linux, mm/oom_kill.c), with the process's number and name.
var outOfMemory = regexp.MustCompile(`(?:Out of memory|Memory cgroup out of memory): Killed process (\d+) \(([^)]*)\)`)

// starved tells what the kernel of the part's machine killed for lack of
// memory, "" if nothing. It is no failure of ore's and may not even be one of
// the job's, but whoever looks for the cause of a wrong answer wants to know.
func (r *run) starved(ctx context.Context, p Part, n Node) string {
	all := outOfMemory.FindAllStringSubmatch(console(ctx, n, p.Machine), -1)
	if len(all) == 0 {
		return ""
	}
	last := all[len(all)-1]
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.killed[p.Machine] == last[1] {
		return "" // another task's, before
	}
	if r.killed == nil {
		r.killed = map[string]string{}
	}
	r.killed[p.Machine] = last[1]
	return fmt.Sprintf("machine %s: out of memory: its kernel killed %s: give machines more memory than %d MiB",
		p.Machine, last[2], r.job.Machines.Memory>>20)
}

// console returns what a machine's console said last, "" where the node cannot tell.
func console(ctx context.Context, n Node, machine string) string {
	c, ok := n.(interface {
		Console(ctx context.Context, machine string) (string, error)
	})
	if !ok {
		return ""
	}
	text, err := c.Console(ctx, machine)
	if err != nil {
		return "" // what is asked about has failed already, or is not worth failing for
	}
	return text
}

// withConsole adds the end of the console to an error of a machine.
func withConsole(ctx context.Context, n Node, machine string, err error) error {
	if end := node.ConsoleEnd(console(ctx, n, machine)); end != "" {
		return fmt.Errorf("%w%s", err, end)
	}
	return err
}
