package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"ore"
	"ore/bench/mirror"
)

// suite is the release that everything is made of; wanted is what is built, and
// beside what it was seen before.
const (
	suite  = mirror.Suite
	wanted = "ncbi-blast+"
	beside = "hmmer"
)

// home returns the folder of state called name.
func (b *bench) home(name string) string { return filepath.Join(b.dir, "home-"+name) }

// oreCommand is the command ore with its state in home.
func (b *bench) oreCommand(home string, args ...string) *command {
	return &command{
		args: append([]string{b.ore}, args...), dir: b.dir,
		env: []string{"ORE_HOME=" + home, "ORE_MIRROR=" + b.mirror.URL},
	}
}

// manifest is the part of an image's manifest that is looked at here.
type manifest struct {
	Key         string
	Environment ore.Environment
	Layers      []struct{ Size int64 }
}

// build makes an image and returns what it is.
func (b *bench) build(ctx context.Context, home string, args ...string) (manifest, error) {
	c := b.buildCommand(home, append(args, "--json")...)
	var m manifest
	if err := b.account.run(ctx, c); err != nil {
		return m, err
	}
	return m, json.Unmarshal(c.out.Bytes(), &m)
}

func (b *bench) buildCommand(home string, args ...string) *command {
	return b.oreCommand(home, append([]string{"build", "--base", "debian/" + suite}, args...)...)
}

// timeBuild times the command as a person would give it, which then also tells
// its stages.
func (b *bench) timeBuild(ctx context.Context, name, home string, round int) error {
	c := b.buildCommand(home, "-p", wanted)
	clock := startClock(name, round)
	if err := b.account.run(ctx, c); err != nil {
		return err
	}
	s := clock.stop(c.cpu)
	s.Stages = buildStages(c.err.String())
	return b.record.add(s)
}

// prepareCold has everything fetched by building once.
func prepareCold(ctx context.Context, b *bench) error {
	_, err := b.build(ctx, b.home("cold"), "-p", wanted)
	return err
}

// runCold builds in a new home that has only what was fetched: .debs as the
// archive has them, and the archive's indexes.
func runCold(ctx context.Context, b *bench, round int) error {
	home := b.home(fmt.Sprintf("cold-%d", round))
	for _, dir := range []string{home, filepath.Join(home, "cache")} {
		if err := b.account.mkdir(dir); err != nil {
			return err
		}
	}
	fetched := filepath.Join(b.home("cold"), "cache", "deb")
	if err := b.account.run(ctx, &command{args: []string{"cp", "-a", fetched, filepath.Join(home, "cache")}, dir: b.dir}); err != nil {
		return err
	}
	if err := b.timeBuild(ctx, oreCold, home, round); err != nil {
		return err
	}
	return removeAll(home)
}

// prepareSeen builds a larger environment, so that the base and all packages
// have been seen, in another combination than the one that is timed.
func prepareSeen(ctx context.Context, b *bench) error {
	_, err := b.build(ctx, b.home("seen"), "-p", wanted, "-p", beside)
	return err
}

func runSeen(ctx context.Context, b *bench, round int) error {
	if err := b.timeBuild(ctx, oreSeen, b.home("seen"), round); err != nil {
		return err
	}
	return b.forget(ctx)
}

// forget removes the image that was timed.
func (b *bench) forget(ctx context.Context) error {
	m, err := b.build(ctx, b.home("seen"), "-p", wanted) // says which it is
	if err != nil {
		return err
	}
	return b.account.run(ctx, b.oreCommand(b.home("seen"), "images", "rm", m.Key))
}

// stageLine is how the command tells the end of a stage where there is no terminal.
var stageLine = regexp.MustCompile(`(?m)^(\w+) +([0-9.]+) s\b`)

func buildStages(said string) map[string]float64 {
	all := map[string]float64{}
	for _, m := range stageLine.FindAllStringSubmatch(said, -1) {
		took, _ := strconv.ParseFloat(m[2], 64)
		all[m[1]] += took
	}
	return all
}

// mmdebstrapCommands are the tuned peer: everything in memory, no flushing to
// disk, from the same mirror, then squashfs with the settings of our layers
// (package squashfs: zstd, level 1, blocks of 256 KiB).
func (b *bench) mmdebstrapCommands() (tree, squash *command) {
	file := filepath.Join(b.dir, "peer.tar")
	mode := "--mode=unshare"
	if os.Geteuid() == 0 {
		mode = "--mode=root"
	}
	tree = &command{root: true, dir: b.dir, env: []string{"TMPDIR=" + b.dir}, args: []string{
		"mmdebstrap", "--quiet", mode, "--variant=minbase", "--include=" + wanted, "--dpkgopt=force-unsafe-io",
		suite, file, "deb " + b.mirror.URL + " " + suite + " main",
	}}
	squash = &command{root: true, dir: b.dir, args: []string{
		"sh", "-c", "exec mksquashfs - peer.squashfs -tar -quiet -no-progress -comp zstd -Xcompression-level 1 -b 256K <peer.tar",
	}}
	return tree, squash
}

func (b *bench) removePeer() error {
	return errors.Join(os.Remove(filepath.Join(b.dir, "peer.tar")), os.Remove(filepath.Join(b.dir, "peer.squashfs")))
}

// prepareMmdebstrap fills the mirror, and checks that both make the same set.
func prepareMmdebstrap(ctx context.Context, b *bench) error {
	tree, squash := b.mmdebstrapCommands()
	if err := errors.Join(b.account.run(ctx, tree), b.account.run(ctx, squash)); err != nil {
		return err
	}
	theirs, err := installed(filepath.Join(b.dir, "peer.tar"))
	if err != nil {
		return err
	}
	c := b.oreCommand(b.home("set"), "lock", "--base", "debian/"+suite, "-p", wanted)
	if err := b.account.run(ctx, c); err != nil {
		return err
	}
	var lock manifest
	if err := json.Unmarshal(c.out.Bytes(), &lock); err != nil {
		return err
	}
	var ours []string
	for _, p := range lock.Environment.Packages {
		ours = append(ours, p.Name+"="+p.Version)
	}
	slices.Sort(ours)
	if !slices.Equal(ours, theirs) {
		return fmt.Errorf("the sets differ, so times cannot be compared:\nours   %v\ntheirs %v", ours, theirs)
	}
	return errors.Join(b.removePeer(), removeAll(b.home("set")))
}

// installed lists the packages of a tree in a tar by dpkg's database in it.
func installed(file string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err != nil {
			return nil, fmt.Errorf("dpkg's database in %s: %w", file, err)
		}
		if path.Clean(h.Name) != "var/lib/dpkg/status" {
			continue
		}
		text, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		var all []string
		for p := range strings.SplitSeq(strings.TrimSpace(string(text)), "\n\n") {
			all = append(all, value(p, "Package")+"="+value(p, "Version"))
		}
		slices.Sort(all)
		return all, nil
	}
}

// value returns a field of a paragraph.
func value(paragraph, name string) string {
	for line := range strings.Lines(paragraph) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func runMmdebstrap(ctx context.Context, b *bench, round int) error {
	tree, squash := b.mmdebstrapCommands()
	clock := startClock(mmdebstrap, round)
	if err := b.account.run(ctx, tree); err != nil {
		return err
	}
	if err := b.account.run(ctx, squash); err != nil {
		return err
	}
	s := clock.stop(tree.cpu + squash.cpu)
	s.Stages = map[string]float64{"mmdebstrap": tree.took.Seconds(), "mksquashfs": squash.took.Seconds()}
	return errors.Join(b.record.add(s), b.removePeer())
}
