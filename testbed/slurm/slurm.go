// Package slurm runs a real Slurm cluster on a bed: munge's daemon and slurmctld
// on head, slurmd on each other host, with settings that suit tests: what is lost
// is noticed within seconds, and nothing waits for a timer.
//
// It needs Debian's slurmctld, slurmd, slurm-client and munge, whose services this
// host need not run. All files are in the bed's folder; SLURM_CONF is set for all
// commands on the bed's hosts. Jobs may be submitted by any account of this host.
//
// A controller that dies within five seconds after the start of a job may forget
// the job, since it saves its state that often.
package slurm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"ore/testbed"
)

// Config says what Slurm is to believe of the hosts.
type Config struct {
	CPUs   int      // of each host; 0 means 4
	Memory int      // of each host, in MiB; 0 means 4096
	Lines  []string // further lines of slurm.conf (slurm.conf(5))
	Nodes  []string // further lines about nodes, after those of the hosts
	// Features are constraints that a host meets, by its name.
	Features map[string]string
}

// Cluster is a Slurm cluster.
type Cluster struct {
	bed *testbed.Bed
	dir string
}

// readyDeadline bounds how long a new cluster may take until all hosts are idle:
// many times what a busy machine needs.
const readyDeadline = 60 * time.Second

// keySize is the size of munge's key in bytes (mungekey(8)).
const keySize = 128

// Start starts Slurm on a bed, and returns when all hosts can take jobs.
func Start(ctx context.Context, b *testbed.Bed, c Config) (*Cluster, error) {
	for _, program := range []string{"munged", "slurmctld", "slurmd", "scontrol"} {
		if _, err := exec.LookPath(program); err != nil {
			return nil, fmt.Errorf("start Slurm: %w: install Debian's slurmctld, slurmd, slurm-client and munge", err)
		}
	}
	s := Of(b)
	if err := s.start(ctx, c); err != nil {
		return nil, fmt.Errorf("start Slurm: %w", err)
	}
	return s, nil
}

// Of returns the cluster that was started on a bed.
func Of(b *testbed.Bed) *Cluster { return &Cluster{bed: b, dir: filepath.Join(b.Folder(), "slurm")} }

// Folder returns where the cluster's files are.
func (s *Cluster) Folder() string { return s.dir }

func (s *Cluster) start(ctx context.Context, c Config) error {
	i, err := s.bed.Info()
	if err != nil {
		return err
	}
	if err := s.files(c, i); err != nil {
		return err
	}
	if err := s.bed.Set("SLURM_CONF", s.conf()); err != nil {
		return err
	}
	munge := filepath.Join(s.dir, "munge")
	if err := s.bed.AtBoot(ctx, testbed.Head, "munged", "--force", "--num-threads=4", "--key-file="+munge+"/key",
		"--socket="+munge+"/sock", "--pid-file="+munge+"/pid", "--log-file="+munge+"/log", "--seed-file="+munge+"/seed"); err != nil {
		return err
	}
	if err := s.bed.AtBoot(ctx, testbed.Head, "slurmctld", "-f", s.conf()); err != nil {
		return err
	}
	for _, h := range i.Hosts[1:] {
		if err := s.bed.AtBoot(ctx, h.Name, "slurmd", "-f", s.conf()); err != nil {
			return err
		}
	}
	return s.Await(ctx, len(i.Hosts)-1)
}

func (s *Cluster) conf() string { return filepath.Join(s.dir, "slurm.conf") }

// files makes what the daemons read.
func (s *Cluster) files(c Config, i testbed.Info) error {
	for _, d := range []string{"munge", "state", "log", "run"} {
		if err := os.MkdirAll(filepath.Join(s.dir, d), 0o755); err != nil {
			return err
		}
	}
	for _, h := range i.Hosts {
		if err := os.MkdirAll(filepath.Join(s.dir, "spool", h.Name), 0o755); err != nil {
			return err
		}
	}
	key := make([]byte, keySize)
	rand.Read(key)
	for name, text := range map[string][]byte{
		"slurm.conf":  []byte(settings(s.dir, c, i)),
		"cgroup.conf": []byte("CgroupPlugin=cgroup/v1\n"), // asked for, though nothing uses cgroups
		"munge/key":   key,
	} {
		if err := os.WriteFile(filepath.Join(s.dir, name), text, 0o644); err != nil {
			return err
		}
	}
	return os.Chmod(filepath.Join(s.dir, "munge/key"), 0o400)
}

// settings is the text of slurm.conf. Time-outs are short, since tests lose hosts;
// credentials too, since how long they live is how long a requeued job waits.
func settings(dir string, c Config, i testbed.Info) string {
	cpus, memory := c.CPUs, c.Memory
	if cpus == 0 {
		cpus = 4
	}
	if memory == 0 {
		memory = 4096
	}
	lines := []string{
		"ClusterName=bed",
		fmt.Sprintf("SlurmctldHost=%s(%s)", testbed.Head, i.Hosts[0].Address),
		"SlurmUser=root",
		"AuthType=auth/munge", "CryptoType=crypto/munge",
		"AuthInfo=socket=" + dir + "/munge/sock,cred_expire=5",
		"SlurmctldPidFile=" + dir + "/run/slurmctld.pid", "SlurmctldLogFile=" + dir + "/log/slurmctld.log",
		"StateSaveLocation=" + dir + "/state",
		"SlurmdPidFile=" + dir + "/run/slurmd-%n.pid", "SlurmdSpoolDir=" + dir + "/spool/%n", "SlurmdLogFile=" + dir + "/log/slurmd-%n.log",
		"ProctrackType=proctrack/linuxproc", "TaskPlugin=task/none", "JobAcctGatherType=jobacct_gather/none",
		"AccountingStorageType=accounting_storage/none", "JobCompType=jobcomp/filetxt", "JobCompLoc=" + dir + "/log/jobcomp",
		"SelectType=select/cons_tres", "SelectTypeParameters=CR_Core_Memory", "DefMemPerCPU=64",
		"SchedulerType=sched/backfill", "SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,bf_interval=1",
		"MpiDefault=none", "ReturnToService=2", "SlurmctldTimeout=5", "SlurmdTimeout=5", "MessageTimeout=10",
		"InactiveLimit=0", "KillWait=10", "MinJobAge=300", "PropagateResourceLimits=NONE",
		"SlurmdParameters=config_overrides", "DebugFlags=NO_CONF_HASH",
	}
	lines = append(lines, c.Lines...)
	var names []string
	for _, h := range i.Hosts[1:] {
		line := fmt.Sprintf("NodeName=%s NodeAddr=%s CPUs=%d RealMemory=%d State=UNKNOWN", h.Name, h.Address, cpus, memory)
		if f := c.Features[h.Name]; f != "" {
			line += " Features=" + f
		}
		lines = append(lines, line)
		names = append(names, h.Name)
	}
	lines = append(lines, fmt.Sprintf("PartitionName=main Nodes=%s Default=YES MaxTime=INFINITE State=UP", strings.Join(names, ",")))
	return strings.Join(append(lines, c.Nodes...), "\n") + "\n"
}

// Await returns when n hosts are idle.
func (s *Cluster) Await(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, readyDeadline)
	defer cancel()
	const again = 50 * time.Millisecond // what sinfo(1) asks is a matter of some ms
	tick := time.NewTicker(again)
	defer tick.Stop()
	var said string
	for {
		out, err := s.bed.Command(ctx, testbed.Head, "sinfo", "-h", "-N", "-o", "%n:%t").CombinedOutput()
		if err == nil && strings.Count(string(out)+"\n", ":idle\n") >= n {
			return nil
		}
		if ctx.Err() == nil {
			said = strings.Join(strings.Fields(string(out)), " ")
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %d idle hosts: %w: sinfo says %q: see %s", n, ctx.Err(), said, filepath.Join(s.dir, "log"))
		case <-tick.C:
		}
	}
}

// KillController ends slurmctld as a crash would.
func (s *Cluster) KillController(ctx context.Context) error {
	b, err := os.ReadFile(filepath.Join(s.dir, "run", "slurmctld.pid"))
	if err != nil {
		return fmt.Errorf("kill slurmctld: %w", err)
	}
	// The number is the one that it has on its host.
	out, err := s.bed.Command(ctx, testbed.Head, "kill", "-9", strings.TrimSpace(string(b))).CombinedOutput()
	if err != nil {
		return fmt.Errorf("kill slurmctld: %w: %s", err, out)
	}
	return nil
}

// StartController starts slurmctld again, which goes on from what it has saved.
func (s *Cluster) StartController(ctx context.Context) error {
	cmd := s.bed.Command(ctx, testbed.Head, "slurmctld", "-f", s.conf())
	out, err := os.OpenFile(filepath.Join(s.dir, "log", "start"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("start slurmctld: %w: see %s", err, out.Name())
	}
	return nil
}

// Job returns what scontrol knows of a job (scontrol(1), show job), by key.
func (s *Cluster) Job(ctx context.Context, id string) (map[string]string, error) {
	out, err := s.bed.Command(ctx, testbed.Head, "scontrol", "-o", "show", "job", id).Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
		}
		return nil, fmt.Errorf("job %s: %w", id, err)
	}
	m := map[string]string{}
	for _, f := range strings.Fields(string(out)) {
		if k, v, ok := strings.Cut(f, "="); ok {
			m[k] = v
		}
	}
	return m, nil
}
