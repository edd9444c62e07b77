// Package calibrate tries, in some three seconds, what a host and its link to
// the mirror can do, so that a site's first plan is not a guess: decoding and
// compressing, hashing, making files, starting programs, fetching. Runs correct
// all of it later.
//
// What a host can do is told by the time that its cores worked, not by the clock: a
// plan multiplies by the load of others itself, which would else count twice.
package calibrate

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/klauspost/compress/zstd"
	ulixz "github.com/ulikunitz/xz"
	"golang.org/x/sys/unix"

	"ore"
	"ore/deb/archive/xz"
	"ore/plan"
	"ore/site/remote"
)

// Each try lasts this long: long enough for a core to reach its speed, and all
// of them together are not more than a person waits for.
const each = 400 * time.Millisecond

// sampleSize is how much of this program is compressed and decoded again. A
// program is what most bytes of packages are. It is so little that some pieces of the
// work are done without a pause for the work of others.
const sampleSize = 128 << 10

// sampleFrom is where in this program it lies: beyond headers, among instructions.
const sampleFrom = 1 << 20

// Host tries what this host can do. Files are made in dir and removed again.
func Host(ctx context.Context, dir string) (plan.Calibration, error) {
	c := plan.Calibration{Cores: runtime.NumCPU()}
	sample, err := readSample()
	if err != nil {
		return c, fmt.Errorf("calibrate: %w", err)
	}
	for _, try := range []struct {
		to *float64
		do func(context.Context) (float64, error)
	}{
		{&c.Decode, func(ctx context.Context) (float64, error) { return decode(ctx, sample) }},
		{&c.Compress, func(ctx context.Context) (float64, error) { return compress(ctx, sample) }},
		{&c.Hash, func(ctx context.Context) (float64, error) { return hash(ctx, sample) }},
		{&c.Create, func(ctx context.Context) (float64, error) { return create(ctx, dir) }},
		{&c.Process, process},
	} {
		if *try.to, err = try.do(ctx); err != nil {
			return c, fmt.Errorf("calibrate: %w", err)
		}
	}
	return bounded(c), ctx.Err()
}

// farthest is how many times better or worse than Prior has it a host may look by
// some seconds of trying. Hosts differ by less; beyond, something else was seen.
const farthest = 8

// bounded returns c with what the cores of hosts cannot be left out.
func bounded(c plan.Calibration) plan.Calibration {
	usual := Prior()
	for _, b := range []struct {
		to    *float64
		usual float64
	}{
		{&c.Decode, usual.Decode}, {&c.Compress, usual.Compress}, {&c.Hash, usual.Hash},
		{&c.Create, usual.Create}, {&c.Process, usual.Process},
	} {
		*b.to = min(max(*b.to, b.usual/farthest), b.usual*farthest)
	}
	return c
}

func readSample() ([]byte, error) {
	f, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, sampleSize)
	n, err := f.ReadAt(b, sampleFrom)
	if err != nil && err != io.EOF {
		return nil, err
	}
	return b[:n], nil
}

// slicesOfTry is how many times each try is made anew: in some of them others leave caches,
// locks and disks alone, and the best tells what the host can do.
const slicesOfTry = 8

// repeat does work for a while and returns how much was done in a second that the
// cores worked at it. What the least wait of all took, it takes at least: work may wait
// for more than cores.
func repeat(ctx context.Context, do func() (amount float64, err error)) (float64, error) {
	least, best := math.Inf(1), math.Inf(1) // seconds for one of the amount, by the clock and by the cores
	for range slicesOfTry {
		var done float64
		begun, worked := time.Now(), working()
		for time.Since(begun) < each/slicesOfTry {
			once := time.Now()
			n, err := do()
			if err != nil {
				return 0, err
			}
			if err := ctx.Err(); err != nil {
				return 0, err
			}
			done += n
			least = min(least, time.Since(once).Seconds()/n)
		}
		best = min(best, (working()-worked).Seconds()/done)
	}
	return 1 / max(least, best), nil
}

// working returns the time that cores have worked for this process and for those that
// it has waited for.
func working() time.Duration {
	var t time.Duration
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		if unix.Getrusage(who, &u) == nil { // which cannot fail with these two
			t += time.Duration(u.Utime.Nano() + u.Stime.Nano())
		}
	}
	return t
}

// decode measures in bytes that are read, as packages are counted.
func decode(ctx context.Context, sample []byte) (float64, error) {
	var packed bytes.Buffer
	w, err := ulixz.WriterConfig{DictCap: sampleSize, CheckSum: ulixz.CRC32}.NewWriter(&packed)
	if err != nil {
		return 0, err
	}
	if _, err := w.Write(sample); err != nil {
		return 0, err
	}
	if err := w.Close(); err != nil {
		return 0, err
	}
	return repeat(ctx, func() (float64, error) {
		_, err := io.Copy(io.Discard, xz.NewReader(bytes.NewReader(packed.Bytes())))
		return float64(packed.Len()), err
	})
}

func compress(ctx context.Context, sample []byte) (float64, error) {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return 0, err
	}
	defer e.Close()
	var out []byte
	return repeat(ctx, func() (float64, error) {
		out = e.EncodeAll(sample, out[:0])
		return float64(len(sample)), nil
	})
}

func hash(ctx context.Context, sample []byte) (float64, error) {
	return repeat(ctx, func() (float64, error) {
		sha256.Sum256(sample)
		return float64(len(sample)), nil
	})
}

// create makes small files, as most files of packages are.
func create(ctx context.Context, dir string) (_ float64, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, err
	}
	dir, err = os.MkdirTemp(dir, "calibrate-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	content, n := make([]byte, 4096), 0
	return repeat(ctx, func() (float64, error) {
		n++
		return 1, os.WriteFile(filepath.Join(dir, strconv.Itoa(n)), content, 0o644)
	})
}

// process returns the seconds that a small program takes from start to end.
func process(ctx context.Context) (float64, error) {
	program, err := exec.LookPath("true")
	if err != nil {
		return 0, err
	}
	n, err := repeat(ctx, func() (float64, error) { return 1, exec.CommandContext(ctx, program).Run() })
	if err != nil {
		return 0, err
	}
	return 1 / n, nil
}

// Few and longest bound what is fetched over a link: some small files for what a
// request costs, then what comes in a second.
const (
	few     = 8
	longest = time.Second
)

// Fetcher fetches packages side by side and tells a watcher how many bytes came.
type Fetcher func(ctx context.Context, packages []ore.Package, w ore.Watcher) error

// Lacking returns the packages that are not kept, the smallest first: what a link is
// tried with.
func Lacking(all []ore.Package, kept func(ore.Package) bool) []ore.Package {
	lacking := slices.DeleteFunc(slices.Clone(all), kept)
	slices.SortStableFunc(lacking, func(a, b ore.Package) int { return cmp.Compare(a.Size, b.Size) })
	return lacking
}

// Link tries a link by fetching packages that are not here yet, the smallest
// first. Without at least some there is nothing to try, and ok is false.
func Link(ctx context.Context, smallestFirst []ore.Package, fetch Fetcher) (try plan.LinkTry, ok bool, err error) {
	if len(smallestFirst) <= few {
		return try, false, nil
	}
	begun := time.Now()
	if err := fetch(ctx, smallestFirst[:few], nil); err != nil {
		return try, false, fmt.Errorf("calibrate link: %w", err)
	}
	try.Request = time.Since(begun).Seconds() / few
	limited, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	var came int64
	begun = time.Now()
	err = fetch(limited, smallestFirst[few:], func(e ore.Event) { came = max(came, e.Done) })
	took := time.Since(begun).Seconds()
	if err != nil && limited.Err() == nil {
		return try, false, fmt.Errorf("calibrate link: %w", err)
	}
	if came == 0 || took <= 0 {
		return try, false, ctx.Err()
	}
	try.Rate = float64(came) / took
	return try, true, ctx.Err()
}

// Caches tries the links to caches elsewhere and adds what was seen to links. One that
// fails does not keep the others from being tried. Files are made in dir and removed
// again.
func Caches(ctx context.Context, caches []*remote.Cache, dir string, links map[string]plan.LinkTry) error {
	var errs []error
	for _, c := range caches {
		try, ok, err := c.Calibrate(ctx, dir)
		if errs = append(errs, err); ok {
			links[c.Name] = try
		}
	}
	return errors.Join(errs...)
}
