package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"ore"
)

const (
	many        = 16 // machines of the larger rows
	atOnce      = 2  // stock boots at a time
	runHome     = "run"
	mountHome   = "mount"
	mountsRound = 4 // machines of each size a round: p95 wants more than a median
)

// prepareRun makes the images that the runs use, by running.
func prepareRun(ctx context.Context, b *bench) error {
	if b.keys[runHome] != "" {
		return nil
	}
	b.keys[runHome] = "made"
	return errors.Join(
		b.account.run(ctx, b.runCommand("warm-1", 1, "", "true")),
		b.account.run(ctx, b.runCommand("warm-2", 1, wanted, "blastp", "-version")),
		os.RemoveAll(filepath.Join(b.home(runHome), "results")),
	)
}

// runCommand is ore run, with the machines of the table: one CPU, 256 MB of
// memory, 20 GB of disk.
func (b *bench) runCommand(name string, n int, pkg string, args ...string) *command {
	words := []string{
		"run", "-q", "--name", name, "--results", filepath.Join(b.home(runHome), "results"), "--base", "debian/" + suite,
		"-n", strconv.Itoa(n), "--hypervisor", "uml", "--memory", "256M", "--disk", "20G",
	}
	if pkg != "" {
		words = append(words, "-p", pkg)
	}
	return b.oreCommand(b.home(runHome), append(append(words, "--"), args...)...)
}

func runOne(ctx context.Context, b *bench, round int) error {
	return b.timeRun(ctx, oreOne, round, b.runCommand("one", 1, "", "true"))
}

func runSixteen(ctx context.Context, b *bench, round int) error {
	return b.timeRun(ctx, oreSixteen, round, b.runCommand("sixteen", many, "", "true"))
}

func runBlast(ctx context.Context, b *bench, round int) error {
	return b.timeRun(ctx, oreBlast, round, b.runCommand("blast", many, wanted, "blastp", "-version"))
}

// timeRun times the whole command, from its start until it has ended and
// nothing of it is left.
func (b *bench) timeRun(ctx context.Context, name string, round int, c *command) error {
	clock := startClock(name, round)
	if err := b.account.run(ctx, c); err != nil {
		return err
	}
	s := clock.stop(c.cpu)
	results := filepath.Join(b.home(runHome), "results")
	var err error
	if s.Stages, err = runStages(results); err != nil {
		return err
	}
	return errors.Join(b.record.add(s), os.RemoveAll(results))
}

// runStages reads the timeline of the one job in results: the stages of the
// job, and the longest boot.
func runStages(results string) (map[string]float64, error) {
	r, err := resultIn(results)
	if err != nil {
		return nil, err
	}
	all := map[string]float64{}
	for _, s := range r.Timeline {
		took := s.End.Sub(s.Start).Seconds()
		switch {
		case s.Machine == "":
			all[s.Name] += took
		case s.Name == "boot":
			all["slowest boot"] = max(all["slowest boot"], took)
		}
	}
	return all, nil
}

// resultIn reads the one job's result in results.
func resultIn(results string) (r ore.Result, err error) {
	files, err := filepath.Glob(filepath.Join(results, "*", "result.json"))
	if err != nil || len(files) == 0 {
		return r, fmt.Errorf("no result in %s", results)
	}
	text, err := os.ReadFile(files[len(files)-1])
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(text, &r)
}

// stockInit ends the machine at once.
const stockInit = "#!/bin/busybox sh\nexec /bin/busybox poweroff -f\n"

func (b *bench) stockInitrd() string { return filepath.Join(b.dir, "stock.cpio") }

// prepareStock makes the initial file system of the stock boots: busybox, and
// a script that powers off.
func prepareStock(ctx context.Context, b *bench) error {
	if _, err := os.Stat(b.stockInitrd()); err == nil {
		return nil
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	root := filepath.Join(b.dir, "stock")
	if err := os.MkdirAll(filepath.Join(root, "bin"), 0o755); err != nil {
		return err
	}
	text, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	if err := errors.Join(
		os.WriteFile(filepath.Join(root, "bin", "busybox"), text, 0o755),
		os.WriteFile(filepath.Join(root, "init"), []byte(stockInit), 0o755),
	); err != nil {
		return err
	}
	pack := "printf 'bin\\nbin/busybox\\ninit\\n' | cpio --quiet -o -H newc -R 0:0 >../stock.cpio"
	if err := b.account.run(ctx, &command{args: []string{"sh", "-c", pack}, dir: root, root: true}); err != nil {
		return err
	}
	return b.account.run(ctx, b.stockCommand())
}

// stockCommand boots the stock kernel, with nothing said but where its initial
// file system is, to power-off.
func (b *bench) stockCommand() *command {
	return &command{args: []string{"linux.uml", "initrd=" + b.stockInitrd()}, dir: b.dir, env: []string{"HOME=" + b.dir}}
}

// stock is one stock boot. UML's first process ends with an exit code that
// says nothing; what its kernel said last does.
func (b *bench) stock(ctx context.Context) (time.Duration, error) {
	c := b.stockCommand()
	if err := b.account.run(ctx, c); err != nil {
		return 0, err
	}
	if !strings.Contains(c.out.String(), "System halted") {
		return 0, fmt.Errorf("stock boot: it did not come to power-off: %s", tail(c.out.String()))
	}
	return c.cpu, nil
}

func runStock(ctx context.Context, b *bench, round int) error {
	clock := startClock(stockOne, round)
	cpu, err := b.stock(ctx)
	if err != nil {
		return err
	}
	return b.record.add(clock.stop(cpu))
}

func runStockMany(ctx context.Context, b *bench, round int) error {
	clock := startClock(stockMany, round)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	var cpus [many]time.Duration
	for i := range many {
		g.Go(func() (err error) {
			cpus[i], err = b.stock(gctx)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	var cpu time.Duration
	for _, one := range cpus {
		cpu += one
	}
	return b.record.add(clock.stop(cpu))
}

// size is an image that roots are mounted from.
type size struct {
	name string
	data int64 // MiB of files that do not compress, beside wanted
}

// sizes go from 0.1 GB, which wanted alone is, to 2 GB.
func sizes() []size {
	return []size{{"0.1 GB", 0}, {"0.5 GB", 390}, {"1 GB", 860}, {"2 GB", 1820}}
}

// jobFile is what ore build and ore up are given for a size.
func (b *bench) jobFile(s size) string {
	return filepath.Join(b.dir, fmt.Sprintf("mount-%d.yaml", s.data))
}

// prepareMount makes the images.
func prepareMount(ctx context.Context, b *bench) error {
	for _, s := range sizes() {
		data := filepath.Join(b.dir, fmt.Sprintf("data-%d", s.data))
		text := "environment:\n  base: debian/" + suite + "\n  packages: [" + wanted + "]\n"
		if s.data > 0 {
			text += "  files: {/opt/data: {source: " + data + "}}\n"
		}
		if err := os.WriteFile(b.jobFile(s), []byte(text), 0o644); err != nil {
			return err
		}
		if err := fill(data, s.data); err != nil {
			return err
		}
		m, err := b.build(ctx, b.home(mountHome), "-f", b.jobFile(s))
		if err != nil {
			return err
		}
		var bytes int64
		for _, l := range m.Layers {
			bytes += l.Size
		}
		fmt.Fprintf(os.Stderr, "image of %s: %d layers, %.2f GB\n", s.name, len(m.Layers), float64(bytes)/1e9)
	}
	return nil
}

// fill makes n files of a MiB each that do not compress, the same every time.
func fill(dir string, n int64) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	r := rand.NewChaCha8([32]byte{byte(n)})
	block := make([]byte, 1<<20)
	for i := range n {
		_, _ = r.Read(block) // it never fails
		if err := os.WriteFile(filepath.Join(dir, strconv.FormatInt(i, 10)), block, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// mounting are the stages of a machine's start between an image on the host
// and its root mounted, by the names that the machine and its node give them.
// The kernel's whole set of modules ("kernel modules") is no part of either.
func mounting() []string {
	return []string{"private disk", "modules", "devices", "layers", "disk", "overlay", "root"}
}

// runMount starts machines one after another and asks each how long the stages
// of its mounting took.
func runMount(ctx context.Context, b *bench, round int) error {
	for range mountsRound {
		for _, s := range sizes() {
			if err := b.mountOne(ctx, s, round); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) mountOne(ctx context.Context, s size, round int) error {
	const bed = "mount"
	clock := startClock(oreMount, round)
	up := b.oreCommand(b.home(mountHome), "up", "-q", "--json", "--name", bed, "-f", b.jobFile(s), "--memory", "256M", "--disk", "20G")
	if err := b.account.run(ctx, up); err != nil {
		return err
	}
	v := clock.stop(up.cpu)
	if err := b.account.run(ctx, b.oreCommand(b.home(mountHome), "down", bed)); err != nil {
		return err
	}
	var machines []struct {
		Timings []struct {
			Stage string
			Took  time.Duration
		}
	}
	if err := json.Unmarshal(up.out.Bytes(), &machines); err != nil {
		return err
	}
	v.Value, v.Unit, v.Note, v.Stages = 0, "ms", s.name, map[string]float64{}
	for _, t := range machines[0].Timings {
		v.Stages[t.Stage] = t.Took.Seconds()
	}
	for _, name := range mounting() {
		v.Value += v.Stages[name] * 1000
	}
	return b.record.add(v)
}
