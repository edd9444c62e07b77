package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	// residentWait is how long the machines of the memory row work.
	residentWait = "3"
	// residentLook is how often their memory is read meanwhile.
	residentLook = 100 * time.Millisecond
)

// runResident runs 16 machines and adds up the most that each process of ore
// itself ever had resident (VmHWM of proc(5)), at the moment when the sum is
// largest. What the processes share, the program's own text, counts in each.
func runResident(ctx context.Context, b *bench, round int) error {
	clock := startClock(oreResident, round)
	c := b.runCommand("resident", many, "", "sleep", residentWait)
	done := make(chan error, 1)
	go func() { done <- b.account.run(ctx, c) }()
	tick := time.NewTicker(residentLook)
	defer tick.Stop()
	var most resident
	for {
		select {
		case err := <-done:
			if err != nil {
				return err
			}
			s := clock.stop(c.cpu)
			s.Value, s.Unit = float64(most.peak*1024)/1e6, "MB"
			s.Stages = map[string]float64{"resident now, MB": float64(most.now*1024) / 1e9, "shared counted once, MB": float64(most.share*1024) / 1e9}
			s.Note = fmt.Sprintf("%d processes", most.processes)
			return b.record.add(s)
		case <-tick.C:
			if r := residentOf(b.ore); r.peak > most.peak {
				most = r
			}
		}
	}
}

// resident is the memory of processes, in KiB.
type resident struct {
	processes        int
	peak, now, share int64
}

// residentOf adds up the processes that run program.
func residentOf(program string) resident {
	var sum resident
	all, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, exe := range all {
		if target, err := os.Readlink(exe); err != nil || strings.TrimSuffix(target, " (deleted)") != program {
			continue
		}
		dir := filepath.Dir(exe)
		peak := kilobytes(filepath.Join(dir, "status"), "VmHWM")
		if peak == 0 {
			continue // it has ended
		}
		sum.processes++
		sum.peak += peak
		sum.now += kilobytes(filepath.Join(dir, "status"), "VmRSS")
		sum.share += kilobytes(filepath.Join(dir, "smaps_rollup"), "Pss")
	}
	return sum
}

func kilobytes(file, name string) int64 {
	text, _, _ := strings.Cut(field(file, name), " ")
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}
