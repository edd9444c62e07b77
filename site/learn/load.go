package learn

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Load says how many threads of others want a core. What runs at one instant may be
// what just ends, and the mean of the last minute still counts what has ended: so it
// is taken from what all cores did since Begin, while this process looked for what to
// do. The zero Load has not begun. Its methods may be called concurrently.
type Load struct {
	mu    sync.Mutex // guards what follows
	begun time.Time
	then  cpu
	own   float64 // seconds of cores that this process and its children had taken
}

// Bounds of the time that a Load judges by. In less, the kernel counts hardly a tick
// for each core (every 10 ms, see proc(5)); what was longer ago is no load of now.
const (
	leastSpan = 60 * time.Millisecond
	mostSpan  = 5 * time.Second
)

// slack is from which share of idle time on a host had cores for all who wanted one.
const slack = 0.1

// Begin begins to look at what others do.
func (l *Load) Begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begin(time.Now())
}

func (l *Load) begin(now time.Time) {
	l.begun, l.then, l.own = now, readCPU(), ownSeconds()
}

// Others returns how many threads of others want a core.
func (l *Load) Others() float64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	switch span := now.Sub(l.begun); {
	case span > mostSpan:
		l.begin(now)
		return OthersLoad()
	case span < leastSpan:
		return OthersLoad()
	default:
		return wanting(readCPU().since(l.then), (ownSeconds()-l.own)/span.Seconds(), OthersLoad)
	}
}

// wanting returns how many threads of others want a core where all cores were busy for
// such a share of a time, and own of them by this process. As long as some were idle,
// no thread waited, and others wanted what they had; else more may have waited, which
// is what instant says.
func wanting(c cpu, own float64, instant func() float64) float64 {
	share, ok := c.share()
	if !ok {
		return instant()
	}
	had := max(0, share*float64(runtime.NumCPU())-own)
	if 1-share >= slack {
		return had
	}
	return max(had, instant())
}

// OthersLoad returns how many threads of others want a core at this instant. Of the
// mean of the last minute and what runs now it takes the less: the one still counts
// what has ended, the other what only looks up.
func OthersLoad() float64 {
	mean, running, ok := readLoad()
	if !ok {
		return 0
	}
	return max(0, min(mean, running-ownRunning()))
}

// readLoad returns the load average of the last minute and how many threads
// want a core at this instant (proc(5), loadavg).
func readLoad() (mean, running float64, ok bool) {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, 0, false
	}
	var n int
	if _, err := fmt.Sscanf(string(b), "%f %f %f %d/", &mean, new(float64), new(float64), &n); err != nil {
		return 0, 0, false
	}
	return mean, float64(n), true
}

// ownRunning returns how many of this process's threads run or want to, the one that
// asks at least (proc(5), /proc/pid/task/tid/stat).
func ownRunning() float64 {
	files, _ := filepath.Glob("/proc/self/task/*/stat")
	n := 0
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		if state := bytes.TrimSpace(b[bytes.LastIndexByte(b, ')')+1:]); len(state) > 0 && state[0] == 'R' {
			n++
		}
	}
	return float64(max(1, n))
}

// ownSeconds returns the seconds of cores that this process and those of its children
// that have ended took.
func ownSeconds() (s float64) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if unix.Getrusage(who, &u) == nil {
			s += time.Duration(u.Utime.Nano() + u.Stime.Nano()).Seconds()
		}
	}
	return s
}

// cpu is what all cores together did, in the kernel's ticks.
type cpu struct{ busy, idle float64 }

// readCPU reads the sum of all cores since the host started (proc(5), /proc/stat).
// Time that a hypervisor gave to others is busy, too: it was not there to be had.
func readCPU() (c cpu) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return cpu{}
	}
	return parseCPU(b)
}

// parseCPU takes the first line of /proc/stat: user, nice, system, idle, iowait, irq,
// softirq and steal. Guests' time, which follows, is in user's already.
func parseCPU(b []byte) (c cpu) {
	var t [8]float64
	if _, err := fmt.Sscanf(string(b), "cpu %f %f %f %f %f %f %f %f", &t[0], &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], &t[7]); err != nil {
		return cpu{}
	}
	for i, n := range t {
		switch i {
		case 3, 4:
			c.idle += n
		default:
			c.busy += n
		}
	}
	return c
}

func (c cpu) since(then cpu) cpu { return cpu{busy: c.busy - then.busy, idle: c.idle - then.idle} }

// share returns for what share of their time cores were busy, and whether anything
// is known of it.
func (c cpu) share() (float64, bool) {
	all := c.busy + c.idle
	if c.busy < 0 || c.idle < 0 || all < 1 {
		return 0, false
	}
	return c.busy / all, true
}
