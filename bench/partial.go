package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// overlapping are the packages of an image that shares some with what is
// wanted, and neither holds all of the other.
func overlapping() []string { return []string{beside, "python3-minimal", "libsqlite3-0"} }

// tiny is a package with no dependencies beside the base.
const tiny = "tree"

// prepareBase makes a home that has the base image and no other package.
func prepareBase(ctx context.Context, b *bench) error { return b.makeBase(ctx, b.home("base")) }

// makeBase makes the base image in a home. One build over the base has been there
// before, so that its tree is kept, too, as the peer's is.
func (b *bench) makeBase(ctx context.Context, home string) error {
	if _, err := b.build(ctx, home); err != nil {
		return err
	}
	m, err := b.build(ctx, home, "-p", tiny)
	if err != nil {
		return err
	}
	return b.account.run(ctx, b.oreCommand(home, "images", "rm", m.Key))
}

// prepareOverlap makes a home that has the base image and one that shares packages
// with what is wanted, and checks that it does.
func prepareOverlap(ctx context.Context, b *bench) error {
	if err := b.makeBase(ctx, b.home("overlap")); err != nil {
		return err
	}
	var args []string
	for _, p := range overlapping() {
		args = append(args, "-p", p)
	}
	had, err := b.build(ctx, b.home("overlap"), args...)
	if err != nil {
		return err
	}
	asked, err := b.build(ctx, b.home("overlap-other"), "-p", wanted)
	if err != nil {
		return err
	}
	var both, more, lacking int
	names := map[string]bool{}
	for _, p := range had.Environment.Packages {
		names[p.Name] = !p.Base
	}
	for _, p := range asked.Environment.Packages {
		switch over, has := names[p.Name]; {
		case has && over:
			both++
		case !has:
			lacking++
		}
		delete(names, p.Name)
	}
	for _, over := range names {
		if over {
			more++
		}
	}
	if both == 0 || more == 0 || lacking == 0 {
		return fmt.Errorf("%s and %v over the base: %d packages in both, %d and %d in one: that is no overlap", wanted, overlapping(), both, lacking, more)
	}
	return removeAll(b.home("overlap-other"))
}

// runFrom returns what builds in a copy of the home called from.
func runFrom(name, from string) func(context.Context, *bench, int) error {
	return func(ctx context.Context, b *bench, round int) error {
		home := b.home(fmt.Sprintf("%s-%d", from, round))
		// As root where that is possible: a kept tree has files of other owners.
		if err := b.account.run(ctx, &command{root: true, args: []string{"cp", "-a", b.home(from), home}, dir: b.dir}); err != nil {
			return err
		}
		// Files of a copy are others than those that were verified. Where they lay all the
		// time, the base layer need not be read once more: that it has the base is asked first.
		if _, err := b.build(ctx, home); err != nil {
			return err
		}
		return errors.Join(b.timeBuild(ctx, name, home, round), removeAll(home))
	}
}

// The peer keeps the tree of the base set, packed, with the archive's indexes in
// it, so that it need not ask for them.
func (b *bench) keptTree() string { return filepath.Join(b.dir, "kept.tar.zst") }

// prepareKeptTree makes the tree that the peer unpacks.
func prepareKeptTree(ctx context.Context, b *bench) error {
	if os.Geteuid() != 0 {
		return errors.New("chroot needs root: run this row as root")
	}
	tree := &command{root: true, dir: b.dir, env: []string{"TMPDIR=" + b.dir}, args: []string{
		"mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--dpkgopt=force-unsafe-io", "--skip=cleanup/apt/lists",
		suite, filepath.Join(b.dir, "kept.tar"), "deb " + b.mirror.URL + " " + suite + " main",
	}}
	pack := &command{root: true, dir: b.dir, args: []string{"zstd", "-q", "--rm", "-3", "kept.tar"}}
	if err := b.account.run(ctx, tree); err != nil {
		return err
	}
	if err := b.account.run(ctx, pack); err != nil {
		return err
	}
	return b.unpackInstall(ctx, -1) // warms the mirror
}

// unpackCommands are the peer: unpack in memory, and have apt install without
// recommendations, translations and flushing.
func (b *bench) unpackCommands(tree string) (unpack, install *command) {
	unpack = &command{root: true, dir: b.dir, args: []string{"sh", "-c", "zstd -dcq " + b.keptTree() + " | tar -x --numeric-owner -C " + tree}}
	install = &command{root: true, dir: b.dir, env: []string{"DEBIAN_FRONTEND=noninteractive"}, args: []string{
		"chroot", tree, "apt-get", "install", "-qq", "--yes", "--no-install-recommends",
		"-o", "Dpkg::Options::=--force-unsafe-io", "-o", "Dpkg::Use-Pty=0", "-o", "Acquire::Languages=none",
		"-o", "APT::Sandbox::User=root", "-o", "APT::Keep-Downloaded-Packages=false", wanted,
	}}
	return unpack, install
}

func runKeptTree(ctx context.Context, b *bench, round int) error { return b.unpackInstall(ctx, round) }

// unpackInstall times the peer once; a negative round is not written down.
func (b *bench) unpackInstall(ctx context.Context, round int) error {
	tree := filepath.Join(b.dir, "kept")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return err
	}
	unpack, install := b.unpackCommands(tree)
	clock := startClock(keptTree, round)
	if err := b.account.run(ctx, unpack); err != nil {
		return err
	}
	if err := b.account.run(ctx, install); err != nil {
		return err
	}
	s := clock.stop(unpack.cpu + install.cpu)
	s.Stages = map[string]float64{"unpack": unpack.took.Seconds(), "apt-get": install.took.Seconds()}
	status, err := os.ReadFile(filepath.Join(tree, "var/lib/dpkg/status"))
	if err != nil {
		return err
	}
	if !strings.Contains(string(status), "Package: "+wanted+"\n") {
		return fmt.Errorf("%s was not installed", wanted)
	}
	if round >= 0 {
		if err := b.record.add(s); err != nil {
			return err
		}
	}
	return removeAll(tree)
}
