package slurm

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ore"
	"ore/job"
)

// ask runs one of Slurm's commands, or getent.
func ask(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return "", explain(args, err, said.String())
	}
	return string(out), nil
}

// explain makes one line of what a command printed that could not do it, with what
// there is to do where that is known.
func explain(args []string, err error, said string) error {
	what := strings.Join(args[:min(3, len(args))], " ")
	if errors.Is(err, exec.ErrNotFound) {
		return fmt.Errorf("%s: %s is not here: run this where slurmctld does, as its ResumeProgram or SuspendProgram, or install Debian's slurm-client", what, args[0])
	}
	lines := strings.FieldsFunc(said, func(r rune) bool { return r == '\n' })
	for i, l := range lines {
		lines[i] = strings.TrimPrefix(strings.TrimPrefix(strings.TrimSpace(l), args[0]+": "), "error: ")
	}
	if len(lines) == 0 {
		return fmt.Errorf("%s: %w", what, err)
	}
	if said = strings.Join(lines, "; "); noSlurm.MatchString(said) {
		return fmt.Errorf("%s: there is no Slurm that it could ask (%s): run this on a host of the cluster, with its slurm.conf in /etc/slurm or where SLURM_CONF says", what, lines[0])
	}
	return fmt.Errorf("%s: %w: %s", what, err, said)
}

// noSlurm is in what Slurm's commands print where they find no configuration: with one
// they say what slurmctld answered, or that it did not.
var noSlurm = regexp.MustCompile(`(?i)resolve_ctls_from_dns_srv|could not establish a configuration source|fetch_config|Unable to determine.*slurm\.conf`)

// hostnames expands a list of nodes.
func hostnames(ctx context.Context, list string) ([]string, error) {
	out, err := ask(ctx, "scontrol", "show", "hostnames", list)
	if err != nil {
		return nil, err
	}
	names := strings.Fields(out)
	for _, n := range names {
		if !nodeName.MatchString(n) {
			return nil, fmt.Errorf("node %q: that is no name of a host", n)
		}
	}
	return names, nil
}

// nodeName is what nodes may be called: a machine's name is made of it.
var nodeName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?$`)

// refuse tells Slurm that nodes did not come: it puts their jobs back.
func refuse(ctx context.Context, list string, why error) error {
	reason, _, _ := strings.Cut(why.Error(), "\n")
	const most = 200 // Slurm shows it in a column
	_, err := ask(context.WithoutCancel(ctx), "scontrol", "update", "nodename="+list, "state=DOWN", "reason=ore: "+reason[:min(len(reason), most)])
	return err
}

// fields reads a line of 'scontrol -o show': values may have spaces.
func fields(line string) map[string]string {
	all := map[string]string{}
	line = strings.TrimSpace(line)
	at := fieldStart.FindAllStringSubmatchIndex(line, -1)
	for i, m := range at {
		end := len(line)
		if i+1 < len(at) {
			end = at[i+1][0]
		}
		all[line[m[2]:m[3]]] = strings.TrimSpace(line[m[1]:end])
	}
	return all
}

var fieldStart = regexp.MustCompile(`(?:^|\s)([A-Z][A-Za-z:/_]*)=`)

// node is a node as Slurm has it.
type node struct {
	name   string
	addr   string // where slurmctld calls it
	port   int
	cpus   int
	memory int64 // bytes
}

func parseNode(line string) (node, error) {
	f := fields(line)
	n := node{name: f["NodeName"], addr: f["NodeAddr"]}
	mib, merr := strconv.ParseInt(f["RealMemory"], 10, 64)
	var cerr, perr error
	n.cpus, cerr = strconv.Atoi(f["CPUTot"])
	n.port = defaultPort
	if f["Port"] != "" {
		n.port, perr = strconv.Atoi(f["Port"])
	}
	if n.name == "" || n.addr == "" || errors.Join(merr, cerr, perr) != nil || mib < 1 || mib > 1<<30 || n.port < 1 || n.port > 65535 {
		return n, fmt.Errorf("scontrol show node: not understood: %q", line)
	}
	n.memory = mib << 20
	return n, nil
}

// defaultPort is slurmd's (SlurmdPort in slurm.conf(5)).
const defaultPort = 6818

// cluster is what machines have to know of the controller.
type cluster struct {
	conf     []byte // slurm.conf
	cgroup   []byte // cgroup.conf, nil if there is none
	settings map[string]string
	hosts    string           // lines for /etc/hosts
	services []netip.AddrPort // that machines call
}

// parseConfig reads what 'scontrol show config' prints.
func parseConfig(text string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(line, "="); ok {
			all[strings.TrimSpace(k)] = strings.TrimSpace(v)
		}
	}
	return all
}

// findCluster asks the controller.
func findCluster(ctx context.Context) (cluster, error) {
	out, err := ask(ctx, "scontrol", "show", "config")
	if err != nil {
		return cluster{}, err
	}
	c := cluster{settings: parseConfig(out)}
	path := c.settings["SLURM_CONF"]
	if c.conf, err = os.ReadFile(path); err != nil {
		return c, fmt.Errorf("Slurm's configuration: %w", err)
	}
	if b, err := os.ReadFile(filepath.Join(filepath.Dir(path), "cgroup.conf")); err == nil {
		c.cgroup = b
	}
	port, err := strconv.ParseUint(c.settings["SlurmctldPort"], 10, 16)
	if err != nil {
		return c, fmt.Errorf("SlurmctldPort %q: not one port: set one", c.settings["SlurmctldPort"])
	}
	for i := 0; ; i++ {
		said, ok := c.settings[fmt.Sprintf("SlurmctldHost[%d]", i)]
		if !ok {
			return c, nil
		}
		name, addr := controller(said)
		ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", addr)
		if err != nil || len(ips) == 0 {
			return c, fmt.Errorf("SlurmctldHost %s: %w: give its address, as %s(ADDRESS)", said, err, name)
		}
		c.hosts += fmt.Sprintf("%s %s\n", ips[0].Unmap(), name)
		c.services = append(c.services, netip.AddrPortFrom(ips[0].Unmap(), uint16(port)))
	}
}

// meet adds the nodes: they pass messages on to each other, and those of the same
// host do that by its own address.
func (c *cluster) meet(ctx context.Context) error {
	out, err := ask(ctx, "scontrol", "-o", "show", "node")
	if err != nil {
		return err
	}
	for line := range strings.Lines(strings.TrimSpace(out)) {
		n, err := parseNode(strings.TrimSpace(line))
		if err != nil {
			return err
		}
		ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", n.addr)
		if err != nil || len(ips) == 0 {
			continue // a node that was never on may have no address yet
		}
		c.services = append(c.services, netip.AddrPortFrom(ips[0].Unmap(), uint16(n.port)))
	}
	return nil
}

// controller takes "name(address)" apart.
func controller(s string) (name, addr string) {
	name, addr, ok := strings.Cut(strings.TrimSuffix(s, ")"), "(")
	if !ok {
		addr = name
	}
	return name, addr
}

// waiting is a job that waits for nodes, as the file of SLURM_RESUME_FILE has it:
// Slurm 22.05 says nodes, later ones nodes_resume.
type waiting struct {
	ID       int    `json:"job_id"`
	Nodes    string `json:"nodes_resume"`
	Old      string `json:"nodes"`
	features string
	comment  string
}

// readWaiting reads that file; where there is none, no job is known.
func readWaiting(path string) ([]waiting, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("jobs that wait: %w", err)
	}
	var f struct {
		Jobs []waiting `json:"jobs"`
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("jobs that wait: %s: %w", path, err)
	}
	return f.Jobs, nil
}

// word is a feature in a constraint, which joins them by & | , [ ] ( ) * and
// numbers (sbatch(1)).
var word = regexp.MustCompile(`[A-Za-z][A-Za-z0-9_-]*`)

// environment says what a node is made with for a job.
func environment(w waiting, dir string) (ore.Job, error) {
	base := job.Default(job.DefaultSuite)
	if rest, ok := strings.CutPrefix(w.comment, "ore "); ok {
		return fromComment(base, rest)
	}
	for _, f := range append(word.FindAllString(w.features, -1), "default") {
		path := filepath.Join(dir, f+".yaml")
		if _, err := os.Stat(path); err == nil {
			return job.Load(path, base)
		}
	}
	return base, nil
}

// fromComment reads "packages=a,b base=debian/bookworm". Other words are not for
// us: jobs of ore's own engine have such comments too.
func fromComment(j ore.Job, text string) (ore.Job, error) {
	for f := range strings.FieldsSeq(text) {
		k, v, _ := strings.Cut(f, "=")
		switch k {
		case "packages":
			for p := range strings.SplitSeq(v, ",") {
				w, err := job.ParseWish(p)
				if err != nil {
					return j, fmt.Errorf("the job's comment: %w", err)
				}
				j.Wants.Packages = append(j.Wants.Packages, w)
			}
		case "base":
			b, err := job.ParseBase(v)
			if err != nil {
				return j, fmt.Errorf("the job's comment: %w", err)
			}
			j.Wants.Base = b
		}
	}
	return j, nil
}

// plan says which machine each node is to be.
func (a *Shell) plan(ctx context.Context, names []string, o options) ([]machine, error) {
	c, err := findCluster(ctx)
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(o.key)
	if err != nil {
		return nil, fmt.Errorf("munge's key: %w: name it with --munge-key, and run as a user who may read it", err)
	}
	jobs, err := readWaiting(os.Getenv("SLURM_RESUME_FILE"))
	if err != nil {
		return nil, err
	}
	of := map[string]waiting{}
	for _, w := range jobs {
		// A job that is gone by now leaves its nodes with the default.
		if out, err := ask(ctx, "scontrol", "-o", "show", "job", strconv.Itoa(w.ID)); err == nil {
			f := fields(strings.TrimSpace(out))
			w.comment, w.features = f["Comment"], f["Features"]
		}
		nodes, err := hostnames(ctx, cmp.Or(w.Nodes, w.Old))
		if err != nil {
			return nil, err
		}
		for _, n := range nodes {
			of[n] = w
		}
	}
	if err := c.meet(ctx); err != nil {
		return nil, err
	}
	out, err := ask(ctx, "scontrol", "-o", "show", "node", strings.Join(names, ","))
	if err != nil {
		return nil, err
	}
	var all []machine
	for line := range strings.Lines(strings.TrimSpace(out)) {
		n, err := parseNode(strings.TrimSpace(line))
		if err != nil {
			return nil, err
		}
		j, err := environment(of[n.name], o.environments)
		if err != nil {
			return nil, fmt.Errorf("node %s: %w", n.name, err)
		}
		m := machine{node: n, job: j, cluster: c, key: key, log: a.Err}
		m.accounts, m.groups = accounts(ctx)
		all = append(all, m)
	}
	if len(all) != len(names) {
		return nil, fmt.Errorf("scontrol show node: %d nodes of %d", len(all), len(names))
	}
	return all, nil
}

// firstUser is the first id of people (Debian policy 9.2.2).
const firstUser = 1000

// accounts are the lines of people in passwd(5) and group(5), who may have jobs.
func accounts(ctx context.Context) (users, groups string) {
	people := func(database string) string {
		out, err := ask(ctx, "getent", database)
		if err != nil {
			return "" // such jobs fail by themselves: root's do not
		}
		lines := slices.DeleteFunc(slices.Collect(strings.Lines(out)), func(l string) bool {
			f := strings.Split(l, ":")
			if len(f) < 4 {
				return true
			}
			id, err := strconv.Atoi(f[2])
			return err != nil || id < firstUser || id == 65534
		})
		return strings.Join(lines, "")
	}
	return people("passwd"), people("group")
}
