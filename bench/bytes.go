package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"ore"
	"ore/squashfs"
)

// upgrade is one package of which the host's apt knows two versions.
type upgrade struct {
	name   string
	asked  string // what the environment asks for beside the base, "" for nothing
	images [2]updated
}

// updated is an image before or after an upgrade.
type updated struct {
	key    string
	layers []string // files, lowest first
}

// upgrades are packages of the base and above it, small and large, that had a
// security update in the suite.
func upgrades() []*upgrade {
	return []*upgrade{{name: "libssl3", asked: "libssl3"}, {name: "libsystemd0"}, {name: "tzdata"}}
}

// updates is what the rows about bytes prepare once.
type updates struct {
	all    []*upgrade
	home   string
	secret string // the token
}

// version is one that apt knows of.
type version struct{ version, file, size, sha256 string }

// versions asks apt which versions of a package there are, the newest first.
func versions(ctx context.Context, name string) ([]version, error) {
	out, err := exec.CommandContext(ctx, "apt-cache", "show", name).Output()
	if err != nil {
		return nil, fmt.Errorf("ask apt for %s: %w", name, err)
	}
	var all []version
	for p := range strings.SplitSeq(strings.TrimSpace(string(out)), "\n\n") {
		v := version{value(p, "Version"), value(p, "Filename"), value(p, "Size"), value(p, "SHA256")}
		if v.file != "" && !slices.ContainsFunc(all, func(x version) bool { return x.version == v.version }) {
			all = append(all, v)
		}
	}
	return all, nil
}

// plainOre is ore with the host's own mirror: what is compared are bytes, not
// times, and security updates are in another archive than the one that is
// mirrored for the other rows.
func (b *bench) plainOre(home string, args ...string) *command {
	return &command{args: append([]string{b.ore}, args...), dir: b.dir, env: []string{"ORE_HOME=" + home}}
}

// updateContestants are those of the rows about bytes, which share what is
// prepared for them.
func updateContestants() []contestant {
	u := &updates{}
	return []contestant{
		{oreUpdate, u.prepare, u.runOre},
		{changedFiles, u.prepare, u.runChanged},
		{casync, u.prepareCasync, u.runCasync},
	}
}

// prepare makes both images of each upgrade.
func (u *updates) prepare(ctx context.Context, b *bench) error {
	if u.all != nil {
		return nil
	}
	u.home = b.home("updates")
	for _, x := range upgrades() {
		if err := b.prepareUpgrade(ctx, u, x); err != nil {
			return fmt.Errorf("upgrade of %s: %w", x.name, err)
		}
		u.all = append(u.all, x)
	}
	c := b.plainOre(u.home, "cache", "token", "add", "bench", "--namespace", "shared")
	if err := b.account.run(ctx, c); err != nil {
		return err
	}
	u.secret = strings.TrimSpace(c.out.String())
	return nil
}

func (b *bench) prepareUpgrade(ctx context.Context, u *updates, x *upgrade) error {
	known, err := versions(ctx, x.name)
	if err != nil {
		return err
	}
	args := []string{"lock", "--base", "debian/" + suite}
	if x.asked != "" {
		args = append(args, "-p", x.asked)
	}
	c := b.plainOre(u.home, args...)
	if err := b.account.run(ctx, c); err != nil {
		return err
	}
	var lock map[string]json.RawMessage
	var env ore.Environment
	if err := errors.Join(json.Unmarshal(c.out.Bytes(), &lock), json.Unmarshal(lock["Environment"], &env)); err != nil {
		return err
	}
	i := slices.IndexFunc(env.Packages, func(p ore.Package) bool { return p.Name == x.name })
	if i < 0 {
		return errors.New("the environment does not hold it")
	}
	k := slices.IndexFunc(known, func(v version) bool { return v.version != env.Packages[i].Version })
	if k < 0 {
		return fmt.Errorf("apt knows of one version alone, %s", env.Packages[i].Version)
	}
	for n, old := range []bool{true, false} {
		e := env
		e.Packages = slices.Clone(env.Packages)
		if p := &e.Packages[i]; old {
			size, err := strconv.ParseInt(known[k].size, 10, 64)
			if err != nil {
				return err
			}
			p.Version, p.Path, p.Size, p.Digest = known[k].version, known[k].file, size, ore.Digest("sha256:"+known[k].sha256)
		}
		if x.images[n], err = b.buildLocked(ctx, u.home, lock, e); err != nil {
			return err
		}
	}
	return nil
}

// buildLocked builds exactly e.
func (b *bench) buildLocked(ctx context.Context, home string, lock map[string]json.RawMessage, e ore.Environment) (updated, error) {
	key := string(e.Key())
	lock["Key"], _ = json.Marshal(key) // a string
	text, err := json.Marshal(e)
	if err != nil {
		return updated{}, err
	}
	lock["Environment"] = text
	if text, err = json.Marshal(lock); err != nil {
		return updated{}, err
	}
	file := filepath.Join(b.dir, key+".lock")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return updated{}, err
	}
	c := b.plainOre(home, "build", "--lock", file, "--json")
	if err := b.account.run(ctx, c); err != nil {
		return updated{}, err
	}
	var m struct{ Layers []struct{ Digest ore.Digest } }
	if err := json.Unmarshal(c.out.Bytes(), &m); err != nil {
		return updated{}, err
	}
	made := updated{key: key}
	for _, l := range m.Layers {
		made.layers = append(made.layers, filepath.Join(home, "images", "blobs", "sha256", l.Digest.Hex()))
	}
	return made, nil
}

// runChanged writes the files that an upgrade changed as a layer, with the
// settings of our layers: what would have to be sent by whoever knows exactly
// which files changed.
func (u *updates) runChanged(ctx context.Context, b *bench, round int) error {
	clock := startClock(changedFiles, round)
	sum := int64(0)
	parts := map[string]float64{}
	for _, x := range u.all {
		n, err := b.changed(ctx, x)
		if err != nil {
			return fmt.Errorf("changed files of %s: %w", x.name, err)
		}
		sum += n
		parts[x.name+", MB"] = float64(n) / 1e6
	}
	return b.record.add(amount(clock, sum, parts))
}

// merged is a tree of layers: for each path the entry that is seen, and the
// layer that it is in.
type merged map[string]place

type place struct {
	squashfs.Entry
	r *squashfs.Reader
}

// merge reads the layers of an image.
func merge(u updated) (merged, func(), error) {
	var files []*os.File
	done := func() {
		for _, f := range files {
			f.Close()
		}
	}
	all := merged{}
	for _, name := range u.layers {
		f, err := os.Open(name)
		if err != nil {
			return nil, done, err
		}
		files = append(files, f)
		info, err := f.Stat()
		if err != nil {
			return nil, done, err
		}
		r, err := squashfs.NewReader(f, info.Size())
		if err != nil {
			return nil, done, err
		}
		for e, err := range r.Entries() {
			if err != nil {
				return nil, done, err
			}
			all[e.Path] = place{e, r}
		}
	}
	return all, done, nil
}

// same says whether two places hold the same.
func (p place) same(q place) (bool, error) {
	a, c := p.Entry, q.Entry
	a.ModTime, c.ModTime = 0, 0
	if a != c || !a.Mode.IsRegular() || a.Hardlink != "" {
		return a == c, nil
	}
	x, err := p.sum()
	if err != nil {
		return false, err
	}
	y, err := q.sum()
	return x == y, err
}

func (p place) sum() ([sha256.Size]byte, error) {
	f, err := p.r.Open(p.Path)
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	defer f.Close()
	h := sha256.New()
	_, err = io.Copy(h, f)
	return [sha256.Size]byte(h.Sum(nil)), err
}

// changed returns the size of a layer of the files that the upgrade changed.
func (b *bench) changed(ctx context.Context, x *upgrade) (int64, error) {
	old, done, err := merge(x.images[0])
	defer done()
	if err != nil {
		return 0, err
	}
	next, done, err := merge(x.images[1])
	defer done()
	if err != nil {
		return 0, err
	}
	var paths []string
	for name, p := range next {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		q, ok := old[name]
		same := false
		if ok {
			if same, err = p.same(q); err != nil {
				return 0, err
			}
		}
		if !same && !p.Mode.IsDir() {
			paths = append(paths, name)
		}
	}
	slices.Sort(paths)
	return writeLayer(filepath.Join(b.dir, "changed.squashfs"), next, paths)
}

// writeLayer writes the paths of a tree as an image and returns its size.
func writeLayer(file string, tree merged, paths []string) (int64, error) {
	f, err := os.Create(file)
	if err != nil {
		return 0, err
	}
	defer os.Remove(file)
	defer f.Close()
	w, err := squashfs.NewWriter(f, squashfs.Options{})
	if err != nil {
		return 0, err
	}
	defer w.Abort()
	folders := map[string]bool{}
	for _, name := range paths {
		for dir := path.Dir(name); !folders[dir]; dir = path.Dir(dir) {
			folders[dir] = true
			if err := w.Add(squashfs.Entry{Path: dir, Mode: fs.ModeDir | 0o755}, nil); err != nil {
				return 0, err
			}
		}
		p := tree[name]
		p.Hardlink = ""
		if !p.Mode.IsRegular() {
			if err := w.Add(p.Entry, nil); err != nil {
				return 0, err
			}
			continue
		}
		in, err := p.r.Open(name)
		if err != nil {
			return 0, err
		}
		p.Size = in.Size()
		if err := errors.Join(w.Add(p.Entry, in), in.Close()); err != nil {
			return 0, err
		}
	}
	if err := w.Close(); err != nil {
		return 0, err
	}
	return w.Size(), nil
}
