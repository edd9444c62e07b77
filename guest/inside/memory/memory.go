// Package memory looks after a machine that runs out of memory.
//
// A kernel without swap throws away the pages of the programs that run and reads
// them again, for a minute and more, before its killer for want of memory decides
// that this is no progress: nothing else is done meanwhile, and nobody can log in.
// [Watch] sees that (counters of proc_vmstat in proc(5)) and kills what the kernel
// would: the process with the highest /proc/PID/oom_score. It says so on the
// console in the kernel's own words, "Out of memory: Killed process PID (NAME)".
// It has [a reserve] kept, too.
//
// It does not ask the kernel to choose (SysRq-f): between the question and the
// answer the kernel's own killer may have ended the culprit, and the second choice
// would be whoever waits for it.
//
// [a reserve]: https://docs.kernel.org/admin-guide/sysctl/vm.html#min-free-kbytes
package memory

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// thrasher decides when somebody must be killed.
type thrasher struct {
	last  vmstat
	known bool // whether last is of the look before
	bad   int  // how many looks in a row found it bad
	pause int  // looks that are left out after a kill, which takes a moment to help
}

// vmstat is what counts of /proc/vmstat: pages that allocations had to look at
// because none was free, those of them that they got, and what the kernel killed.
type vmstat struct{ scanned, stolen, kills uint64 }

const (
	// easyLook and tightLook are how often a machine is looked at, with memory
	// to spare and without: 16 idle machines on one host must not feel it, and
	// those who wait for a thrashing one should not have to for long.
	easyLook  = time.Second
	tightLook = 250 * time.Millisecond
	// tightShare of the memory is free in a machine that is looked at often.
	tightShare = 8
	// hopelessScan is how many pages looked at in one interval say anything: 32
	// MiB of them. A job that streams files through the cache finds most of the
	// pages it looks at free to take; one of hopelessYield at most is thrashing.
	hopelessScan  = 8192
	hopelessYield = 16
	// badLooks in a row are no moment's trouble any more.
	badLooks = 2
	// killPause is how many looks a kill is given to help: a second.
	killPause = 4
)

// look takes one look at a machine with little memory and reports whether
// somebody must be killed.
func (t *thrasher) look(now vmstat) bool {
	last, known := t.last, t.known
	t.last, t.known = now, true
	scanned, stolen := now.scanned-last.scanned, now.stolen-last.stolen
	switch {
	case !known:
	case now.kills != last.kills: // the kernel was quicker
		t.bad, t.pause = 0, killPause
	case t.pause > 0:
		t.pause--
	case scanned < hopelessScan || stolen*hopelessYield > scanned:
		t.bad = 0
	default:
		t.bad++
	}
	if t.bad < badLooks {
		return false
	}
	t.bad, t.pause = 0, killPause
	return true
}

// rest notes that the machine has memory to spare.
func (t *thrasher) rest() { t.bad, t.known = 0, false }

// Watch looks at the machine's memory until ctx ends.
func Watch(ctx context.Context) {
	keepReserve()
	f, err := os.Open("/proc/vmstat")
	if err != nil {
		return
	}
	defer f.Close()
	buf := make([]byte, 16<<10) // made now: there may be no memory later
	stat := func() vmstat {
		n, _ := f.ReadAt(buf, 0)
		return parseVMStat(buf[:n])
	}
	var t thrasher
	timer := time.NewTimer(easyLook)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		var si unix.Sysinfo_t
		if unix.Sysinfo(&si) != nil || si.Freeram > si.Totalram/tightShare {
			t.rest()
			timer.Reset(easyLook)
			continue
		}
		if now := stat(); t.look(now) {
			killWorst("/proc", console, func() bool { return stat().kills == now.kills })
		}
		timer.Reset(tightLook)
	}
}

func parseVMStat(b []byte) vmstat {
	var v vmstat
	for line := range bytes.Lines(b) {
		name, value, _ := bytes.Cut(line, []byte(" "))
		switch string(name) {
		case "pgscan_direct":
			v.scanned = number(value)
		case "pgsteal_direct":
			v.stolen = number(value)
		case "oom_kill":
			v.kills = number(value)
		}
	}
	return v
}

func number(b []byte) uint64 {
	n, _ := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 64)
	return n
}

const (
	// reserveShare of the memory at most, and reserveMost, is kept free for those
	// that the kernel kills: half of it is theirs alone. One that is killed while
	// it reads from its layer needs a compressed block and the pages that it
	// becomes, each of 256 KiB or, from another's tools, 1 MiB. If it does not get
	// them, squashfs keeps the block as one that cannot be read, and whoever else
	// needs it ends by SIGBUS. The kernel's own reserve is 1 MiB in a machine of
	// 80 MiB.
	reserveShare = 24
	reserveMost  = 4 << 20
	reserveFile  = "/proc/sys/vm/min_free_kbytes"
)

// reserve is how many KiB are kept free in a machine of so many bytes of memory
// whose kernel would keep so many.
func reserve(total uint64, kernel int) int {
	return max(kernel, int(min(total/reserveShare, reserveMost)>>10))
}

// keepReserve has the kernel keep the reserve.
func keepReserve() {
	var si unix.Sysinfo_t
	b, err := os.ReadFile(reserveFile)
	if err != nil || unix.Sysinfo(&si) != nil {
		return
	}
	if now, err := strconv.Atoi(string(bytes.TrimSpace(b))); err == nil {
		os.WriteFile(reserveFile, strconv.AppendInt(nil, int64(reserve(si.Totalram*uint64(si.Unit), now)), 10), 0)
	}
}
