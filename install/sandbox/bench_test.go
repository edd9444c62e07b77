package sandbox

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// benchCalls is how many calls one program makes for a measurement.
const benchCalls = 20000

// workBench measures how long a program takes for calls that a supervisor
// answers, including its start: the first line is what that costs.
func workBench(s *Sandbox, dir string) error {
	root, err := overlaid(s, dir, "/bin/sh", "/bin/cat", "/usr/bin/perl")
	if err != nil {
		return err
	}
	const runs = 20
	start, cpu := time.Now(), spent()
	for range runs {
		if _, err := sh(s, root, ":"); err != nil {
			return err
		}
	}
	fmt.Printf("Run\t%d\t%d\n", int(time.Since(start))/runs, int(spent()-cpu)/runs)
	for _, call := range []string{`1`, `stat "/bin/sh"`, `lstat "/bin/sh"`, `stat "/none"`, `chown 5, 5, "/bin/cat"`, `stat "/bin/cat"`, `$< = 0`, `open F, ">/out"`} {
		start, cpu := time.Now(), spent()
		if out, err := sh(s, root, fmt.Sprintf("exec perl -e 'for (1..%d) { %s }'", benchCalls, call)); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		fmt.Printf("%s\t%d\t%d\n", call, int(time.Since(start))/benchCalls, int(spent()-cpu)/benchCalls)
	}
	return nil
}

// spent returns the processor time of all that was run so far, which depends
// less on what else the host does than the time on the clock.
func spent() time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_CHILDREN, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkCall reports the time of system calls in each tier.
func BenchmarkCall(b *testing.B) {
	for _, tier := range tiers {
		b.Run(string(tier), func(b *testing.B) {
			out := inside(b, tier, "bench", folder(b, tier))
			for line := range strings.Lines(out) {
				f := strings.Split(strings.TrimSpace(line), "\t")
				for i, unit := range []string{"µs", "cpu-µs"} {
					v, err := strconv.ParseFloat(f[i+1], 64)
					if err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(v/1000, strings.ReplaceAll(f[0], " ", "_")+"-"+unit)
				}
			}
		})
	}
}
