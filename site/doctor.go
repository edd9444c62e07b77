package site

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ore"
	"ore/cluster"
	"ore/install/sandbox"
	"ore/job"
	"ore/namespace"
	"ore/site/ledger"
	"ore/site/spare"
	"ore/site/supervisor"
	"ore/vm"
)

// Finding is one thing that was tried on this host.
type Finding struct {
	Name   string
	Works  bool
	Needed bool   // without it no job runs
	What   string // what was found
	Fix    string // what to do, "" if nothing is
}

// probeTime bounds how long a hypervisor may take to show that it boots.
const probeTime = time.Minute

// Doctor tries what jobs need and says what works. Its error is only that the
// trying itself was not possible.
func (s *Site) Doctor(ctx context.Context) ([]Finding, error) {
	all := []Finding{s.findSpace(), findMemory(), findShared(spare.Shared), s.findJobs()}
	archive, ok := s.findArchive(ctx)
	all = append(all, archive)
	for i, a := range namespace.Probe(ctx) {
		f := Finding{Name: a.Name, Works: a.Works, What: a.Why, Needed: i == 1 && os.Geteuid() != 0}
		if a.Works {
			f.What = "works"
		}
		all = append(all, f)
	}
	all = append(all, s.findSandboxes(ctx)...)
	if !ok {
		return all, ctx.Err()
	}
	for _, h := range job.Hypervisors[1:] {
		all = append(all, s.findHypervisor(ctx, h))
	}
	return all, ctx.Err()
}

// findSandboxes tries each way to build environments; one of them is needed.
func (s *Site) findSandboxes(ctx context.Context) []Finding {
	var all []Finding
	some := false
	for _, a := range sandbox.Probe(ctx, s.Dirs.Cache) {
		f := Finding{Name: "environments, tier " + string(a.Tier), Works: a.Works, What: a.Why}
		if a.Works {
			f.What = "works"
		}
		some = some || a.Works
		all = append(all, f)
	}
	for i := range all {
		all[i].Needed = !some
	}
	return all
}

// leastSpace is what the packages, packs and image of a small environment take.
const leastSpace = 2 << 30

func (s *Site) findSpace() Finding {
	var st unix.Statfs_t
	f := Finding{Name: "state folder", Needed: true, What: s.Dirs.Images}
	if err := unix.Statfs(s.Dirs.Images, &st); err != nil {
		f.What += ": " + err.Error()
		return f
	}
	free := int64(st.Bavail) * st.Bsize
	f.Works = free >= leastSpace
	f.What = fmt.Sprintf("%s, %s free", s.Dirs.Images, job.FormatSize(free>>20<<20))
	if !f.Works {
		f.Fix = "free some space, or set ORE_HOME to a folder on a larger disk"
	}
	if id, err := ledger.NewID(job.DefaultName); err != nil || s.checkSocket(id) != nil {
		f.Works, f.Fix = false, "set ORE_HOME to a folder with a shorter path: no socket's address can be so long"
	}
	return f
}

// leastMemory is what a build and one machine need beside each other.
const leastMemory = 512 << 20

func findMemory() Finding {
	f := Finding{Name: "memory", Needed: true}
	total, free, err := spare.Memory()
	if err != nil {
		f.What = err.Error()
		return f
	}
	f.Works = free >= leastMemory
	f.What = fmt.Sprintf("%d MiB, %d MiB free", total>>20, free>>20)
	if !f.Works {
		f.Fix = "end other programs: a build and a machine need 512 MiB"
	}
	return f
}

// findShared looks for room for the memory of a machine of User Mode Linux.
func findShared(dir string) Finding {
	f := Finding{Name: "memory of machines"}
	size, free, err := spare.Room(dir)
	if err != nil {
		f.What, f.Fix = err.Error(), "mount a tmpfs there: machines have their memory in a slower place"
		return f
	}
	f.Works = size == 0 || free >= job.DefaultMemory
	f.What = fmt.Sprintf("%s, %d MiB, %d MiB free", dir, size>>20, free>>20)
	if !f.Works {
		f.Fix = fmt.Sprintf("have root enlarge it: mount -o remount,size=50%% %s", dir)
	}
	return f
}

// findJobs looks for what jobs left whose supervisor died: folders, of which
// opening a site removes all that it may, and records without an end.
func (s *Site) findJobs() Finding {
	f := Finding{Name: "jobs", Works: true}
	records, err := s.Jobs()
	stale, serr := s.Stale()
	if err := errors.Join(err, serr); err != nil {
		f.Works, f.What = false, err.Error()
		return f
	}
	running := 0
	var lost, fixes []string
	for _, r := range records {
		switch s.State(r) {
		case ledger.Running:
			running++
		case ledger.Lost:
			lost = append(lost, r.ID)
		}
	}
	f.What = fmt.Sprintf("%d run", running)
	if len(s.swept) > 0 {
		f.What += fmt.Sprintf("; removed what dead supervisors left: %s", strings.Join(s.swept, ", "))
	}
	if len(stale) > 0 {
		f.What += fmt.Sprintf("; left by dead supervisors: %s", strings.Join(stale, ", "))
		fixes = append(fixes, "remove the folders as their owner or root: rm -r "+strings.Join(stale, " "))
	}
	if len(lost) > 0 {
		f.What += fmt.Sprintf("; ended without saying how: %s", strings.Join(lost, ", "))
		fixes = append(fixes, "forget them with 'ore jobs rm "+strings.Join(lost, " ")+"'")
	}
	f.Works, f.Fix = len(fixes) == 0, strings.Join(fixes, "; ")
	return f
}

func (s *Site) findArchive(ctx context.Context) (Finding, bool) {
	f := Finding{Name: "mirror and its signature", Needed: true}
	a, err := s.archive(ctx, ore.Wants{Base: toolBase()}, nil)
	if err != nil {
		f.What = err.Error()
		return f, false
	}
	f.Works, f.What = true, fmt.Sprintf("%s, indexes %s", toolBase(), a.Offer().Short())
	return f, true
}

// umlIsNoWall is what whoever runs other people's jobs has to know: root of such
// a machine can load modules into its kernel, which is a program of the user's.
const umlIsNoWall = "no wall against root of a machine, who can get at what you can: use qemu for jobs that you do not trust"

func (s *Site) findHypervisor(ctx context.Context, name string) Finding {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	f := Finding{Name: "machines: " + name, Needed: name == "uml"}
	ability, err := s.probe(ctx, name)
	if err != nil {
		f.What = err.Error()
		return f
	}
	f.Works, f.What, f.Fix = ability.Works, ability.Why, ability.Fix
	if ability.Version != "" {
		f.What = ability.Version + ": " + f.What
	}
	if name == "uml" {
		f.What += ", " + s.umlNote() + "; " + umlIsNoWall
	}
	return f
}

// probe boots something with a hypervisor.
func (s *Site) probe(ctx context.Context, name string) (vm.Ability, error) {
	b, err := s.prepare(ctx, cluster.Reservation{Machines: ore.Machines{
		Hypervisor: name, Resources: ore.Resources{CPUs: 1, Memory: job.DefaultMemory, Disk: job.DefaultDisk}}}, nil)
	if err != nil {
		return vm.Ability{}, err
	}
	b.Accelerator = "" // try it again
	h, err := supervisor.Driver(b)
	if err != nil {
		return vm.Ability{}, err
	}
	return h.Probe(ctx)
}
