// Package flags is the flags that say what a job is, which all commands that
// have to do with jobs share.
package flags

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ore"
	"ore/deb"
	"ore/install/recipe"
	"ore/job"
	"ore/site"
	"ore/site/installing"
)

// Job are the flags that say what a job is. They override the job file.
type Job struct {
	file, lock                        string
	name, base, kernel                string
	count, cpus                       int
	memory, disk, hypervisor, network string
	packages, outputs, env, ports     []string
	Inputs                            []string // of --input, for commands that have it alone
	mounts                            []string
	secrets                           []string
	mode, script, tasks, taskGlob     string
	timeout                           time.Duration
	retries                           int
	set                               func(name string) bool
	Pinned                            *site.Lock // what --lock holds, once Read was called
	Root                              Root
}

// Root are the flags that say where a machine's root is.
type Root struct {
	where string
	From  string // the strategy of machines that install themselves; "" lets the plan choose
	// Capture has what they installed be kept as an image, where there is none.
	Capture bool
	// Keep has machines kept whose installation fails.
	Keep bool
}

// Environment adds the flags that say what an environment is.
func (j *Job) Environment(c *cobra.Command) {
	f := c.Flags()
	j.set = f.Changed
	f.StringVarP(&j.file, "file", "f", "", "job `file`, - for standard input; flags override what it says")
	f.StringSliceVarP(&j.packages, "package", "p", nil, "`package`, or package=version; repeat, or separate by commas")
	f.StringVar(&j.base, "base", "", "suite to start from, such as debian/bookworm; default: the host's, else debian/"+job.DefaultSuite)
	f.StringVar(&j.kernel, "kernel", "", "kernel `package`, where the hypervisor can take it")
	f.StringVar(&j.name, "name", "", "`name` of the job; default: from the job file, else job")
	c.RegisterFlagCompletionFunc("file", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
	})
}

// Locks adds the flag that stands for what an environment is.
func (j *Job) Locks(c *cobra.Command) {
	c.Flags().StringVar(&j.lock, "lock", "", "take exactly the packages and kernel that this lock `file` says")
}

// Machines adds the flags that say which machines a job has.
func (j *Job) Machines(c *cobra.Command) {
	f := c.Flags()
	f.IntVarP(&j.count, "machines", "n", 1, "`number` of machines")
	f.IntVar(&j.cpus, "cpus", 1, "CPUs of each machine")
	f.StringVarP(&j.memory, "memory", "m", "256M", "memory of each machine, as `size`")
	f.StringVar(&j.disk, "disk", "20G", "disk of each machine, as `size`; sparse")
	f.StringVar(&j.Root.where, "root", string(ore.Mounted), "mount (layers, with a disk over them), or disk: each machine installs itself onto its disk")
	f.StringVar(&j.Root.From, "install-from", "", "what machines with --root disk install from: "+strings.Join(strategies(), ", ")+" (packages, which each fetches there for itself); default: by the plan")
	f.BoolVar(&j.Root.Capture, "capture", true, "keep what machines with --root disk installed as an image, if there is none; =false: do not")
	f.BoolVar(&j.Root.Keep, "keep-failed", false, "keep machines with --root disk whose installation fails, for 'ore console', 'ore shell' and 'ore retry'")
	f.StringVar(&j.hypervisor, "hypervisor", "auto", strings.Join(job.Hypervisors, ", "))
	f.StringVar(&j.network, "network", "nat", "nat (outbound connections) or isolated")
	f.StringArrayVar(&j.ports, "publish", nil, "make a machine's TCP port reachable here: `[address:]port:[rank:]port`; repeat")
	f.StringArrayVar(&j.mounts, "mount", nil, "file or folder that all machines have read-only at a path, without copies: `source:path`; repeat")
	for name, words := range map[string][]string{"hypervisor": job.Hypervisors, "network": {"nat", "isolated"}, "root": {"mount", "disk"}, "install-from": strategies()} {
		c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
}

// Running adds the flags that say what a job does.
func (j *Job) Running(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVarP(&j.Inputs, "input", "i", nil, "`file` or folder that the job finds in its folder; repeat")
	f.StringArrayVarP(&j.outputs, "output", "o", nil, "`pattern` of files to bring home, relative to the job's folder; repeat")
	f.StringArrayVarP(&j.env, "env", "e", nil, "variable for the job, `NAME=value`; repeat")
	f.StringArrayVar(&j.secrets, "secret", nil, "secret for the job, `NAME=file`: NAME is then the path of a file in memory; repeat")
	f.StringVar(&j.mode, "mode", "each", "each (every machine runs it), first (rank 0, which can launch on the others), array")
	f.StringVar(&j.script, "script", "", "`text` of a script, instead of a command")
	f.StringVar(&j.tasks, "tasks", "", "`file` with one task of an array a line")
	f.StringVar(&j.taskGlob, "task-files", "", "`pattern` of files of which each is a task of an array")
	f.DurationVar(&j.timeout, "timeout", 0, "end the job after this time, such as 90s or 2h")
	f.IntVar(&j.retries, "retries", 0, "further tries of what the system, not the job, lost")
	c.RegisterFlagCompletionFunc("mode", cobra.FixedCompletions([]string{"each", "first", "array"}, cobra.ShellCompDirectiveNoFileComp))
}

// Piped says whether the job file is read from standard input.
func (j *Job) Piped() bool { return j.file == "-" }

// Read puts file, flags and the command's words together. A file called - is
// read from stdin. Its errors are the user's.
func (j *Job) Read(command []string, stdin io.Reader) (ore.Job, error) {
	out := job.Default(deb.HostSuite())
	var err error
	switch j.file {
	case "":
	case "-":
		out, err = job.Read(stdin, job.Origin{Name: "standard input", Dir: "."}, out)
	default:
		out, err = job.Load(j.file, out)
	}
	if err != nil {
		return out, err
	}
	for _, apply := range []func(*ore.Job) error{j.applyEnvironment, j.applyMachines, j.applyRun} {
		if err := apply(&out); err != nil {
			return out, err
		}
	}
	if len(command) > 0 {
		out.Run.Command, out.Run.Script = command, ""
	}
	if err := j.applyLock(&out); err != nil {
		return out, err
	}
	return out, nil
}

func (j *Job) applyLock(out *ore.Job) error {
	if j.lock == "" {
		return nil
	}
	for _, flag := range []string{"package", "base", "kernel"} {
		if j.set(flag) {
			return fmt.Errorf("--lock and --%s: the lock says what there is: leave one of them out", flag)
		}
	}
	var err error
	if j.Pinned, err = site.ReadLock(j.lock); err != nil {
		return err
	}
	j.Pinned.Pin(&out.Wants)
	return nil
}

func (j *Job) applyEnvironment(out *ore.Job) error {
	if j.name != "" {
		out.Name = j.name
	}
	if j.kernel != "" {
		out.Wants.Kernel = j.kernel
	}
	if j.base != "" {
		b, err := job.ParseBase(j.base)
		if err != nil {
			return err
		}
		out.Wants.Base = b
	}
	for i, p := range j.packages {
		w, err := job.ParseWishFor(out.Wants.Base, p)
		if err != nil {
			return err
		}
		if i == 0 {
			out.Wants.Packages = nil // the flags' list stands for the file's
		}
		out.Wants.Packages = append(out.Wants.Packages, w)
	}
	return nil
}

func (j *Job) applyMachines(out *ore.Job) error {
	m := &out.Machines
	if j.set("machines") {
		m.Count = j.count
	}
	if j.set("cpus") {
		m.CPUs = j.cpus
	}
	if j.set("hypervisor") {
		m.Hypervisor = j.hypervisor
	}
	if err := j.applyRoot(m); err != nil {
		return err
	}
	for flag, to := range map[string]struct {
		text string
		size *int64
	}{"memory": {j.memory, &m.Memory}, "disk": {j.disk, &m.Disk}} {
		if !j.set(flag) {
			continue
		}
		n, err := job.ParseSize(to.text)
		if err != nil {
			return fmt.Errorf("--%s: %w", flag, err)
		}
		*to.size = n
	}
	if j.set("network") {
		if j.network != string(ore.NAT) && j.network != string(ore.Isolated) {
			return fmt.Errorf("--network %q: use nat or isolated", j.network)
		}
		out.Network = ore.Network(j.network)
	}
	for _, p := range j.ports {
		port, err := job.ParsePort(p)
		if err != nil {
			return err
		}
		out.Run.Publish = append(out.Run.Publish, port)
	}
	return nil
}

// strategies are the ways in which machines install themselves.
func strategies() []string {
	return []string{string(recipe.Whole), string(recipe.Base), string(recipe.Packages), string(recipe.Disk), string(installing.FromMirror)}
}

func (j *Job) applyRoot(m *ore.Machines) error {
	if j.set("root") {
		m.Root = ore.Root(j.Root.where)
	}
	switch {
	case j.Root.Keep && m.Root != ore.OnDisk:
		return errors.New("--keep-failed: only machines with --root disk install anything: add it")
	case j.Root.From == "":
	case !slices.Contains(strategies(), j.Root.From):
		return fmt.Errorf("--install-from %q: use one of %s", j.Root.From, strings.Join(strategies(), ", "))
	case m.Root != ore.OnDisk:
		return fmt.Errorf("--install-from %s: only machines with --root disk install anything: add it", j.Root.From)
	}
	return nil
}

func (j *Job) applyRun(out *ore.Job) error {
	r := &out.Run
	if j.set("mode") {
		switch m := ore.Mode(j.mode); m {
		case ore.Each, ore.First, ore.Array:
			r.Mode = m
		default:
			return fmt.Errorf("--mode %q: use each, first or array", j.mode)
		}
	}
	if j.script != "" {
		r.Script, r.Command = j.script, nil
	}
	for flag, to := range map[string]*string{j.tasks: &r.Tasks.From, j.taskGlob: &r.Tasks.Glob} {
		if flag == "" {
			continue
		}
		p, err := filepath.Abs(flag)
		if err != nil {
			return err
		}
		if j.set("mode") && r.Mode != ore.Array {
			return fmt.Errorf("--mode %s: a list of tasks was given: use --mode array or leave it out", r.Mode)
		}
		*to, r.Mode = p, ore.Array
	}
	if j.set("timeout") {
		r.Timeout = j.timeout
	}
	if j.set("retries") {
		r.Retries = j.retries
	}
	r.Outputs = append(r.Outputs, j.outputs...)
	for _, in := range j.Inputs {
		p, err := filepath.Abs(in)
		if err != nil {
			return err
		}
		r.Inputs = append(r.Inputs, ore.Input{Source: p})
	}
	for _, m := range j.mounts {
		in, err := job.ParseMount(m)
		if err == nil {
			in.Source, err = filepath.Abs(in.Source)
		}
		if err != nil {
			return fmt.Errorf("--%w", err)
		}
		r.Inputs = append(r.Inputs, in)
	}
	return j.applyVariables(r)
}

func (j *Job) applyVariables(r *ore.Run) error {
	if r.Env == nil {
		r.Env = map[string]string{}
	}
	if r.Secrets == nil {
		r.Secrets = map[string]ore.Secret{}
	}
	for _, e := range j.env {
		k, v, ok := strings.Cut(e, "=")
		if !ok {
			return fmt.Errorf("--env %q: not NAME=value", e)
		}
		r.Env[k] = v
	}
	for _, s := range j.secrets {
		k, file, ok := strings.Cut(s, "=")
		if !ok {
			return fmt.Errorf("--secret %q: not NAME=file", s)
		}
		p, err := filepath.Abs(file)
		if err != nil {
			return err
		}
		r.Secrets[k] = ore.Secret{File: p}
	}
	return nil
}
