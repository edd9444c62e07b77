package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"ore"
	"ore/cluster/results"
	"ore/guest"
	"ore/node"
)

// errTimeout is why a command ends when the job's time is up.
var errTimeout = errors.New("time limit")

// part does one part: the command, then its outputs are brought home. The error
// is the system's.
func (r *run) part(ctx context.Context, p Part, n Node) (ore.RankResult, error) {
	res := ore.RankResult{Rank: p.Rank, Task: p.Task, Machine: p.Machine, Kind: ore.Finished}
	out, logs, err := r.open(p)
	if err != nil {
		return fail(res, err)
	}
	defer closeAll(logs)
	if gone := r.absent[p.Machine]; gone != nil {
		return fail(res, gone)
	}
	begun := time.Now()
	exit, err := r.attempts(ctx, p, n, out)
	res.ExitCode, res.Signal = exit.Code, exit.Signal
	res.Elapsed = time.Since(begun)
	name := "run"
	if p.array {
		name = p.Name
	}
	r.add(ore.Stage{Name: name, Machine: p.Machine, Start: begun, End: time.Now(), Note: p.Task})
	switch {
	case errors.Is(err, errTimeout):
		res.Kind, res.ExitCode = ore.TimedOut, ore.ExitTimeout
	case ctx.Err() != nil:
		res.Kind, res.ExitCode = ore.Cancelled, ore.ExitCancelled
		return res, nil
	case err != nil:
		return fail(res, withConsole(ctx, n, p.Machine, err))
	}
	res.Error = r.starved(ctx, p, n)
	if err = closeAll(logs); err != nil {
		err = fmt.Errorf("results of %s: its command ended with exit code %d, but not all that it printed is kept: %w", p.Name, exit.Code, err)
	}
	if len(r.job.Run.Outputs) > 0 {
		var lacks error
		res.Outputs, lacks = r.bring(ctx, p, n)
		err = errors.Join(err, lacks)
	}
	if err != nil {
		// The command did its part: its own exit code stands beside the error.
		res.Kind, res.Error = ore.Failed, err.Error()
	}
	return res, err
}

func fail(res ore.RankResult, err error) (ore.RankResult, error) {
	res.Kind, res.ExitCode, res.Error = ore.Failed, ore.ExitFailed, err.Error()
	return res, err
}

// open makes the part's folder with its files stdout and stderr, and returns
// writers that also show the output live.
func (r *run) open(p Part) (out Output, logs []*results.Log, err error) {
	live := Output{}
	if r.Live != nil {
		live = r.Live(p)
	}
	join := func(name string, w io.Writer) (io.Writer, error) {
		l, err := r.Results.Log(p.Name, name, func(why error) {
			r.Watch.Tell(ore.Event{Stage: "note", Machine: p.Machine, Text: fmt.Sprintf("%s is no longer kept: %v", name, why)})
		})
		if err != nil {
			return nil, err
		}
		logs = append(logs, l)
		if w == nil {
			return l, nil
		}
		return io.MultiWriter(l, w), nil
	}
	if out.Stdout, err = join("stdout", live.Stdout); err == nil {
		out.Stderr, err = join("stderr", live.Stderr)
	}
	if err != nil {
		closeAll(logs)
		return out, nil, err
	}
	return out, logs, nil
}

// closeAll closes the files of a part's output and says why something is not in them.
func closeAll(logs []*results.Log) (lost error) {
	for _, l := range logs {
		if err := l.Close(); lost == nil {
			lost = err
		}
	}
	return lost
}

// attempts runs the part's command, again on a fresh machine if the system lost
// the one it was on.
func (r *run) attempts(ctx context.Context, p Part, n Node, out Output) (guest.Exit, error) {
	in := r.stdin(p)
	for try := 0; ; try++ {
		exit, err := r.command(ctx, p, n, connected{out, in})
		if err == nil || ctx.Err() != nil || errors.Is(err, errTimeout) {
			return exit, err
		}
		if try >= r.job.Run.Retries {
			return exit, advise(err, try)
		}
		if gone := in.rewind(); gone != nil {
			return exit, fmt.Errorf("%w: %w", err, gone)
		}
		r.Watch.Tell(ore.Event{Stage: "retry", Machine: p.Machine, Text: err.Error()})
		if again := r.again(ctx, p.Machine); again != nil {
			return exit, errors.Join(err, again)
		}
	}
}

// advise says what to do about a machine that was lost in spite of tries further
// tries.
func advise(err error, tries int) error {
	var lost *node.LostError
	switch {
	case !errors.As(err, &lost):
		return err
	case tries == 0:
		return fmt.Errorf("%w: 'ore run --retries' has the work of lost machines done again on new ones", err)
	}
	return fmt.Errorf("%w: so it was at each of %d tries: the work itself may end machines: see what its console says last", err, tries+1)
}

// connected is what a command's three files are connected to.
type connected struct {
	Output
	in *stdin // nil for an empty one
}

func (r *run) command(ctx context.Context, p Part, n Node, std connected) (guest.Exit, error) {
	dir, err := r.enter(ctx, p, n)
	if err != nil {
		return guest.Exit{}, err
	}
	if r.job.Run.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadlineCause(ctx, r.runBegun.Add(r.job.Run.Timeout), errTimeout)
		defer cancel()
	}
	c := guest.Command{
		Args: r.job.Run.Command, Script: r.job.Run.Script, Env: r.env(p), Dir: dir,
		Stdout: std.Stdout, Stderr: std.Stderr, Secrets: r.secrets, Sweep: true,
	}
	if std.in != nil {
		c.Stdin = std.in
	}
	exit, err := n.Exec(ctx, p.Machine, c)
	if cause := context.Cause(ctx); cause != nil {
		return exit, cause
	}
	return exit, err
}

// enter makes the part's folder in the machine. A rank works in the job's
// folder; each task has one of its own with the inputs linked in, so that tasks
// on one machine do not find each other's outputs.
func (r *run) enter(ctx context.Context, p Part, n Node) (string, error) {
	if !p.array {
		return JobDir, nil
	}
	dir := path.Join(JobDir, p.Name)
	var links []string
	for _, in := range r.copies() {
		links = append(links, filepath.Base(in))
	}
	var own []string
	if p.File != "" {
		own = append(own, p.File)
	}
	return dir, r.put(ctx, n, p.Machine, staged{dir: dir, files: own, links: links})
}

// env is what every process of the job sees.
func (r *run) env(p Part) []string {
	size := r.job.Machines.Count
	hosts := make([]string, size)
	for i := range hosts {
		hosts[i] = MachineName(i)
	}
	var env []string
	for k, v := range r.job.Run.Env {
		env = append(env, k+"="+v)
	}
	slices.Sort(env)
	return append(env,
		"ORE_JOB="+r.ID, "ORE_RANK="+strconv.Itoa(p.Rank), "ORE_SIZE="+strconv.Itoa(size),
		"ORE_HOSTS="+strings.Join(hosts, ","), "ORE_TASK="+p.Task)
}

// maxSecret is what a secret may hold: it is kept in memory on its way.
const maxSecret = 512 << 10

// readSecrets reads the secrets once for all machines, since a secret may be a
// pipe from the program that knows it.
func readSecrets(secrets map[string]ore.Secret) (map[string][]byte, error) {
	all := map[string][]byte{}
	for name, s := range secrets {
		f, err := os.Open(s.File)
		if err != nil {
			return nil, fmt.Errorf("secret %s: %w", name, err)
		}
		all[name], err = io.ReadAll(io.LimitReader(f, maxSecret+1))
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("secret %s: %w", name, err)
		}
		if len(all[name]) > maxSecret {
			return nil, fmt.Errorf("secret %s: larger than %d KiB: give a smaller one", name, maxSecret>>10)
		}
	}
	return all, nil
}

// bring fetches the part's outputs into its folder of the results.
func (r *run) bring(ctx context.Context, p Part, n Node) ([]string, error) {
	dir, err := r.Results.Part(p.Name)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("write results: %w", err)
	}
	defer root.Close()
	from := JobDir
	if p.array {
		from = path.Join(JobDir, p.Name)
	}
	pr, pw := io.Pipe()
	go func() { pw.CloseWithError(n.Get(ctx, p.Machine, from, r.job.Run.Outputs, pw)) }()
	names, err := guest.Extract(root, pr, guest.Limits{Reserved: []string{"stdout", "stderr"}})
	pr.CloseWithError(err)
	var refused *guest.Refusals
	if errors.As(err, &refused) {
		return names, fmt.Errorf("outputs of %s: %w: have the job write files, or copy what they point to", p.Machine, err)
	}
	if err != nil {
		return names, fmt.Errorf("outputs of %s: %w", p.Machine, results.Full(err))
	}
	if len(names) == 0 {
		r.Watch.Tell(ore.Event{Stage: "note", Machine: p.Machine, Text: "the job left no output that matches " + strings.Join(r.job.Run.Outputs, ", ")})
	}
	slices.Sort(names)
	return names, nil
}
