package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"ore/namespace"

	"golang.org/x/sys/unix"
)

// Tier is a way to be root in a tree.
type Tier string

// The tiers, best first.
const (
	Root   Tier = "root"   // real root, no user namespace
	SubIDs Tier = "subids" // user namespace with subordinate ids
	Single Tier = "single" // user namespace with one id, owners recorded
)

// tierVariable is the environment variable that tells Enter its tier.
const tierVariable = "ORE_SANDBOX_TIER"

// hostname is what the worker and all that runs in it are called: some
// packages write the name of the host into files, and two builds must agree.
const hostname = "localhost"

// exitUnready is the exit code of a process that could not enter its place.
const exitUnready = 125

// Options says what Spawn starts. Enter uses Owners alone.
type Options struct {
	Tier Tier     // for Spawn
	Args []string // arguments of the worker
	Env  []string // nil for the environment of this process
	Dir  string   // "" for the working folder of this process

	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Files          []*os.File // descriptors 3 and up in the worker

	// Owners is the path of the owner table, which tier Single needs. It
	// belongs to the tree and is kept with it; a missing one is made.
	Owners string
}

// Sandbox is the inside of a worker. Its methods may be called concurrently.
type Sandbox struct {
	tier    Tier
	records records

	// starting is held, shared, while a program is started: what this process had
	// open is open in the other one, too, until that is executed, and a mount in
	// which something is open is busy.
	starting sync.RWMutex
}

// Main is called first thing in main. It does the work of a process that this
// package started from the own executable and ends it; in any other process it
// enters the namespaces that it was started in, if any, and returns.
func Main() {
	if err := namespace.Enter(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitUnready)
	}
	role := os.Getenv(roleVariable)
	if role == "" {
		return
	}
	os.Unsetenv(roleVariable)
	os.Exit(play(role))
}

// roleVariable tells Main what a process was started for.
const roleVariable = "ORE_SANDBOX_ROLE"

// The roles of processes that this package starts.
const (
	roleStage  = "stage"  // the first process of a Run
	roleRemove = "remove" // deletes a tree
	roleClear  = "clear"  // is a janitor's program: deletes a tree, whoever owns its files
	roleProbe  = "probe"  // tries what a tier needs
	roleProbed = "probed" // a program in the tree of a probe
)

// play does the work of a role and returns the exit code.
func play(role string) int {
	var err error
	switch role {
	case roleStage:
		err = stage()
	case roleRemove:
		err = removeInside()
	case roleClear:
		err = Remove(context.Background(), os.Getenv(removeVariable))
	case roleProbe:
		err = probeInside()
	case roleProbed:
		err = probed()
	default:
		err = fmt.Errorf("sandbox: %s=%q: unknown", roleVariable, role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitUnready
	}
	return 0
}

// Spawn runs the own executable again, with o.Args, as a worker in new mount,
// PID, IPC and UTS namespaces (and a user namespace where the tier has one) and
// returns when it has ended, with an *exec.ExitError if not with exit code 0.
// The worker itself keeps the network; what it runs gets it only if asked.
// When ctx is done, or this process ends, no process of the sandbox is left.
func Spawn(ctx context.Context, o Options) error {
	p, err := start(ctx, o)
	if err != nil {
		return fmt.Errorf("sandbox %s: %w", o.Tier, err)
	}
	return p.Wait()
}

func start(ctx context.Context, o Options) (*namespace.Process, error) {
	n := namespace.Options{
		Kinds: namespace.Mount | namespace.PID | namespace.IPC | namespace.UTS,
		Args:  o.Args, Env: o.Env, Dir: o.Dir,
		Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Files: o.Files,
	}
	switch o.Tier {
	case Root:
		if os.Geteuid() != 0 {
			return nil, errors.New("this user is not root")
		}
	case SubIDs:
		n.Kinds |= namespace.User
		n.IDs = namespace.Ranges
	case Single:
		n.Kinds |= namespace.User
		n.IDs = namespace.AsRoot
	default:
		return nil, errors.New("no such tier: root, subids or single")
	}
	if n.Env == nil {
		n.Env = os.Environ()
	}
	n.Env = append(n.Env[:len(n.Env):len(n.Env)], tierVariable+"="+string(o.Tier))
	return namespace.Start(ctx, n)
}

// Enter completes, in the worker, what Spawn began.
func Enter(o Options) (*Sandbox, error) {
	s := &Sandbox{tier: Tier(os.Getenv(tierVariable))}
	os.Unsetenv(tierVariable)
	switch s.tier {
	case Root, SubIDs:
	case Single:
		if o.Owners == "" {
			return nil, errors.New("enter sandbox single: no path for the owner table was given")
		}
		t, err := openTable(o.Owners)
		if err != nil {
			return nil, fmt.Errorf("enter sandbox single: %w", err)
		}
		s.records.table = t
	default:
		return nil, errors.New("enter sandbox: this process was not started by Spawn")
	}
	if err := unix.Sethostname([]byte(hostname)); err != nil {
		return nil, fmt.Errorf("enter sandbox %s: set the host's name: %w", s.tier, err)
	}
	// Files are made with exactly the modes that are asked for.
	unix.Umask(0)
	return s, nil
}

// Tier returns the tier of the sandbox.
func (s *Sandbox) Tier() Tier { return s.tier }

// Close ends the sandbox. Its mounts go with the worker.
func (s *Sandbox) Close() error {
	if s.records.table != nil {
		return s.records.table.close()
	}
	return nil
}
