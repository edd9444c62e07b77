package sandbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ore/install/sandbox/host"
)

// Ability says whether a tier works on this host for this user.
type Ability struct {
	Tier  Tier
	Works bool
	Why   string // why it does not, and what would help; "" if it does
}

// probeVariable names the folder in which a tier is tried.
const probeVariable = "ORE_SANDBOX_PROBE"

// probeOwner is an owner other than root, for trying.
const probeOwner = 7

// Probe tries each tier by using all of it on a tiny tree below dir, a folder
// on the file system where trees will lie, and says what works, best first.
func Probe(ctx context.Context, dir string) []Ability {
	var all []Ability
	for _, tier := range []Tier{Root, SubIDs, Single} {
		a := Ability{Tier: tier, Works: true}
		if err := probe(ctx, tier, dir); err != nil {
			a.Works, a.Why = false, err.Error()
		}
		all = append(all, a)
	}
	return all
}

// Detect returns the best tier that works, or an error that says why none does. What
// worked is noted in dir, and taken to work until something of the host changes that
// decides (package host), or it is doubted.
func Detect(ctx context.Context, dir string) (Tier, error) {
	if tier := host.Noted(dir); tier != "" {
		return Tier(tier), nil
	}
	var reasons []string
	for _, tier := range []Tier{Root, SubIDs, Single} {
		err := probe(ctx, tier, dir)
		if err == nil {
			_ = host.Note(dir, string(tier)) // without a note it is tried again
			return tier, nil
		}
		reasons = append(reasons, err.Error())
	}
	return "", fmt.Errorf("no sandbox works on this host: %s", strings.Join(reasons, "; "))
}

func probe(ctx context.Context, tier Tier, dir string) error {
	at, err := os.MkdirTemp(dir, "probe-")
	if err != nil {
		return fmt.Errorf("sandbox %s: %w", tier, err)
	}
	defer Remove(context.WithoutCancel(ctx), at)
	var said bytes.Buffer
	err = Spawn(ctx, Options{
		Tier:   tier,
		Env:    append(os.Environ(), roleVariable+"="+roleProbe, probeVariable+"="+at),
		Stderr: &said,
	})
	if text := strings.TrimSpace(said.String()); err != nil && text != "" && !errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("sandbox %s: %s", tier, text)
	}
	return err
}

// probePlace is where the program of a probe sees the tree that is tried: a folder
// that every host has and no program needs. The tree's own path may lead through
// what a Run hides, as /dev/shm is.
const probePlace = "/etc"

// probeInside is the worker of a probe. The tree is the host itself, bound to
// another place, so that this very executable can run in it.
func probeInside() error {
	dir := os.Getenv(probeVariable)
	s, err := Enter(Options{Owners: filepath.Join(dir, "owners")})
	if err != nil {
		return err
	}
	path := map[string]string{}
	for _, name := range []string{"lower", "upper", "work", "merged", "host"} {
		path[name] = filepath.Join(dir, name)
		if err := os.Mkdir(path[name], 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(path["lower"], "file"), nil, 0o644); err != nil {
		return err
	}
	if _, err := s.Overlay([]string{path["lower"]}, path["upper"], path["work"], path["merged"]); err != nil {
		return fmt.Errorf("%w: overlay mounts in user namespaces need Linux 5.11", err)
	}
	if err := unix.Mount("/", path["host"], "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind the root folder: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	file := filepath.Join(path["merged"], "file")
	if err := unix.Mount(path["merged"], filepath.Join(path["host"], probePlace), "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind the tree: %w", err)
	}
	err = s.Run(context.Background(), Command{
		Root: path["host"], Args: []string{self},
		Env:    []string{roleVariable + "=" + roleProbed, probeVariable + "=" + filepath.Join(probePlace, "file")},
		Stderr: os.Stderr,
	})
	if err != nil {
		return err
	}
	if o, err := s.Owner(file); err != nil || o.UID != probeOwner {
		return fmt.Errorf("the owner of a file is %d after it was set to %d: %v", o.UID, probeOwner, err)
	}
	return s.Mknod(filepath.Join(dir, "device"), unix.S_IFCHR|0o600, 1, 3)
}

// probed is a program in the tree of a probe.
func probed() error {
	file := os.Getenv(probeVariable)
	if err := os.Chown(file, probeOwner, probeOwner); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		return err
	}
	if st.Uid != probeOwner || st.Gid != probeOwner {
		return errors.New("the owner that was set does not show: " + strconv.Itoa(int(st.Uid)))
	}
	return nil
}
