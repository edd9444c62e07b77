package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"ore"
	"ore/bench/mirror"
	"ore/image"
	"ore/plan"
)

// accountName is the ordinary user as whom all of ore runs; bench makes it, too.
const accountName = "orebench"

// lab is some hosts, a cache and a mirror.
type lab struct {
	dir    string
	ore    string
	hosts  int
	user   *syscall.Credential
	mirror *mirror.Mirror
	secret string  // token for the cache
	pin    string  // of its certificate
	delta  float64 // slow: bytes of the image over the base
	stop   func() error
	busy   map[string][]float64 // threads that commands alone kept busy, by kind; nil where that is not asked
}

// The port of the cache in its namespace.
const cachePort = "7443"

// open makes a lab; close ends all of it.
func open(ctx context.Context, s settings) (_ *lab, err error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("network namespaces need root: run this as root")
	}
	l := &lab{hosts: s.hosts, stop: func() error { return nil }}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.close())
		}
	}()
	if l.user, err = ordinary(ctx); err != nil {
		return nil, err
	}
	if err := l.folder(s.ore); err != nil {
		return nil, err
	}
	if err := up(ctx, s.hosts); err != nil {
		return nil, err
	}
	err = within(mirrors, func() error {
		listener, err := net.Listen("tcp", mirrorAddress+":80")
		if err == nil {
			l.mirror, err = mirror.Start(ctx, s.pool, listener)
		}
		return err
	})
	return l, err
}

// folder makes the folder of all, in memory, with the program in it.
func (l *lab) folder(program string) error {
	dir, err := os.MkdirTemp("", "ore-links-")
	if err != nil {
		return err
	}
	if err := unix.Mount("ore-links", dir, "tmpfs", 0, "mode=755,size=60%"); err != nil {
		return errors.Join(err, os.Remove(dir))
	}
	l.dir, l.ore = dir, filepath.Join(dir, "ore")
	text, err := os.ReadFile(program)
	if err != nil {
		return fmt.Errorf("%w: build it with make", err)
	}
	if err := os.WriteFile(l.ore, text, 0o755); err != nil {
		return err
	}
	// One way at a time is what is predicted and measured.
	if err := os.WriteFile(filepath.Join(dir, "site.yaml"), []byte("hedge: false\n"), 0o644); err != nil {
		return err
	}
	return os.Chown(dir, int(l.user.Uid), int(l.user.Gid))
}

// ordinary returns the user that measures, made if there is none.
func ordinary(ctx context.Context) (*syscall.Credential, error) {
	u, err := user.Lookup(accountName)
	if errors.As(err, new(user.UnknownUserError)) {
		if err := run(ctx, "useradd --create-home "+accountName); err != nil {
			return nil, err
		}
		u, err = user.Lookup(accountName)
	}
	if err != nil {
		return nil, err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(u.Gid)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

func (l *lab) close() error {
	errs := []error{l.stop()}
	if l.mirror != nil {
		errs = append(errs, l.mirror.Close())
	}
	errs = append(errs, down())
	if l.dir != "" {
		errs = append(errs, unix.Unmount(l.dir, unix.MNT_DETACH), os.Remove(l.dir))
	}
	return errors.Join(errs...)
}

// home is the folder of a host's state; that of host 0 is the cache's.
func (l *lab) home(host int) string { return filepath.Join(l.dir, fmt.Sprint("home-", host)) }

// grace is how long an interrupted program may take to end.
const grace = 20 * time.Second

// command makes one of ore for a host.
func (l *lab) command(ctx context.Context, host int, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, l.ore, args...)
	c.Dir = l.dir
	c.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=" + l.dir, "LC_ALL=C.UTF-8", "ORE_HOME=" + l.home(host),
		"ORE_MIRROR=" + l.mirror.URL, "ORE_CONFIG=" + filepath.Join(l.dir, "site.yaml"), "ORE_CACHE_TOKEN=" + l.secret}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: l.user}
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGINT) }
	c.WaitDelay = grace
	return c
}

// Homes that no host of the network has by itself: hosts are copied from them.
// What is done there is done in host 1's namespace. A host that has built an image
// and forgotten it still has its tree, and would build it in no time once more.
const (
	master = 100 // has what all begin with, and learns from what the hosts do
	drawn  = 101 // a copy of it for one point
)

// space names the namespace that a host, or a home to copy from, is in.
func space(host int) string {
	switch {
	case host == 0:
		return cacher
	case host >= master:
		return hostSpace(1)
	}
	return hostSpace(host)
}

// learn lets one home have what another has learned.
func (l *lab) learn(ctx context.Context, from, to int) error {
	if err := os.MkdirAll(l.home(to), 0o755); err != nil {
		return err
	}
	if err := os.Chown(l.home(to), int(l.user.Uid), int(l.user.Gid)); err != nil {
		return err
	}
	return run(ctx, fmt.Sprintf("cp -a %s/state %s/", l.home(from), l.home(to)))
}

// practise has a copy of the master build sets, from which the master learns.
func (l *lab) practise(ctx context.Context, sets ...[]string) error {
	for _, set := range sets {
		if err := l.settle(ctx, master, 1, nil); err != nil {
			return err
		}
		if err := l.tell(ctx, set); err != nil {
			return err
		}
	}
	return nil
}

// practiseOver has a copy of the master build each set over the tree that the one
// before it has left, from which the master learns.
func (l *lab) practiseOver(ctx context.Context, sets ...[]string) error {
	for i, set := range sets {
		before := sets[(i+len(sets)-1)%len(sets)]
		if err := l.settle(ctx, master, 1, nil); err != nil {
			return err
		}
		if _, _, err := l.build(ctx, 1, before); err != nil {
			return err
		}
		if err := l.tell(ctx, set); err != nil {
			return err
		}
	}
	return nil
}

// tell has the first host build a set, from which the master learns.
func (l *lab) tell(ctx context.Context, set []string) error {
	_, d, err := l.build(ctx, 1, set)
	if err != nil {
		return err
	}
	if err := l.alone(1, d); err != nil {
		return err
	}
	return l.learn(ctx, 1, master)
}

// do runs ore at a host and returns what it printed and how long it took.
func (l *lab) do(ctx context.Context, host int, args ...string) (done, error) {
	c := l.command(ctx, host, args...)
	var out, said bytes.Buffer
	c.Stdout, c.Stderr = &out, &said
	begun := time.Now()
	err := within(space(host), c.Start)
	if err == nil {
		err = c.Wait()
	}
	d := done{out: out.Bytes(), said: said.String(), took: time.Since(begun).Seconds()}
	if s := c.ProcessState; s != nil {
		d.cpu = (s.UserTime() + s.SystemTime()).Seconds()
	}
	if err != nil {
		const most = 1500
		return d, fmt.Errorf("ore %s: %w: %s", strings.Join(args, " "), err, d.said[max(0, len(d.said)-most):])
	}
	return d, nil
}

// done is what came of a command.
type done struct {
	out  []byte
	said string
	took float64 // seconds
	cpu  float64
}

// build makes an image at a host; more are further arguments.
func (l *lab) build(ctx context.Context, host int, set []string, more ...string) (image.Manifest, done, error) {
	args := append([]string{"build", "--json"}, wants(set)...)
	d, err := l.do(ctx, host, append(args, more...)...)
	var m image.Manifest
	if err == nil {
		err = json.Unmarshal(d.out, &m)
	}
	return m, d, err
}

// wants are the arguments that ask for a set of packages, or for a job file if
// it is one.
func wants(set []string) []string {
	if len(set) == 1 && strings.HasSuffix(set[0], ".yaml") {
		return []string{"-f", set[0]}
	}
	args := []string{"--base", "debian/" + mirror.Suite}
	for _, p := range set {
		args = append(args, "-p", p)
	}
	return args
}

func (l *lab) forget(ctx context.Context, host int, key ore.Key) error {
	_, err := l.do(ctx, host, "images", "rm", string(key))
	return err
}

// serve starts the cache on host 0's images.
func (l *lab) serve(ctx context.Context) error {
	token, err := l.do(ctx, 0, "cache", "token", "add", "links", "--namespace", "shared")
	if err != nil {
		return err
	}
	l.secret = strings.TrimSpace(string(token.out))
	ctx, cancel := context.WithCancel(ctx)
	c := l.command(ctx, 0, "cache", "serve", "--listen", "0.0.0.0:"+cachePort)
	out, err := c.StdoutPipe()
	if err == nil {
		err = within(cacher, c.Start)
	}
	if err != nil {
		cancel()
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	l.stop = func() error {
		cancel()
		if err := c.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			return fmt.Errorf("the cache: %w", err)
		}
		return nil
	}
	_, pin, ok := strings.Cut(strings.TrimSpace(line), "#")
	if err != nil || !ok {
		return fmt.Errorf("the cache said %q: %w", line, err)
	}
	l.pin = pin
	return nil
}

// cacheName is what hosts call the cache behind link k.
func cacheName(k int) string { return "https://" + cacheAddress(k) + ":" + cachePort }

func (l *lab) cacheURL(k int) string { return cacheName(k) + "#" + l.pin }

// clone makes a host's home like another's.
func (l *lab) clone(ctx context.Context, from, to int) error {
	return errors.Join(os.RemoveAll(l.home(to)), run(ctx, fmt.Sprintf("cp -a %s %s", l.home(from), l.home(to))))
}

// settle makes a host's home a copy of one that has the image of set. Files of a copy
// are others than those that were verified there: a host whose layers lie where they
// came has no need to read them once more, so they are asked for before anything is
// measured.
func (l *lab) settle(ctx context.Context, from, to int, set []string) error {
	err := l.clone(ctx, from, to)
	if err == nil {
		_, _, err = l.build(ctx, to, set)
	}
	return err
}

func (l *lab) ratesFile(host int) string { return filepath.Join(l.home(host), "state", "rates.json") }

// rates are those that a host has learned.
func (l *lab) rates(host int) (plan.Rates, error) {
	var r plan.Rates
	text, err := os.ReadFile(l.ratesFile(host))
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	return r, err
}

// teach has a host try link k with images of the cache: ore learns from what it
// pulls. The images are forgotten.
func (l *lab) teach(ctx context.Context, host, k int, images ...image.Manifest) error {
	for _, m := range images {
		d, err := l.do(ctx, host, "cache", "pull", string(m.Key), "--cache", l.cacheURL(k))
		if err != nil {
			return err
		}
		if k >= fastLink { // else it is the link that takes the time, not a core
			l.kept(fetching, d)
		}
		if err := l.forget(ctx, host, m.Key); err != nil {
			return err
		}
	}
	return nil
}

// above returns the bytes of an image's layers over the base.
func above(m image.Manifest) int64 {
	if len(m.Layers) == 0 {
		return 0
	}
	return m.Size() - m.Layers[0].Size
}
