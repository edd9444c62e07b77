package slurm

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"ore"
	"ore/engine/slurm/rest"
)

// errands is the batch script of an allocation that was asked for by Slurm's
// service. It runs on the first host, connects to who asked, says what Slurm gave,
// has Slurm never start it again, since nobody would wait for that (slurmrestd 22.05
// takes "requeue": false for the site's default), fetches the program unless the very file is there, has Slurm bring it to all
// hosts, and starts the agents there. Their input is the keys and then what comes
// over the connection, whose end is theirs; what they say goes back over it.
//
// Its variables come before it, in quotes: token, addresses, port, program, size, sum,
// to, keys, where, brought. Bash connects by itself (bash(1), REDIRECTION), and is on
// all hosts of Slurm that this is for.
const errands = `umask 077
for a in $addresses; do { exec 3<>"/dev/tcp/$a/$port"; } 2>/dev/null && break; done
{ : >&3; } 2>/dev/null || exit 81
scontrol update jobid="$SLURM_JOB_ID" requeue=0 2>/dev/null
names=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | tr '\n' ' ')
nodes=$(scontrol -o show node "$SLURM_JOB_NODELIST" | sed -n 's/^NodeName=\([^ ]*\) .* NodeAddr=\([^ ]*\) .*/\1=\2/p' | tr '\n' ' ')
have=need
[ -x "$program" ] && [ "$(sha256sum <"$program" 2>/dev/null)" = "$sum  -" ] && have=have
printf '%s\n' "$token" "$SLURM_JOB_ID" "$SLURM_JOB_NODELIST" "$SLURM_TASKS_PER_NODE" "$names" "$nodes" "$have" >&3
read -r where <&3
to=$to-$SLURM_JOB_ID
trap 'rm -f "$to" "$to.got"' EXIT
if [ "$have" = need ]; then
  program=$to.got
  head -c "$size" <&3 >"$program"
  [ "$(sha256sum <"$program")" = "$sum  -" ] || exit 82
fi
sbcast --force "$program" "$to" 2>&3 || exit 83
rm -f "$to.got"
srun --overlap --no-kill --wait=0 --kill-on-bad-exit=0 --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 \
  --mem=0 --cpu-bind=none --mpi=none --chdir=/ --quiet /bin/sh -c "$brought" sh "$where" "$to" "$@" \
  < <(printf '%s\n' "$keys"; exec cat <&3) >&3 2>&3
read -r -t 1 said <&3
[ $? -le 128 ] || exit 84 # nobody has ended the connection, and so the agents
`

// exits are what the script's exit codes mean.
var exits = [...]string{
	"its hosts cannot connect to this one: let them reach it on any port, or run ore where Slurm's commands are and leave slurm.rest out",
	"what came to its first host is not the program that left this one: see that " + broughtDir + " has room there",
	"Slurm could not bring ore to its hosts (sbcast): see that " + broughtDir + " is writable and has room there",
	"all of ore's agents on its hosts have ended: see slurmd's log there",
}

// firstExit is the code of the first.
const firstExit = 81

// watchEvery is how often the service is asked whether an allocation lasts. The
// agents' connections tell of its end sooner; this tells why.
const watchEvery = 2 * time.Second

// leaveTime bounds how long the script may take to end by itself when its
// connection does; then the job is cancelled.
const leaveTime = 5 * time.Second

// service returns a client of the service of the settings.
func (s Settings) service() (*rest.Client, error) {
	name := ""
	token := os.Getenv("SLURM_JWT") // scontrol(1), token
	if s.TokenFile != "" {
		b, err := os.ReadFile(s.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("slurm.token_file: %w: put what 'scontrol token' prints there", err)
		}
		token = strings.TrimSpace(string(b))
	}
	if token = strings.TrimPrefix(token, "SLURM_JWT="); token != "" {
		u, err := user.Current()
		if err != nil {
			return nil, err
		}
		name = u.Username
	}
	return rest.New(s.REST, name, token)
}

// marked returns the feature of hosts that have the image of an earlier run, "" if no
// host has it or that cannot be known.
func (s Settings) marked(ctx context.Context, was remembered) string {
	if was.Key == "" {
		return ""
	}
	c, err := s.service()
	if err != nil {
		return "" // the job's submission will say the same, and better
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	if all, err := c.Features(ctx); err != nil || !slices.Contains(all, feature(was.Key)) {
		return ""
	}
	return feature(was.Key)
}

// service asks by Slurm's service.
func service(c *rest.Client) means {
	return means{
		state: func(ctx context.Context, id string) (state, error) {
			s, err := c.State(ctx, id)
			if errors.Is(err, rest.ErrNoJob) {
				err = fmt.Errorf("%w: %w", errNoJob, err)
			}
			return state{State: s.State, Reason: s.Reason, Limit: s.Limit.String(), Hosts: s.Hosts, Exit: s.Exit}, err
		},
		note:   c.Comment,
		cancel: c.Cancel,
	}
}

// errand is what the script of an allocation is to do.
type errand struct {
	program Program
	sum     string
	size    int64
	keys    []byte // of the agents, one line
}

// script is the batch script.
func (e errand) script(d *door) (string, error) {
	addresses, port, err := d.addresses()
	if err != nil {
		return "", err
	}
	var s strings.Builder
	s.WriteString("#!/bin/bash\nset --")
	for _, a := range e.program.Args {
		s.WriteString(" " + quote(a))
	}
	s.WriteByte('\n')
	for _, v := range [][2]string{
		{"token", d.token}, {"addresses", addresses}, {"port", port}, {"program", e.program.Path}, {"size", fmt.Sprint(e.size)}, {"sum", e.sum},
		{"to", broughtDir + "/ore-" + strings.ToLower(rand.Text()[:8])}, {"keys", strings.TrimSpace(string(e.keys))}, {"brought", brought},
	} {
		s.WriteString(v[0] + "=" + quote(v[1]) + "\n")
	}
	return s.String() + errands, nil
}

// quote makes text one word of a shell's.
func quote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// properties are those of the job that is submitted for r.
func (s Settings) properties(r request) rest.Job {
	cpus, memory := r.tasks()
	env := map[string]string{"PATH": "/usr/local/bin:/usr/bin:/bin"}
	if conf := os.Getenv("SLURM_CONF"); conf != "" {
		env["SLURM_CONF"] = conf
	}
	return rest.Job{
		Name: r.name(), Comment: r.comment(), Partition: s.Partition, Account: s.Account, QOS: s.QOS, Constraint: s.Constraint, Prefer: r.feature,
		Tasks: r.machines.Count, CPUs: cpus, Memory: memory, Minutes: r.minutes(), Dir: "/", Environment: env,
	}
}

// submit asks Slurm's service for hosts, and waits until the job has come to the
// door.
func (s Settings) submit(ctx context.Context, r request, e errand, watch ore.Watcher) (a *allocation, v *visitor, err error) {
	c, err := s.service()
	if err != nil {
		return nil, nil, err
	}
	d, err := openDoor()
	if err != nil {
		return nil, nil, err
	}
	defer d.close()
	j := s.properties(r)
	if j.Script, err = e.script(d); err != nil {
		return nil, nil, err
	}
	id, err := c.Submit(ctx, j)
	if err != nil {
		return nil, nil, err
	}
	watch.Tell(ore.Event{Stage: "reserve", Text: "Slurm: job " + id + " was submitted by " + s.REST})
	a = &allocation{id: id, means: service(c)}
	ended := a.watch(ctx, c)
	waiting, granted := context.WithCancel(ctx)
	hopeless := make(chan error, 1)
	go func() {
		defer close(hopeless)
		if err := s.linger(waiting, a.means, id, r, watch); err != nil {
			hopeless <- err
			granted()
		}
	}()
	v, err = a.welcome(waiting, d)
	granted()
	never := <-hopeless
	if err == nil {
		err = a.greet(ctx, v, e)
	}
	if err != nil {
		if over := a.ended(); ctx.Err() == nil && never != nil {
			err = never
		} else if over != nil && ctx.Err() == nil {
			err = over
		}
		_ = a.means.cancel(context.WithoutCancel(ctx), id) // whether it helped is asked next
		return nil, nil, errors.Join(err, a.giveBack(ctx))
	}
	a.lease.end = func(ctx context.Context) error {
		v.Close()
		return ended(ctx)
	}
	return a, v, nil
}

// watch begins to ask whether the allocation lasts, and gives it its lease. What it
// returns waits until it has ended by itself, for a while, and lets go of the
// service.
func (a *allocation) watch(ctx context.Context, c *rest.Client) (ended func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	over, stopped := make(chan struct{}), make(chan struct{})
	leaving := make(chan struct{}, 1)
	go func() {
		defer close(stopped)
		tick := time.NewTicker(watchEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-leaving:
				tick.Reset(watchEvery / 20) // it is about to end
				continue
			case <-tick.C:
			}
			s, err := a.means.state(ctx, a.id)
			if err == nil && (!s.lasts() || s.waits() && a.came.Load()) || errors.Is(err, errNoJob) {
				close(over)
				return
			}
		}
	}()
	ended = func(wait context.Context) error {
		select {
		case leaving <- struct{}{}:
		default: // it was told before
		}
		wait, end := context.WithTimeout(wait, leaveTime)
		defer end()
		select {
		case <-over:
		case <-wait.Done():
		}
		cancel()
		<-stopped
		c.Close()
		return nil // whether it has ended is asked next
	}
	a.lease = lease{done: over, fault: func() error { return errors.New("Slurm ended it") }, end: ended}
	return ended
}

// waits says whether a job of that state is in the queue. One that had hosts was put
// back there: it would begin without whoever waits for it.
func (s state) waits() bool {
	return s.State == "PENDING" || strings.HasPrefix(s.State, "REQUEUE")
}

// lasts says whether a job of that state has hosts, or will have.
func (s state) lasts() bool {
	switch s.State {
	case running, completing, "PENDING", "REQUEUED", "REQUEUE_HOLD", "CONFIGURING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT":
		return true
	}
	return false
}

// welcome waits until the job has hosts and its script has come, or that is over.
func (a *allocation) welcome(ctx context.Context, d *door) (*visitor, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	waiting := make(chan struct{})
	defer func() { <-waiting }()
	arrived := make(chan struct{})
	defer close(arrived)
	go func() {
		defer close(waiting)
		select {
		case <-a.lease.done:
			cancel(a.over())
		case <-arrived:
		}
	}()
	return d.await(ctx)
}

// greet reads what the script says of the allocation, and has it begin.
func (a *allocation) greet(ctx context.Context, v *visitor, e errand) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTime, fmt.Errorf("ore was not on the first host within %v", readyTime))
	defer cancel()
	defer context.AfterFunc(ctx, func() { v.SetDeadline(time.Unix(1, 0)) })()
	var said [6]string
	for i := range said {
		var err error
		if said[i], err = v.line(); err != nil {
			return cmp.Or(context.Cause(ctx), fmt.Errorf("the script on the first host: %w", err))
		}
	}
	if said[0] != a.id {
		return fmt.Errorf("job %s has come, and not %s", said[0], a.id)
	}
	a.came.Store(true)
	a.short, a.tasks, a.hosts = said[1], said[2], strings.Fields(said[3])
	if err := a.count(); err != nil {
		return err
	}
	nodes := map[string]string{}
	for w := range strings.FieldsSeq(said[4]) {
		if name, addr, ok := strings.Cut(w, "="); ok {
			nodes[name] = addr
		}
	}
	a.locate(ctx, nodes)
	if _, err := io.WriteString(v, a.where()+"\n"); err != nil {
		return fmt.Errorf("the script on the first host: %w", err)
	}
	if said[5] == "need" {
		return cmp.Or(context.Cause(ctx), e.program.send(v))
	}
	return nil
}

// send writes the program.
func (p Program) send(w io.Writer) error {
	f, err := os.Open(p.Path)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(w, f); err != nil {
		return fmt.Errorf("bring ore to the first host: %w", err)
	}
	return nil
}

// errand makes the errand of agents with keys.
func (p Program) errand(keys []byte) (errand, error) {
	sum, err := p.sum()
	if err != nil {
		return errand{}, err
	}
	info, err := os.Stat(p.Path)
	if err != nil {
		return errand{}, err
	}
	return errand{program: p, sum: sum, size: info.Size(), keys: keys}, nil
}
