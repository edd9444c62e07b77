package slurm

import (
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"ore"
	"ore/engine/slurm/rest"
)

// Settings is what a site or a user says about Slurm. Zero values leave it to
// Slurm's own defaults.
type Settings struct {
	Partition  string   `yaml:"partition"`
	Account    string   `yaml:"account"`
	QOS        string   `yaml:"qos"`
	Constraint string   `yaml:"constraint"`
	Extra      []string `yaml:"extra"` // further options of salloc
	// REST is where Slurm's service listens, which is asked then instead of its
	// commands: unix:/PATH, http://HOST:PORT or https://HOST:PORT. TokenFile has
	// what 'scontrol token' printed; without one it is SLURM_JWT that says who asks,
	// or the socket itself.
	REST      string `yaml:"rest"`
	TokenFile string `yaml:"token_file"`
}

// Over returns the settings s, and those of below where s says nothing.
func (s Settings) Over(below Settings) Settings {
	for _, f := range []struct{ to, from *string }{
		{&s.Partition, &below.Partition}, {&s.Account, &below.Account}, {&s.QOS, &below.QOS},
		{&s.Constraint, &below.Constraint}, {&s.REST, &below.REST}, {&s.TokenFile, &below.TokenFile},
	} {
		*f.to = cmp.Or(*f.to, *f.from)
	}
	if len(s.Extra) == 0 {
		s.Extra = below.Extra
	}
	return s
}

// owned are options of salloc that are this package's.
var owned = regexp.MustCompile(`^(-[nNctkJw].*|--(ntasks|nodes|cpus-per-task|time|no-kill|job-name|nodelist|mem|mem-per-cpu|comment|no-shell|immediate)(=.*)?)$`)

// Check says what is wrong with the settings.
func (s Settings) Check() error {
	for name, v := range map[string]string{"partition": s.Partition, "account": s.Account, "qos": s.QOS, "constraint": s.Constraint} {
		if strings.ContainsAny(v, "\x00\n") || strings.HasPrefix(v, "-") {
			return fmt.Errorf("slurm.%s %q: that is no name: see 'sinfo' and 'sacctmgr'", name, v)
		}
	}
	if s.REST != "" {
		c, err := rest.New(s.REST, "", "")
		if err != nil {
			return fmt.Errorf("slurm.rest: %w", err)
		}
		c.Close()
		if len(s.Extra) > 0 {
			return errors.New("slurm.extra: these are options of salloc, which slurm.rest does without: leave one of the two out")
		}
	}
	for _, e := range s.Extra {
		if !strings.HasPrefix(e, "-") {
			return fmt.Errorf("slurm.extra %q: write options of salloc in one word each, as --exclusive or --reservation=NAME", e)
		}
		if owned.MatchString(e) {
			return fmt.Errorf("slurm.extra %q: ore sets this itself, from the job's machines and timeout: leave it out", e)
		}
	}
	return nil
}

const (
	// machineExtra is what a machine takes beside its own memory: its hypervisor's
	// process, its disk's dirty pages, and its share of the agent.
	machineExtra = 64 << 20
	// walltimeExtra is what the allocation lives longer than the job may run: the
	// image is made meanwhile, machines boot, results come home.
	walltimeExtra = 15 * time.Minute
	// maxName bounds a job's name in Slurm's tables.
	maxName = 64
)

// request is what Slurm is asked for.
type request struct {
	job      string
	key      ore.Key // "" while it is not known
	machines ore.Machines
	timeout  time.Duration // of the job; 0 for none
	named    []string      // hosts that must be among those given
	feature  string        // a feature that hosts had better have
}

// tasks is how much of Slurm's own measures a machine is: CPUs, and MiB for each.
func (r request) tasks() (cpus int, memory int64) {
	cpus = max(1, r.machines.CPUs)
	perMachine := r.machines.Memory + machineExtra
	perCPU := (perMachine + int64(cpus) - 1) / int64(cpus)
	return cpus, (perCPU + 1<<20 - 1) >> 20
}

// comment is what accounting keeps of the job.
func (r request) comment() string {
	c := "ore job=" + r.job
	if r.key != "" {
		c += " key=" + string(r.key)
	}
	return c
}

// name is the job's in Slurm's lists.
func (r request) name() string {
	n := "ore-" + r.job
	return n[:min(len(n), maxName)]
}

// walltime is the allocation's limit as salloc takes it, "" for Slurm's default:
// whole minutes.
func (r request) walltime() string {
	if m := r.minutes(); m > 0 {
		return strconv.FormatInt(m, 10)
	}
	return ""
}

// minutes is the allocation's limit, 0 for Slurm's default.
func (r request) minutes() int64 {
	if r.timeout <= 0 {
		return 0
	}
	return int64((r.timeout + walltimeExtra + time.Minute - 1) / time.Minute)
}

// salloc returns the arguments of salloc for r, without its command.
func (s Settings) salloc(r request) []string {
	cpus, memory := r.tasks()
	args := []string{
		"--no-kill", "--no-bell", "--kill-command=TERM", "--job-name=" + r.name(), "--comment=" + r.comment(),
		fmt.Sprintf("--ntasks=%d", r.machines.Count), fmt.Sprintf("--cpus-per-task=%d", cpus),
		fmt.Sprintf("--mem-per-cpu=%dM", memory),
	}
	for _, o := range [][2]string{
		{"--time", r.walltime()}, {"--partition", s.Partition}, {"--account", s.Account}, {"--qos", s.QOS},
		{"--constraint", s.Constraint}, {"--prefer", r.feature}, {"--nodelist", strings.Join(r.named, ",")},
	} {
		if o[1] != "" {
			args = append(args, o[0]+"="+o[1])
		}
	}
	if len(r.named) > 0 {
		// Granted at once or not at all: nobody waits for a host that is only better.
		args = append(args, "--immediate=2")
	}
	return append(args, s.Extra...)
}

// state is what Slurm says of a job.
type state struct {
	State  string // as in squeue(1): RUNNING, CANCELLED ...
	Reason string
	Limit  string // of time, as scontrol shows it
	Hosts  string // the list of hosts in Slurm's short form
	Exit   int    // of the script of [errands], once that has ended
}

// parseState reads what 'scontrol -o show job' prints.
func parseState(text string) (state, error) {
	var s state
	for f := range strings.FieldsSeq(text) {
		k, v, _ := strings.Cut(f, "=")
		switch k {
		case "JobState":
			s.State = v
		case "Reason":
			s.Reason = v
		case "TimeLimit":
			s.Limit = v
		case "NodeList":
			s.Hosts = v
		}
	}
	if s.State == "" {
		return s, errors.New("scontrol: no JobState in its answer")
	}
	return s, nil
}

// over says what the end of an allocation means, in the form of all messages.
func (s state) over(id string) error {
	what := "Slurm job " + id
	switch s.State {
	case "CANCELLED":
		return fmt.Errorf("%s: it was cancelled (scancel, by you or an operator): run the job again", what)
	case "TIMEOUT":
		return fmt.Errorf("%s: its time of %s is over: give the job a longer timeout", what, s.Limit)
	case "DEADLINE":
		return fmt.Errorf("%s: its deadline has come: give the job more time", what)
	case "PREEMPTED":
		return fmt.Errorf("%s: a job of higher priority took its hosts: run the job again, or use another partition or QOS", what)
	case "NODE_FAIL", "BOOT_FAIL":
		return fmt.Errorf("%s: its hosts failed (%s): run the job again, on others with slurm.extra: [--exclude=HOST]", what, s.Reason)
	case completing:
		return fmt.Errorf("%s: Slurm is ending it: see 'scontrol show job %s', and run the job again", what, id)
	case "PENDING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED":
		return fmt.Errorf("%s: it was put back into the queue: run the job again", what)
	case "FAILED":
		if i := s.Exit - firstExit; i >= 0 && i < len(exits) {
			return fmt.Errorf("%s: %s", what, exits[i])
		}
	case "OUT_OF_MEMORY":
		return fmt.Errorf("%s: it took more memory than it had asked for: give the job's machines more memory", what)
	}
	return fmt.Errorf("%s: Slurm ended it (%s, %s): see 'scontrol show job %s'", what, s.State, s.Reason, id)
}
