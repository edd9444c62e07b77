// Package keeper keeps machines on hosts elsewhere after the command that started
// them has ended.
//
// A keeper is this program again, with the same words, in a session of its own on
// the host where 'ore up' was called: it has the hosts (an allocation of a batch
// system, connections to agents) and serves the interface of package node for all
// machines together at a socket in the job's folder, as a supervisor does for
// machines of this host. So whoever attaches to kept machines finds them in the same
// way, wherever they are.
//
// # Beginning
//
// The command reads from the keeper's standard output, one [Told] a line, what
// happens, and then which machines there are. It writes down what is to be known of
// them, and tells the keeper that it keeps them from now on. If the command ends
// before that, however it does, so does the keeper, and all that it has.
//
// # End
//
// A keeper ends by 'ore down', by SIGTERM, or with its allocation, whose reason it
// writes into the job's record. If it is killed, the allocation goes back by that
// (package engine/slurm), agents end its machines when their lease is over, and a
// janitor removes the folder.
package keeper

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"

	"ore"
	"ore/node"
	"ore/site/supervisor"
)

// lifelineFD is where a keeper reads that its machines are kept for good.
const lifelineFD = 3

// handedOver is what it reads then.
const handedOver = "over\n"

// maxTold bounds a line of a keeper: the machines of the largest job, with how more
// of them are started.
const maxTold = 64 << 20

// Told is a line of a keeper's: an event on the way, or, last, machines or an error.
type Told struct {
	Event *ore.Event `json:",omitempty"`
	Up    *Up        `json:",omitempty"`
	Error string     `json:",omitempty"`
	Taken bool       `json:",omitempty"` // the error is that there are machines of that name
}

// Up is machines that a keeper has started.
type Up struct {
	Machines  []node.Started
	Published []ore.Port
	Start     json.RawMessage // see cluster.Bed.Encode
}

// Keeper is one that this process has begun, and not handed its machines over to.
type Keeper struct {
	cmd      *exec.Cmd
	lifeline io.WriteCloser
}

// Begin starts this program again with args, which have it call [Keep], and
// returns when the machines are up.
func Begin(ctx context.Context, args []string, watch ore.Watcher) (*Keeper, Up, error) {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = os.Args[0]
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	theirs, lifeline, err := os.Pipe()
	if err != nil {
		return nil, Up{}, err
	}
	defer theirs.Close()
	cmd.ExtraFiles = []*os.File{theirs}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		lifeline.Close()
		return nil, Up{}, fmt.Errorf("start a keeper: %w", err)
	}
	k := &Keeper{cmd, lifeline}
	defer context.AfterFunc(ctx, func() { lifeline.Close() })() // it ends by that
	up, err := listen(out, watch)
	if err != nil {
		err = errors.Join(err, k.End())
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, Up{}, err
	}
	return k, up, nil
}

// listen reads what a keeper tells.
func listen(out io.Reader, watch ore.Watcher) (Up, error) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, maxTold)
	for lines.Scan() {
		var t Told
		if err := json.Unmarshal(lines.Bytes(), &t); err != nil {
			return Up{}, fmt.Errorf("the keeper says %q: %w", lines.Text(), err)
		}
		switch {
		case t.Event != nil:
			watch.Tell(*t.Event)
		case t.Taken:
			return Up{}, supervisor.ErrTaken
		case t.Error != "":
			return Up{}, errors.New(t.Error)
		case t.Up != nil:
			return *t.Up, nil
		}
	}
	return Up{}, errors.Join(errors.New("the keeper of the machines has ended: start them again"), lines.Err())
}

// HandOver has the machines outlive this process.
func (k *Keeper) HandOver() error {
	_, err := io.WriteString(k.lifeline, handedOver)
	if err = errors.Join(err, k.lifeline.Close()); err != nil {
		return errors.Join(fmt.Errorf("keep machines: %w: start them again", err), k.End())
	}
	return nil
}

// End has the keeper end its machines, and waits for that.
func (k *Keeper) End() error {
	k.lifeline.Close()
	var exit *exec.ExitError
	if err := k.cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return err // how it ended otherwise it has told
	}
	return nil
}

// teller writes lines until the machines are up.
type teller struct {
	mu  sync.Mutex // guards out
	out *json.Encoder
}

func (t *teller) tell(v Told) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.out == nil {
		return
	}
	if v.Event == nil {
		defer func() { t.out = nil }()
	}
	_ = t.out.Encode(v) // who does not read any more has let go of the lifeline
}
