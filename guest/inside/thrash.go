package inside

import (
	"bytes"
	"context"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// A kernel without swap that runs out of memory throws away the pages of the
// programs that run and reads them again, for a minute and more, before its
// killer for want of memory decides that this is no progress: nothing else is
// done meanwhile, and nobody can log in. A thrasher sees that and calls the
// killer, which chooses as it always does.
type thrasher struct {
	stat func() (vmstat, bool)
	kill func()

	last  vmstat
	bad   int // how many looks in a row found it bad
	pause int // looks that are left out after a kill, which takes a moment to help
}

// vmstat is what counts of /proc/vmstat (proc(5)): pages that allocations had to
// look at because none was free, and those of them that they got.
type vmstat struct{ scanned, stolen uint64 }

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

// look takes one look and calls the killer if that is due.
func (t *thrasher) look() {
	now, ok := t.stat()
	if !ok {
		return
	}
	scanned, stolen := now.scanned-t.last.scanned, now.stolen-t.last.stolen
	t.last = now
	switch {
	case t.pause > 0:
		t.pause--
		return
	case scanned < hopelessScan || stolen*hopelessYield > scanned:
		t.bad = 0
		return
	}
	if t.bad++; t.bad >= badLooks {
		t.kill()
		t.bad, t.pause = 0, killPause
	}
}

// watchMemory looks at the machine's memory until ctx ends.
func watchMemory(ctx context.Context) {
	f, err := os.Open("/proc/vmstat")
	if err != nil {
		return
	}
	defer f.Close()
	buf := make([]byte, 16<<10) // made now: there may be no memory later
	t := thrasher{kill: callKiller, stat: func() (vmstat, bool) {
		n, err := f.ReadAt(buf, 0)
		return parseVMStat(buf[:n]), err == nil || n > 0
	}}
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
			timer.Reset(easyLook)
			continue
		}
		t.look()
		timer.Reset(tightLook)
	}
}

// callKiller has the kernel kill what its killer thinks worst
// (Documentation/admin-guide/sysrq.rst).
func callKiller() { os.WriteFile("/proc/sysrq-trigger", []byte("f"), 0) }

func parseVMStat(b []byte) vmstat {
	var v vmstat
	for line := range bytes.Lines(b) {
		name, value, _ := bytes.Cut(line, []byte(" "))
		switch string(name) {
		case "pgscan_direct":
			v.scanned = number(value)
		case "pgsteal_direct":
			v.stolen = number(value)
		}
	}
	return v
}

func number(b []byte) uint64 {
	n, _ := strconv.ParseUint(string(bytes.TrimSpace(b)), 10, 64)
	return n
}
