// Package fleet is the commands node and hosts: this host lent to jobs of other
// hosts, and what is known of the hosts that jobs may use.
package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"ore"
	"ore/cluster"
	"ore/job"
	"ore/node/agent"
	"ore/plan"
	"ore/plan/words"
	"ore/site"
	"ore/site/fleet"
	"ore/site/settings"
	"ore/site/slurm"
)

// Shell is what commands share: where they read and write, and how errors are
// understood.
type Shell struct {
	In      io.Reader
	Out     io.Writer
	Err     io.Writer
	JSON    *bool                            // give results as JSON
	Usage   func(error) error                // marks a fault in the words of the command line
	Rows    func(header ...any) table.Writer // starts a table
	Version func() string
}

func (s *Shell) print(v any) error {
	e := json.NewEncoder(s.Out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// Hosts are the flags that say on which hosts something happens. What they do
// not say the settings may.
type Hosts struct {
	Engine string
	Names  []string
	Keys   string
	Slurm  slurm.Settings
	Whole  bool // machines wait until all of their image is there
	rack   fleet.Rack
	// Version is that of this program.
	Version string
}

// The engines.
const (
	local = "local" // this host
	hosts = "hosts" // agents that somebody started
	batch = "slurm" // hosts that Slurm gives for the job
)

// Flags adds the flags of a command that runs jobs.
func (h *Hosts) Flags(c *cobra.Command) {
	c.Flags().StringVar(&h.Engine, "engine", "", "where machines run: local, this host, hosts, those of --host, or slurm, hosts that Slurm gives; default: hosts if there are any, else local; or the settings")
	h.names(c)
	f := c.Flags()
	f.BoolVar(&h.Whole, "no-early-start", false, "have machines on other hosts wait until all of their image is there; default: the settings")
	f.StringVar(&h.Slurm.Partition, "partition", "", "with --engine slurm: the `partition`; default: the settings, else Slurm's")
	f.StringVar(&h.Slurm.Account, "account", "", "with --engine slurm: the `account` that is charged")
	f.StringVar(&h.Slurm.QOS, "qos", "", "with --engine slurm: the quality of service, by `name`")
	f.StringVar(&h.Slurm.Constraint, "constraint", "", "with --engine slurm: `features` that hosts must have")
	f.StringVar(&h.Slurm.REST, "slurm-rest", "", "with --engine slurm: ask Slurm's service (slurmrestd) at this `address` instead of its commands: unix:/PATH, http://HOST:PORT or https://HOST:PORT; SLURM_JWT, or token_file in the settings, says who asks")
	f.StringArrayVar(&h.Slurm.Extra, "salloc-option", nil, "with --engine slurm: a further `option` of salloc, such as --salloc-option=--exclusive; repeat")
}

func (h *Hosts) names(c *cobra.Command) {
	c.Flags().StringArrayVar(&h.Names, "host", nil, "a `host` where 'ore node' runs, as HOST, HOST:PORT or NAME=HOST:PORT; repeat; default: the settings")
	c.Flags().StringVar(&h.Keys, "host-keys", "", "`file` with the keys to use them; default: this user's own, which 'ore hosts issue' makes")
}

// settle takes in what the settings say and flags do not.
func (h *Hosts) settle() error {
	said := h.Engine != "" || len(h.Names) > 0
	if path := settings.Find(os.Getenv); path != "" {
		s, err := settings.Read(path, os.Getenv("HOME"))
		if err != nil {
			return err
		}
		if !said {
			h.Engine = s.Engine
		}
		if len(h.Names) == 0 {
			h.Names = s.Hosts
		}
		h.Keys = cmp.Or(h.Keys, s.HostKeys)
		h.Slurm = h.Slurm.Over(s.Slurm)
		h.rack = fleet.Rack{Name: s.Rack, Switch: s.Switch}
		h.Whole = h.Whole || s.EarlyStart != nil && !*s.EarlyStart
	}
	if h.Engine == "" {
		h.Engine = local
		if said {
			h.Engine = hosts
		}
	}
	return nil
}

// Local says whether machines run on this host.
func (h *Hosts) Local() (bool, error) {
	if err := h.settle(); err != nil {
		return false, err
	}
	if !slices.Contains([]string{local, hosts, batch}, h.Engine) {
		return false, fmt.Errorf("engine %q: use one of %s, %s, %s", h.Engine, local, hosts, batch)
	}
	if h.Engine == hosts && len(h.Names) == 0 { // before anything is resolved or made
		return false, errNoHosts
	}
	return h.Engine == local, nil
}

// Use has the run of job j happen where the flags say.
func (h *Hosts) Use(s *site.Site, c *cluster.Config, j ore.Job) error {
	if here, err := h.Local(); err != nil || here {
		return err
	}
	if h.Engine == batch {
		e, err := slurm.Engine(s, slurm.Options{Settings: h.Slurm, Wants: j.Wants, Timeout: j.Run.Timeout, Watch: c.Watch, Whole: h.Whole, Rack: h.rack})
		if err == nil {
			c.Engine = e
			c.Hosts = func(context.Context, cluster.Reservation) ([]plan.Host, error) { return fleet.Unmet(j.Machines), nil }
		}
		return err
	}
	e, err := h.engine(s, c.Watch)
	if err == nil {
		c.Engine, c.Hosts = e, e.Survey
	}
	return err
}

// Plan says where machines of j would run, as the plan sees it; nothing for this host.
func (h *Hosts) Plan(ctx context.Context, s *site.Site, j ore.Job, watch ore.Watcher) ([]plan.Host, error) {
	if here, err := h.Local(); err != nil || here {
		return nil, err
	}
	if h.Engine == batch {
		return fleet.Unmet(j.Machines), nil
	}
	e, err := h.engine(s, watch)
	if err != nil {
		return nil, err
	}
	return e.Ask(ctx, j.Machines)
}

// engine is the one of hosts that were named.
func (h *Hosts) engine(s *site.Site, watch ore.Watcher) (*fleet.Hosts, error) {
	k, err := h.keys(s.Dirs)
	if err != nil {
		return nil, err
	}
	return &fleet.Hosts{Site: s, Targets: h.Names, Keys: k, Watch: watch, Version: h.Version, Whole: h.Whole, Rack: h.rack}, nil
}

// errNoHosts is what is wrong where hosts are wanted and none is named.
var errNoHosts = errors.New("no hosts: name some with --host, or under hosts: in the settings")

func (h *Hosts) keys(d site.Dirs) (agent.Keys, error) {
	if h.Keys != "" {
		return fleet.ReadKeys(h.Keys)
	}
	return fleet.OpenKeyring(d.State).Client()
}

// leastQuota is less than any kernel takes: who asks for it forgot the unit.
const leastQuota = 1 << 20

// Node returns the command node.
func Node(s *Shell) *cobra.Command {
	var n fleet.Node
	var trust, quota, memory, link string
	var lease bool
	var cores int
	c := &cobra.Command{
		Use: "node", Short: "Lend this host to jobs of other hosts", Args: cobra.NoArgs,
		Long: `Lend this host to jobs of other hosts: keep image layers for them, pass these on to
further hosts, and run machines. It needs no root, no package and no mirror.

The keys (an authority, a certificate and its key, as JSON on one line) are those of
--trust, which 'ore hosts issue' made on the host that jobs come from, or come as
the first line of standard input. Who has none of the same authority is refused.

When it serves, one line of JSON says where: addr, chain, trunk, name. It ends at an
interrupt; with --lease also when its standard input ends or when nobody has called
for ` + agent.LeaseTime.String() + `. Everything ends and is removed with it but blobs within the quota.`,
		Example: `  ore node --trust node1.keys
  ore node --lease <keys-and-then-nothing-until-the-end`,
	}
	f := c.Flags()
	f.StringVar(&n.Listen, "listen", "", "`address` to listen at; default: port "+agent.DefaultPort+" with --trust, else any")
	f.StringVar(&n.Dir, "dir", "", "`folder` for blobs, kept for the next job; default: one in this user's cache")
	f.StringVar(&n.Name, "name", "", "what the host is called; default: its own name")
	f.StringVar(&quota, "quota", "20G", "bytes of blobs that are kept when no job needs them, as `size`")
	f.IntVar(&cores, "cores", 0, "`number` of CPUs for the agent and all machines; default: all that it may use")
	f.StringVar(&memory, "memory", "", "memory for machines of all jobs together, as `size`; default: what the host has")
	f.StringVar(&n.Rack, "rack", "", "`name` of the rack: layers go through a rack before they go to the next")
	f.StringVar(&n.Switch, "switch", "", "`name` of the switch that the rack is connected with: racks on one are nearer to each other")
	f.StringVar(&link, "link", "", "`rate` of the host's link, as 100mbit, for the order of transfers; default: what its network card says")
	f.StringVar(&trust, "trust", "", "`file` with the keys; default: standard input")
	f.BoolVar(&lease, "lease", false, "end when standard input ends or nobody calls any more")
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		if n.Quota, err = job.ParseSize(quota); err != nil {
			return s.Usage(fmt.Errorf("--quota %s: %w", quota, err))
		}
		if n.Quota > 0 && n.Quota < leastQuota {
			return s.Usage(fmt.Errorf("--quota %s: no blob would fit: write a unit, as in 20G, or 0 to keep none", quota))
		}
		if n.Memory, err = job.ParseSize(memory); err != nil && memory != "" {
			return s.Usage(fmt.Errorf("--memory %s: %w", memory, err))
		}
		if n.Link, err = linkRate(link); err != nil {
			return s.Usage(err)
		}
		if c.Flags().Changed("cores") {
			if err := confine(cores); err != nil {
				return s.Usage(err)
			}
		}
		if n.Keys, err = s.keys(trust); err != nil {
			return err
		}
		if n.Listen == "" {
			n.Listen = ":0"
			if trust != "" {
				n.Listen = ":" + agent.DefaultPort
			}
		}
		if lease {
			n.Lease = s.In
		}
		n.Version = s.Version()
		return fleet.Serve(c.Context(), n, func(r agent.Ready) error { return json.NewEncoder(s.Out).Encode(r) })
	}
	return c
}

// keys reads a node's keys from the file trust, or from standard input if it names none.
func (s *Shell) keys(trust string) (agent.Keys, error) {
	if trust == "" {
		return agent.ReadKeys(s.In)
	}
	s.warn(trust)
	return fleet.ReadKeys(trust)
}

// Report is what 'ore hosts' tells of one host.
type Report struct {
	Host    string
	Healthy bool
	Error   string        `json:",omitempty"`
	Answer  time.Duration // how long it took to answer, with nothing to do
	Facts   *agent.Facts  `json:",omitempty"`
}

// Command returns the command hosts with its subcommands.
func Command(s *Shell) *cobra.Command {
	var h Hosts
	c := &cobra.Command{
		Use: "hosts", Short: "Show the hosts that jobs may use, and make keys for them", Args: cobra.NoArgs,
		Long: `Show the hosts of --host or the settings on which 'ore node' runs: whether they
answer, how long that takes, their cores, load and memory, the blobs (layers, kernels,
inputs) that they hold, and the jobs there with their machines and the links between
hosts (how many are up, the longest round trip). --json has all of it.`,
		Example: `  ore hosts --host node1 --host node2
  ore hosts issue node1 >node1.keys   # then, on node1: ore node --trust node1.keys`,
		RunE: func(c *cobra.Command, _ []string) error { return s.hosts(c.Context(), &h) },
	}
	h.names(c)
	c.AddCommand(&cobra.Command{
		Use: "issue NAME...", Short: "Make keys for 'ore node' on a host", Args: cobra.MinimumNArgs(1),
		Long: `Make keys for 'ore node --trust' on a host that is called by one of the names (DNS
names or addresses, as jobs will name it), and print them. They are a secret: a file
that they are written to is made its owner's alone. The first call makes this user's authority, which accepts no others.`,
		RunE: func(_ *cobra.Command, args []string) error {
			dirs, err := site.FindDirs(os.Getenv)
			if err != nil {
				return err
			}
			k, err := fleet.OpenKeyring(dirs.State).Issue(args...)
			if err != nil {
				return err
			}
			line, err := fleet.Line(k)
			if err != nil {
				return err
			}
			s.conceal()
			_, err = s.Out.Write(line)
			return err
		},
	})
	return c
}

// hosts asks all hosts at once and tells what they say.
func (s *Shell) hosts(ctx context.Context, h *Hosts) error {
	if err := h.settle(); err != nil {
		return err
	}
	if len(h.Names) == 0 {
		return s.Usage(errNoHosts)
	}
	dirs, err := site.FindDirs(os.Getenv)
	if err != nil {
		return err
	}
	k, err := h.keys(dirs)
	if err != nil {
		return err
	}
	all := make([]Report, len(h.Names))
	var asking sync.WaitGroup
	for i, name := range h.Names {
		asking.Go(func() { all[i] = ask(ctx, name, k) })
	}
	asking.Wait()
	if *s.JSON {
		err = s.print(all)
	} else {
		s.table(all)
	}
	if slices.ContainsFunc(all, func(r Report) bool { return r.Healthy }) || err != nil {
		return err
	}
	return errors.New("none of the hosts can be used: see that 'ore node' runs there, and that these are its keys")
}

// ask asks one host.
func ask(ctx context.Context, name string, k agent.Keys) Report {
	r := Report{Host: name}
	fail := func(err error) Report {
		r.Error = err.Error()
		return r
	}
	t, err := agent.ParseTarget(name)
	if err != nil {
		return fail(err)
	}
	c, err := agent.Dial(ctx, t, k)
	if err != nil {
		return fail(err)
	}
	defer c.Close()
	begun := time.Now() // the connection is there: what counts is the way and the agent
	f, err := c.Host(ctx)
	if err != nil {
		return fail(err)
	}
	r.Answer, r.Facts, r.Healthy = time.Since(begun), &f, true
	return r
}

func (s *Shell) table(all []Report) {
	t := s.Rows("host", "answers in", "cores", "load", "memory free", "disk free", "blobs", "held", "machines", "links up", "jobs")
	for _, r := range all {
		f := r.Facts
		if f == nil {
			t.AppendRow(table.Row{r.Host, "no answer"}) // why stands below: it is long
			continue
		}
		machines, links, up := 0, 0, 0
		var trip time.Duration
		var jobs []string
		for _, j := range f.Jobs {
			machines += len(j.Machines)
			links += len(j.Links)
			for _, l := range j.Links {
				if l.Up {
					up, trip = up+1, max(trip, l.RTT)
				}
			}
			jobs = append(jobs, j.ID)
		}
		t.AppendRow(table.Row{r.Host, r.Answer.Round(100 * time.Microsecond), f.Cores, math.Round(f.Load*100) / 100,
			fmt.Sprintf("%d of %d MiB", f.Free>>20, f.Memory>>20), fmt.Sprintf("%d MiB", f.Disk>>20),
			len(f.Blobs), fmt.Sprintf("%d of %d MiB", f.Held>>20, f.Quota>>20), machines, linksOf(links, up, trip), strings.Join(jobs, " ")})
	}
	t.Render()
	for _, r := range all {
		if r.Error != "" {
			fmt.Fprintln(s.Out, r.Error)
		}
	}
}

// linksOf tells of links to other hosts: how many work, and the slowest's round trip.
func linksOf(all, up int, trip time.Duration) string {
	if all == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d, %v", up, all, trip.Round(10*time.Microsecond))
}

// linkRate reads a rate such as 100mbit, in bytes a second; "" is 0.
func linkRate(s string) (float64, error) {
	if s == "" {
		return 0, nil
	}
	var bits *float64
	if err := words.Rate(&bits, s); err != nil {
		return 0, fmt.Errorf("--link %s: %w", s, err)
	}
	return *bits / 8, nil
}
