package slurm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"ore"
	whole "ore/cluster"
	"ore/guest"
	"ore/job"
	"ore/site"
	"ore/site/ledger"
	"ore/site/supervisor"
)

// machine is what a node is to be.
type machine struct {
	node             node
	job              ore.Job
	cluster          cluster
	key              []byte // munge's
	accounts, groups string
	log              io.Writer
}

// kernelMemory is what a machine has more than its node: its kernel and slurmd take
// that, and Slurm sets a node down that has less than was said.
const kernelMemory = 96 << 20

// startTime bounds how long the daemons in a machine may take to start.
const startTime = time.Minute

// Where a machine has what it is given.
const (
	confDir      = "/etc/slurm"
	keyFile      = confDir + "/munge.key"
	accountsFile = confDir + "/accounts"
	groupsFile   = confDir + "/groups"
)

// bed is the name of the machine that is a node.
func bed(name string) string { return "slurm-" + name }

// on starts the machine and slurmd in it. It stays until off.
func (m machine) on(ctx context.Context, s *site.Site) error {
	id := bed(m.node.name)
	j, err := m.wish(ctx)
	if err != nil {
		return err
	}
	if err := s.CheckHost(id, j); err != nil {
		return err
	}
	if err := supervisor.Vacant(ctx, s.Book, id); errors.Is(err, supervisor.ErrTaken) {
		if err := off(ctx, s, m.node.name); err != nil { // Slurm believes that it is off
			return err
		}
	} else if err != nil {
		return err
	}
	c := s.KeptConfig(id, nil)
	c.Own, c.Allow = m.files(), m.cluster.services
	b, err := whole.Up(ctx, c, j)
	if err != nil {
		return err
	}
	r := ledger.Record{ID: id, Name: id, Command: []string{"(Slurm's node " + m.node.name + ")"}, Begun: time.Now(), Machines: 1, Kept: true}
	if r.Start, err = b.Encode(); err == nil {
		err = s.Keep(r)
	}
	if err == nil {
		err = b.HandOver()
	}
	if err != nil {
		return errors.Join(err, b.Release(context.WithoutCancel(ctx)))
	}
	if err := m.daemons(ctx, s, r); err != nil {
		return errors.Join(err, off(context.WithoutCancel(ctx), s, m.node.name))
	}
	return nil
}

// wish is the job whose machine the node is.
func (m machine) wish(ctx context.Context) (ore.Job, error) {
	j := m.job
	j.Name = bed(m.node.name)
	for _, p := range []string{"slurmd", "munge"} {
		if !slices.ContainsFunc(j.Wants.Packages, func(w ore.Wish) bool { return w.Name == p }) {
			j.Wants.Packages = append(slices.Clone(j.Wants.Packages), ore.Wish{Name: p})
		}
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip4", m.node.addr)
	if err != nil || len(ips) == 0 {
		return j, fmt.Errorf("NodeAddr %s: %w: set an address of this host", m.node.addr, err)
	}
	j.Machines.Count, j.Machines.CPUs, j.Machines.Memory = 1, m.node.cpus, m.node.memory+kernelMemory
	j.Network = ore.NAT
	j.Run = ore.Run{Publish: []ore.Port{{Listen: netip.AddrPortFrom(ips[0].Unmap(), uint16(m.node.port)).String(), Port: m.node.port}}}
	return j, job.Check(j, false)
}

// files is what the machine is given.
func (m machine) files() []guest.File {
	all := []guest.File{
		{Path: confDir + "/slurm.conf", Mode: 0o644, Content: m.cluster.conf},
		{Path: keyFile, Mode: 0o400, Content: m.key},
		{Path: accountsFile, Mode: 0o644, Content: []byte(m.accounts)},
		{Path: groupsFile, Mode: 0o644, Content: []byte(m.groups)},
	}
	if m.cluster.cgroup != nil {
		all = append(all, guest.File{Path: confDir + "/cgroup.conf", Mode: 0o644, Content: m.cluster.cgroup})
	}
	return all
}

// script starts the daemons. slurmd looks for a mounted /sys/fs/cgroup even where
// nothing uses it. Accounts that the image has stay as they are.
func (m machine) script() string {
	get := func(name, otherwise string) string {
		v := m.cluster.settings[name]
		if v == "" || v == "(null)" {
			v = otherwise
		}
		return strings.NewReplacer("%n", m.node.name, "%h", m.node.name).Replace(v)
	}
	socket := "/run/munge/munge.socket.2"
	for o := range strings.SplitSeq(get("AuthInfo", ""), ",") {
		if v, ok := strings.CutPrefix(o, "socket="); ok {
			socket = v
		}
	}
	var s strings.Builder
	s.WriteString("set -e\nmountpoint -q /sys/fs/cgroup || mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup\n")
	for _, p := range [][2]string{{accountsFile, "/etc/passwd"}, {groupsFile, "/etc/group"}} {
		fmt.Fprintf(&s, "while read -r l; do grep -q \"^${l%%%%:*}:\" %[2]s || printf '%%s\\n' \"$l\" >>%[2]s; done <%[1]s\n", p[0], p[1])
	}
	fmt.Fprintf(&s, "while IFS=: read -r u p i g c h r; do [ -e \"$h\" ] || { mkdir -p \"$h\"; chown \"$i:$g\" \"$h\"; }; done <%s\n", accountsFile)
	fmt.Fprintf(&s, "cat >>/etc/hosts <<'EOF'\n%sEOF\n", m.cluster.hosts)
	for _, dir := range []string{
		get("SlurmdSpoolDir", "/var/spool/slurmd"), filepath.Dir(get("SlurmdLogFile", "/var/log/slurmd.log")),
		filepath.Dir(get("SlurmdPidFile", "/run/slurmd.pid")), filepath.Dir(socket), "/run/munge",
	} {
		fmt.Fprintf(&s, "mkdir -p -m 755 '%s'\n", dir)
	}
	fmt.Fprintf(&s, "munged --force --num-threads=2 --key-file=%s --socket='%s' --pid-file=/run/munge/pid --log-file=/var/log/munge/log --seed-file=/run/munge/seed\n", keyFile, socket)
	fmt.Fprintf(&s, "exec slurmd -b -N %s -f %s/slurm.conf\n", m.node.name, confDir)
	return s.String()
}

// daemons starts what makes the machine a node.
func (m machine) daemons(ctx context.Context, s *site.Site, r ledger.Record) error {
	ctx, cancel := context.WithTimeout(ctx, startTime)
	defer cancel()
	n, err := s.Attach(r)
	if err != nil {
		return err
	}
	defer n.Close()
	var said bytes.Buffer
	exit, err := n.Exec(ctx, whole.MachineName(0), guest.Command{
		Args: []string{"/bin/sh", "-c", m.script()}, Dir: "/", Stdout: &said, Stderr: &said,
	})
	if err == nil && exit.Code != 0 {
		err = errors.New("exit code " + strconv.Itoa(exit.Code))
	}
	if err != nil {
		return fmt.Errorf("start slurmd: %w: %s", err, strings.TrimSpace(said.String()))
	}
	return nil
}

// off ends the machine of a node. That there is none is no error.
func off(ctx context.Context, s *site.Site, name string) error {
	r, err := s.Bed(bed(name))
	if err != nil {
		return nil
	}
	if err := s.Down(ctx, r); err != nil {
		return fmt.Errorf("node %s: %w", name, err)
	}
	return nil
}
