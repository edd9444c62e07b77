package machine

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"ore/install/disk"
)

const (
	// pulseEvery is how often it is looked whether something works: far below the
	// shortest silence after which somebody may give a machine up, a minute.
	pulseEvery = 10 * time.Second
	// pulseLeast is what must have been read or written since: far below what a slow
	// machine compresses in that time, and above what a script reads that looks
	// once a second for what never comes.
	pulseLeast = 256 << 10
	// sector is the unit of the kernel's books on disks.
	sector = 512
)

// pulse is a sign of life from what says nothing for long: programs of packages and
// steps that pack, copy and compress, and a disk that takes what was written while we
// wait for that. Their bytes count, not their time on a processor: what hangs in an
// endless loop is to end by its silence as what waits for ever. At other times a disk's
// say nothing: of its own accord the kernel fills a new file system's tables and
// resyncs a new array for long, whatever hangs.
type pulse struct {
	root  string           // where proc and sys are
	own   int              // the process whose children's bytes count, and those of theirs
	disks []string         // names of devices whose bytes count while they are waited for
	seen  map[string]int64 // bytes that processes and disks had moved by the last look
}

// newPulse returns that of this process and the disks of a layout.
func newPulse(root string, l disk.Layout) *pulse {
	p := &pulse{root: root, own: os.Getpid()}
	for _, d := range l.Disks {
		p.disks = append(p.disks, d.Name)
	}
	p.beats(false)
	return p
}

// beats says whether something has worked since it was asked last; flushing, that disks
// are waited for. One call at a time.
func (p *pulse) beats(flushing bool) bool {
	now := map[string]int64{}
	for _, pid := range p.below() {
		now[pid] = p.moved(pid)
	}
	for _, d := range p.disks {
		now[d] = p.written(d)
	}
	var sum int64
	for name, n := range now {
		if flushing || !slices.Contains(p.disks, name) {
			sum += max(n-p.seen[name], 0) // another process may have the same number
		}
	}
	p.seen = now
	return sum >= pulseLeast
}

// below lists the processes below our own.
func (p *pulse) below() (all []string) {
	children := map[string][]string{}
	stats, _ := filepath.Glob(filepath.Join(p.root, "proc/[0-9]*/stat"))
	for _, s := range stats {
		b, err := os.ReadFile(s)
		if err != nil {
			continue // it has ended meanwhile
		}
		// Its name may have any characters; behind it are its state and its parent
		// (proc_pid_stat(5)).
		text := string(b)
		f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
		if len(f) > 1 {
			children[f[1]] = append(children[f[1]], filepath.Base(filepath.Dir(s)))
		}
	}
	all = children[strconv.Itoa(p.own)]
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// moved returns what a process has read and written, be it a file or a pipe, and what
// those have that it waited for (proc_pid_io(5)).
func (p *pulse) moved(pid string) (sum int64) {
	b, _ := os.ReadFile(filepath.Join(p.root, "proc", pid, "io"))
	for line := range strings.Lines(string(b)) {
		name, n, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if name != "rchar" && name != "wchar" {
			continue
		}
		if v, err := strconv.ParseInt(n, 10, 64); err == nil {
			sum += v
		}
	}
	return sum
}

// written returns how much a disk has taken (Documentation/block/stat in the kernel's
// source: the seventh is sectors written).
func (p *pulse) written(name string) int64 {
	b, _ := os.ReadFile(filepath.Join(p.root, "sys/class/block", name, "stat"))
	f := strings.Fields(string(b))
	if len(f) < 7 {
		return 0
	}
	n, err := strconv.ParseInt(f[6], 10, 64)
	if err != nil {
		return 0
	}
	return n * sector
}
