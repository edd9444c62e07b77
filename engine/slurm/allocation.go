package slurm

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"ore"
)

// holder is the command of the allocation: it says what was given, and lives as
// long as its standard input, or until salloc tells it that the allocation is over.
// salloc 22.05 may go on for ever, busy with nothing, when it got SIGTERM because we
// were killed: what the lease leaves for some seconds ends that, and makes sure of
// the allocation's end.
const holder = `printf '%s\n' "$SLURM_JOB_ID" "$SLURM_JOB_NODELIST" "$SLURM_TASKS_PER_NODE"
exec 3<&0 >/dev/null 2>&1
after() {
  setsid sh -c 'sleep 5; [ "$(cat "/proc/$1/comm")" = salloc ] || exit; scancel --quiet "$2"; kill -9 "$1"' sh "$PPID" "$SLURM_JOB_ID" </dev/null 3<&- &
  exit 0
}
trap after TERM HUP
cat <&3 & wait $!
after`

const (
	// askTime bounds a question to Slurm's controller, which answers in
	// milliseconds unless it is away.
	askTime = 10 * time.Second
	// endedTime bounds a question in the middle of a job that goes on.
	endedTime = 3 * time.Second
	// giveBackTime bounds how long the controller may be away when an allocation
	// is given back: as long as an operator needs to restart it.
	giveBackTime = 60 * time.Second
)

// allocation is hosts that Slurm gave.
type allocation struct {
	id    string
	short string                // the hosts in Slurm's form
	hosts []string              // by name, in Slurm's order
	most  map[string]int        // machines that Slurm has counted for each
	addrs map[string]netip.Addr // as this host knows them; not those that it knows by none or loopback
	tasks string
	means means
	lease lease

	came atomic.Bool // its script has, where Slurm's service was asked
	once sync.Once   // for why
	why  error
}

// means are how Slurm is asked about an allocation: by its commands, or by its
// service.
type means struct {
	state  func(ctx context.Context, id string) (state, error) // the error matches errNoJob where it has forgotten
	note   func(ctx context.Context, id, comment string) error
	cancel func(ctx context.Context, id string) error
}

// lease is what an allocation lives by.
type lease struct {
	done  <-chan struct{}                 // closed when it has ended, and the allocation with it
	fault func() error                    // how, once it has
	end   func(ctx context.Context) error // ends it, in order; an error says that it may still be there
}

// errNoJob matches the answer of a controller that has no such job any more.
var errNoJob = errors.New("no such job")

// commands asks by Slurm's commands.
func commands() means {
	return means{
		state: func(ctx context.Context, id string) (state, error) {
			out, err := ask(ctx, "scontrol", "-o", "show", "job", id)
			var said *exec.ExitError
			if errors.As(err, &said) && strings.Contains(err.Error(), "Invalid job id") {
				return state{}, fmt.Errorf("%w: %w", errNoJob, err)
			}
			if err != nil {
				return state{}, err
			}
			return parseState(out)
		},
		note: func(ctx context.Context, id, comment string) error {
			_, err := ask(ctx, "scontrol", "update", "jobid="+id, "comment="+comment)
			return err
		},
		cancel: func(ctx context.Context, id string) error {
			_, err := ask(ctx, "scancel", "--quiet", id)
			return err
		},
	}
}

// allocate asks Slurm for hosts and waits until it gives them. Ending ctx takes
// the request back.
func (s Settings) allocate(ctx context.Context, r request, watch ore.Watcher) (*allocation, error) {
	cmd := exec.Command("salloc", append(s.salloc(r), "/bin/sh", "-c", holder)...)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	pending := make(chan string, 1)
	p, out, err := start(cmd, func(line string) {
		if m := queued.FindStringSubmatch(strings.TrimPrefix(line, "salloc: ")); m != nil {
			select {
			case pending <- m[1]:
			default: // it was said before
			}
		}
		watch.Tell(ore.Event{Stage: "reserve", Text: "Slurm: " + strings.TrimPrefix(strings.TrimPrefix(line, "salloc: "), "error: ")})
	})
	if err != nil {
		return nil, err
	}
	a := &allocation{means: commands(), lease: lease{done: p.done, fault: p.fault, end: func(ctx context.Context) error {
		in.Close()
		return p.wait(ctx)
	}}}
	given := make(chan error, 1)
	go func() {
		defer out.Close()
		given <- a.read(out)
	}()
	waiting, granted := context.WithCancel(ctx)
	hopeless := make(chan error, 1)
	go func() {
		defer close(hopeless)
		select {
		case id := <-pending:
			if err := s.linger(waiting, a.means, id, r, watch); err != nil {
				hopeless <- err
				granted()
			}
		case <-waiting.Done():
		}
	}()
	select {
	case err = <-given:
	case <-waiting.Done():
		err = context.Cause(waiting)
	}
	granted()
	never := <-hopeless
	if err != nil {
		in.Close()
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
		defer cancel()
		ended := p.stop(stop)
		if ctx.Err() != nil {
			return nil, errors.Join(context.Cause(ctx), ended)
		}
		if never != nil {
			return nil, errors.Join(never, ended)
		}
		return nil, p.fault()
	}
	if err = a.know(ctx); err != nil {
		return nil, errors.Join(err, a.giveBack(ctx))
	}
	return a, nil
}

// know finds out which hosts were given, where they are, and for how many
// machines each.
func (a *allocation) know(ctx context.Context) (err error) {
	if a.hosts, err = hostnames(ctx, a.short); err != nil {
		return err
	}
	out, err := ask(ctx, "scontrol", "-o", "show", "node", a.short)
	if err != nil {
		return err
	}
	if err := a.count(); err != nil {
		return err
	}
	a.locate(ctx, parseNodes(out))
	return nil
}

// count says how many machines Slurm has counted for each host.
func (a *allocation) count() error {
	counts := parseTasks(a.tasks)
	if len(counts) != len(a.hosts) {
		return fmt.Errorf("Slurm job %s: %d hosts in %q and %d in %q", a.id, len(a.hosts), a.short, len(counts), a.tasks)
	}
	a.most = map[string]int{}
	for i, h := range a.hosts {
		a.most[h] = counts[i]
	}
	return nil
}

// locate resolves the hosts' addresses, of which nodes has the names.
func (a *allocation) locate(ctx context.Context, nodes map[string]string) {
	a.addrs = map[string]netip.Addr{}
	for name, addr := range nodes {
		ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", addr)
		if err != nil || len(ips) == 0 || ips[0].IsLoopback() {
			continue // the host says itself where it is
		}
		a.addrs[name] = ips[0].Unmap()
	}
}

// parseNodes reads what 'scontrol -o show node' prints: addresses by name.
func parseNodes(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		var name, addr string
		for f := range strings.FieldsSeq(line) {
			if k, v, _ := strings.Cut(f, "="); k == "NodeName" {
				name = v
			} else if k == "NodeAddr" {
				addr = v
			}
		}
		if name != "" && addr != "" {
			all[name] = addr
		}
	}
	return all
}

// maxTasks bounds what a list of tasks may stand for.
const maxTasks = 1 << 16

// parseTasks reads SLURM_TASKS_PER_NODE, "2(x3),1": one number for each host.
func parseTasks(text string) []int {
	var all []int
	for part := range strings.SplitSeq(text, ",") {
		number, times, many := strings.Cut(strings.TrimSuffix(part, ")"), "(x")
		n, err := strconv.Atoi(number)
		k := 1
		if many {
			var kerr error
			k, kerr = strconv.Atoi(times)
			err = errors.Join(err, kerr)
		}
		if err != nil || n < 1 || k < 1 || len(all)+k > maxTasks {
			return nil
		}
		for range k {
			all = append(all, n)
		}
	}
	return all
}

// read reads what the holder says.
func (a *allocation) read(out io.Reader) error {
	lines := bufio.NewScanner(out)
	var said []string
	for len(said) < 3 && lines.Scan() {
		said = append(said, lines.Text())
	}
	if len(said) < 3 || said[0] == "" {
		return errors.New("salloc: it ended before it gave hosts")
	}
	a.id, a.short, a.tasks = said[0], said[1], said[2]
	return nil
}

// hostnames expands Slurm's short form of a list of hosts.
func hostnames(ctx context.Context, short string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	out, err := ask(ctx, "scontrol", "show", "hostnames", short)
	if err != nil {
		return nil, err
	}
	hosts := strings.Fields(out)
	if len(hosts) == 0 {
		return nil, fmt.Errorf("scontrol: no hosts in %q", short)
	}
	return hosts, nil
}

// over returns why the allocation has ended, nil while it lasts.
func (a *allocation) over() error {
	select {
	case <-a.lease.done:
	default:
		return nil
	}
	a.once.Do(func() {
		if s, err := a.ask(); err == nil && s.State == completed {
			a.why = errGivenBack
			return
		} else if err == nil && s.State != running {
			a.why = s.over(a.id)
			return
		}
		a.why = fmt.Errorf("Slurm job %s: its allocation has ended: %w: see 'sacct -j %s', and run the job again", a.id, a.lease.fault(), a.id)
	})
	return a.why
}

// Words of Slurm for states of a job (squeue(1)). While it is completing, what it
// will have been is not said.
const (
	running    = "RUNNING"
	completing = "COMPLETING"
	completed  = "COMPLETED" // its command has ended, and that well: nobody but this process makes it
)

// errGivenBack is the end of an allocation that this process ended itself.
var errGivenBack = errors.New("the allocation was given back")

// ask asks Slurm for the state of the allocation.
func (a *allocation) ask() (state, error) {
	ctx, cancel := context.WithTimeout(context.Background(), endedTime)
	defer cancel()
	const again = 100 * time.Millisecond // a question costs the controller some ms
	tick := time.NewTicker(again)
	defer tick.Stop()
	for {
		s, err := a.means.state(ctx, a.id)
		if err != nil || s.State != completing {
			return s, err
		}
		select {
		case <-ctx.Done():
			return s, nil
		case <-tick.C:
		}
	}
}

// ended is over for who has seen something fail, which may be a moment before
// salloc hears of the end: Slurm is asked then. It is nil if it was this process
// that ended the allocation: what failed before is the reason then, not the effect.
func (a *allocation) ended() error {
	if over := a.over(); errors.Is(over, errGivenBack) {
		return nil
	} else if over != nil {
		return over
	}
	s, err := a.ask()
	if err != nil || s.State == running || s.State == completed {
		return nil // or the controller is away, which ends nothing
	}
	return s.over(a.id)
}

// note puts what is known only later into the allocation's comment. It is for
// accounting: that it cannot be written harms no job.
func (a *allocation) note(ctx context.Context, r request) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return a.means.note(ctx, a.id, r.comment())
}

// giveBack ends the allocation. Doing it twice does no harm. salloc tells the
// controller, once: where that is away at the moment, or too busy to answer, it is
// told again until it knows.
func (a *allocation) giveBack(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackTime)
	defer cancel()
	const again = 500 * time.Millisecond // the controller is not to be kept busy by who waits for it
	tick := time.NewTicker(again)
	defer tick.Stop()
	ended := a.lease.end(ctx)
	for ended == nil {
		s, err := a.ask()
		if err == nil && (!s.lasts() || s.State == completing) || errors.Is(err, errNoJob) {
			return nil
		}
		if err == nil {
			_ = a.means.cancel(ctx, a.id) // whether it helped is asked next
		}
		select {
		case <-ctx.Done():
			ended = ctx.Err()
		case <-tick.C:
		}
	}
	return fmt.Errorf("give the allocation back: Slurm's controller does not answer: run 'scancel %s' once it does", a.id)
}
