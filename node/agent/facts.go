package agent

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ore"
	"ore/vnet"
)

// facts is what the host says of itself.
func (a *Agent) facts(ctx context.Context) (Facts, error) {
	f := Facts{
		Name: a.config.Name, Version: a.config.Version, Chain: a.blobs.peer.Addr().String(),
		Rack: a.config.Rack, Switch: a.config.Switch, Cores: runtime.NumCPU(), Quota: a.config.Quota, Blobs: []ore.Digest{}, Jobs: []JobFacts{},
		Link: a.config.Link,
	}
	if at, ok := a.blobs.peer.Addr().(*net.TCPAddr); ok && f.Link == 0 {
		f.Link = CardRate(at.AddrPort().Addr())
	}
	var err error
	if f.Subnets, err = vnet.UsedSubnets(); err != nil {
		return f, err
	}
	if f.Memory, f.Free, err = memory(); err != nil {
		return f, err
	}
	if f.Load, err = load(); err != nil {
		return f, err
	}
	if k, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err == nil {
		k.Close()
		f.KVM = true
	}
	var st unix.Statfs_t
	if err := unix.Statfs(a.config.Dir, &st); err != nil {
		return f, fmt.Errorf("look at %s: %w", a.config.Dir, err)
	}
	f.Disk = int64(st.Bavail) * st.Bsize
	sizes, err := a.blobs.store.Blobs()
	if err != nil {
		return f, err
	}
	f.Blobs = slices.AppendSeq(f.Blobs, maps.Keys(sizes))
	slices.Sort(f.Blobs)
	for _, n := range sizes {
		f.Held += n
	}
	var promised int64
	f.Jobs, promised = a.list(ctx)
	if lent := a.config.Memory; lent > 0 {
		f.Memory = min(f.Memory, lent)
		f.Free = min(f.Free, max(0, lent-promised))
	}
	return f, nil
}

// list says which jobs there are, and how much memory their machines have been
// promised. A supervisor that is busy is not waited for.
func (a *Agent) list(ctx context.Context) (facts []JobFacts, promised int64) {
	ctx, cancel := context.WithTimeout(ctx, renewEvery)
	defer cancel()
	a.mu.Lock()
	all := slices.Collect(maps.Values(a.jobs))
	a.mu.Unlock()
	facts = []JobFacts{}
	for _, j := range all {
		v := JobFacts{ID: j.id, Begun: j.begun, Machines: []string{}}
		if j.making.TryLock() {
			client := j.client
			j.making.Unlock()
			if client != nil {
				if there, err := client.Machines(ctx); err == nil {
					for _, m := range there {
						v.Machines = append(v.Machines, m.Name)
						if m.Lost == "" {
							promised += m.Memory
						}
					}
				}
				if links, err := client.Trunks(ctx, false); err == nil {
					v.Links = links
				}
			}
		}
		facts = append(facts, v)
	}
	slices.SortFunc(facts, func(a, b JobFacts) int { return strings.Compare(a.ID, b.ID) })
	return facts, promised
}

// load returns the load of the last minute (proc_loadavg(5)).
func load() (float64, error) {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, fmt.Errorf("look at the load: %w", err)
	}
	first, _, _ := strings.Cut(string(b), " ")
	v, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0, fmt.Errorf("look at the load: %w", err)
	}
	return v, nil
}

// busy says whether more wants to run here than there are cores, not counting who
// asks (proc(5), loadavg).
func busy() bool {
	b, err := os.ReadFile("/proc/loadavg")
	return err == nil && running(string(b)) > runtime.NumCPU()+1
}

// running is how many threads run or wait for a core: the first number of the fourth
// field. It is 0 where that cannot be read.
func running(loadavg string) int {
	f := strings.Fields(loadavg)
	if len(f) < 4 {
		return 0
	}
	first, _, _ := strings.Cut(f[3], "/")
	n, err := strconv.Atoi(first)
	if err != nil {
		return 0
	}
	return n
}

// memory returns how much memory programs here can have, and how much of it is
// free: the host's, or less where the agent's control group has a limit.
func memory() (total, free int64, err error) {
	b, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0, 0, fmt.Errorf("look at the memory: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		kib, err := strconv.ParseInt(f[1], 10, 64)
		switch {
		case err != nil:
		case f[0] == "MemTotal:":
			total = kib << 10
		case f[0] == "MemAvailable:":
			free = kib << 10
		}
	}
	if group, err := os.ReadFile("/proc/self/cgroup"); err == nil {
		limit, left := limits("/sys/fs/cgroup", string(group))
		total, free = min(total, limit), min(free, left)
	}
	return total, free, nil
}

// limits returns the least limit of memory of a control group and those that it
// is in, and what is left of it (cgroups(7), version 2). group is the text of
// /proc/self/cgroup.
func limits(root, group string) (limit, left int64) {
	limit, left = math.MaxInt64, math.MaxInt64
	for line := range strings.Lines(group) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		for p := filepath.Join("/", path); ; p = filepath.Dir(p) {
			most, err := number(filepath.Join(root, p, "memory.max"))
			used, uerr := number(filepath.Join(root, p, "memory.current"))
			if err == nil && uerr == nil {
				limit, left = min(limit, most), min(left, max(0, most-used))
			}
			if p == "/" {
				break
			}
		}
	}
	return limit, left
}

func number(file string) (int64, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
}
