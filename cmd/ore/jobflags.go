package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ore"
	"ore/deb"
	"ore/job"
	"ore/site"
)

// jobFlags are the flags that say what a job is. They override the job file.
type jobFlags struct {
	file, lock                            string
	name, base, kernel                    string
	count, cpus                           int
	memory, disk, hypervisor, network     string
	packages, inputs, outputs, env, ports []string
	mounts                                []string
	secrets                               []string
	mode, script, tasks, taskGlob         string
	timeout                               time.Duration
	retries                               int
	set                                   func(name string) bool
	pinned                                *site.Lock // what lock holds
}

// environment adds the flags that say what an environment is.
func (j *jobFlags) environment(c *cobra.Command) {
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

// locks adds the flag that stands for what an environment is.
func (j *jobFlags) locks(c *cobra.Command) {
	c.Flags().StringVar(&j.lock, "lock", "", "take exactly the packages and kernel that this lock `file` says")
}

// machines adds the flags that say which machines a job has.
func (j *jobFlags) machines(c *cobra.Command) {
	f := c.Flags()
	f.IntVarP(&j.count, "machines", "n", 1, "`number` of machines")
	f.IntVar(&j.cpus, "cpus", 1, "CPUs of each machine")
	f.StringVarP(&j.memory, "memory", "m", "256M", "memory of each machine, as `size`")
	f.StringVar(&j.disk, "disk", "20G", "disk of each machine, as `size`; sparse")
	f.StringVar(&j.hypervisor, "hypervisor", "auto", strings.Join(job.Hypervisors, ", "))
	f.StringVar(&j.network, "network", "nat", "nat (outbound connections) or isolated")
	f.StringArrayVar(&j.ports, "publish", nil, "make a machine's TCP port reachable here: `[address:]port:[rank:]port`; repeat")
	f.StringArrayVar(&j.mounts, "mount", nil, "file or folder that all machines have read-only at a path, without copies: `source:path`; repeat")
	for name, words := range map[string][]string{"hypervisor": job.Hypervisors, "network": {"nat", "isolated"}} {
		c.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	}
}

// running adds the flags that say what a job does.
func (j *jobFlags) running(c *cobra.Command) {
	f := c.Flags()
	f.StringArrayVarP(&j.inputs, "input", "i", nil, "`file` or folder that the job finds in its folder; repeat")
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

// onJob is a command that does something with a job: what may be wrong with the
// job is said before the site is opened, so that it costs nothing.
type onJob struct {
	flags *jobFlags
	check func(ore.Job) error // what only this command looks at; its errors are the user's
	do    func(ctx context.Context, s *site.Site, j ore.Job) error
}

func (a *app) onJob(o onJob) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, args []string) error {
		j, err := o.flags.job(args, a.io.in)
		if err != nil {
			return err
		}
		if err := o.check(j); err != nil {
			return usageError{err}
		}
		s, err := a.open(c.Context(), o.flags.pinned)
		if err != nil {
			return err
		}
		defer s.Close()
		return o.do(c.Context(), s, j)
	}
}

// noCommand checks a job that is not to be run.
func noCommand(j ore.Job) error { return job.Check(j, false) }

// job puts file, flags and the command's words together. A file called - is
// read from stdin.
func (j *jobFlags) job(command []string, stdin io.Reader) (ore.Job, error) {
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
		return out, usageError{err}
	}
	for _, apply := range []func(*ore.Job) error{j.applyEnvironment, j.applyMachines, j.applyRun} {
		if err := apply(&out); err != nil {
			return out, usageError{err}
		}
	}
	if len(command) > 0 {
		out.Run.Command, out.Run.Script = command, ""
	}
	if err := j.applyLock(&out); err != nil {
		return out, usageError{err}
	}
	return out, nil
}

func (j *jobFlags) applyLock(out *ore.Job) error {
	if j.lock == "" {
		return nil
	}
	for _, flag := range []string{"package", "base", "kernel"} {
		if j.set(flag) {
			return fmt.Errorf("--lock and --%s: the lock says what there is: leave one of them out", flag)
		}
	}
	var err error
	if j.pinned, err = site.ReadLock(j.lock); err != nil {
		return err
	}
	j.pinned.Pin(&out.Wants)
	return nil
}

func (j *jobFlags) applyEnvironment(out *ore.Job) error {
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
		w, err := job.ParseWish(p)
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

func (j *jobFlags) applyMachines(out *ore.Job) error {
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

func (j *jobFlags) applyRun(out *ore.Job) error {
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
	for _, in := range j.inputs {
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

func (j *jobFlags) applyVariables(r *ore.Run) error {
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
