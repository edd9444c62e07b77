package testbed

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// MaxHosts bounds the hosts of a bed, each of which is two namespaces with links
// and at least one process: more are for virtual time.
const MaxHosts = 256

// Head is the name of the host that each bed has beside the numbered ones.
const Head = "head"

// atOnce is how many hosts boot at the same time: their first steps are the
// kernel's work, which more would only queue up for.
const atOnce = 4

// properName is what a bed may be called: it becomes part of file names.
var properName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// Config says what a bed is like.
type Config struct {
	Name    string        // "" picks one that is free
	Hosts   int           // beside head; they are called h1, h2 ...
	Link    int64         // bits a second of each host's link, each way; 0 does not shape
	Delay   time.Duration // of what a host sends
	Private []string      // folders, absolute, of which each host has its own, at first empty
	Join    bool          // this host has a port of the switch too
	Keep    bool          // the bed stays when this process ends
}

// Bed is some hosts around a switch.
type Bed struct {
	name, dir string
	owner     *os.File // its lock says that the owner lives; nil in others than the owner
}

// Host is a host of a bed.
type Host struct {
	Name    string
	Address netip.Addr
	Up      bool // its first process runs
}

// Info is what a bed is.
type Info struct {
	Name    string
	Subnet  netip.Prefix
	Own     netip.Addr    // this host's address there, if it has joined
	Link    int64         // bits a second
	Delay   time.Duration // of what a host sends
	Kept    bool          // it stays when its owner ends
	Folder  string        // what its hosts' services keep goes here
	Hosts   []Host        // head first
	Setting map[string]string
}

// Up makes a bed and turns its hosts on. It is there whole, or not at all.
func Up(ctx context.Context, c Config) (*Bed, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("bed: %w", err)
	}
	b, s, err := claim(c)
	if err != nil {
		return nil, fmt.Errorf("bed: %w", err)
	}
	if err := b.up(ctx, s); err != nil {
		return nil, errors.Join(fmt.Errorf("bed %s: %w", b.name, err), b.Down())
	}
	if c.Keep {
		b.owner.Close()
		b.owner = nil
	}
	return b, nil
}

func (c Config) check() error {
	if err := onlyRoot(); err != nil {
		return err
	}
	switch {
	case c.Name != "" && !properName.MatchString(c.Name):
		return fmt.Errorf("name %q: use up to 32 of a-z, 0-9 and -", c.Name)
	case c.Hosts < 1 || c.Hosts > MaxHosts:
		return fmt.Errorf("%d hosts: use 1 to %d", c.Hosts, MaxHosts)
	case c.Link < 0 || c.Delay < 0:
		return errors.New("a link has no negative rate or delay: leave it out for none")
	}
	for _, p := range c.Private {
		if !filepath.IsAbs(p) || filepath.Clean(p) != p || strings.ContainsAny(p, " \t\n*?[") || p == "/" {
			return fmt.Errorf("private folder %q: use an absolute path without spaces", p)
		}
		if st, err := os.Stat(p); err != nil || !st.IsDir() {
			return fmt.Errorf("private folder %q: there is no such folder here: make it first", p)
		}
	}
	for _, program := range []string{"ip", "tc"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w: install Debian's iproute2", err)
		}
	}
	return nil
}

// onlyRoot refuses everybody else, in words.
func onlyRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("beds are made of namespaces and are root's: run it with sudo")
	}
	return nil
}

// claim makes the folder of a new bed, and sweeps before.
func claim(c Config) (*Bed, state, error) {
	all, err := lockAll()
	if err != nil {
		return nil, state{}, err
	}
	defer all.Close()
	if err := sweep(); err != nil {
		return nil, state{}, err
	}
	there, err := names()
	if err != nil {
		return nil, state{}, err
	}
	var taken []netip.Prefix
	for _, n := range there {
		if s, err := read(filepath.Join(root, n)); err == nil {
			taken = append(taken, s.Subnet)
		}
	}
	for i := 1; c.Name == ""; i++ {
		if n := fmt.Sprint("bed", i); !slices.Contains(there, n) {
			c.Name = n
		}
	}
	if slices.Contains(there, c.Name) {
		return nil, state{}, fmt.Errorf("%s is there already: take it down ('ore testbed down %s'), or choose another name", c.Name, c.Name)
	}
	s := state{Name: c.Name, Link: c.Link, Delay: c.Delay, Private: c.Private, Join: c.Join, Keep: c.Keep}
	if s.Subnet, err = freeSubnet(taken); err != nil {
		return nil, s, err
	}
	if s.Boot, err = bootID(); err != nil {
		return nil, s, err
	}
	s.Hosts = []hostState{{Name: Head, Address: place(s.Subnet, headPlace)}}
	for i := range c.Hosts {
		s.Hosts = append(s.Hosts, hostState{Name: fmt.Sprint("h", i+1), Address: place(s.Subnet, firstPlace+i)})
	}
	b := &Bed{name: c.Name, dir: filepath.Join(root, c.Name)}
	if err := os.Mkdir(b.dir, 0o755); err != nil {
		return nil, s, err
	}
	if err := put(filepath.Join(b.dir, ownerFile), nil); err != nil {
		return nil, s, err
	}
	if b.owner, err = lock(filepath.Join(b.dir, ownerFile), true); err != nil {
		return nil, s, err
	}
	return b, s, s.write(b.dir)
}

// up makes all that a claimed bed consists of.
func (b *Bed) up(ctx context.Context, s state) error {
	hosts := "127.0.0.1 localhost\n"
	for _, h := range s.Hosts {
		hosts += fmt.Sprintf("%s %s\n", h.Address, h.Name)
	}
	if err := put(filepath.Join(b.dir, hostsFile), []byte(hosts)); err != nil {
		return err
	}
	if err := wire(ctx, s); err != nil {
		return err
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i := range s.Hosts {
		g.Go(func() error { return boot(gctx, s, &s.Hosts[i], !s.Keep) })
	}
	err := g.Wait()
	s.Ready = err == nil
	// Written in any case, since it names the processes that are to be ended.
	return errors.Join(err, s.write(b.dir))
}

// Open returns the bed of that name.
func Open(name string) (*Bed, error) {
	b := &Bed{name: name, dir: filepath.Join(root, name)}
	if err := onlyRoot(); err != nil {
		return nil, fmt.Errorf("bed %s: %w", name, err)
	}
	if !properName.MatchString(name) {
		return nil, fmt.Errorf("bed %q: there is none: see 'ore testbed ls'", name)
	}
	s, err := read(b.dir)
	if err != nil || !s.Ready {
		return nil, fmt.Errorf("bed %s: there is none: see 'ore testbed ls', or make one with 'ore testbed up'", name)
	}
	return b, nil
}

// List returns all beds, after a sweep.
func List() ([]Info, error) {
	if err := onlyRoot(); err != nil {
		return nil, fmt.Errorf("list beds: %w", err)
	}
	all, err := lockAll()
	if err != nil {
		return nil, fmt.Errorf("list beds: %w", err)
	}
	defer all.Close()
	defer os.Remove(root) // fails where there is a bed
	if err := sweep(); err != nil {
		return nil, err
	}
	there, err := names()
	if err != nil {
		return nil, err
	}
	out := []Info{}
	for _, n := range there {
		if s, err := read(filepath.Join(root, n)); err == nil {
			out = append(out, s.info())
		}
	}
	return out, nil
}

func (s state) info() Info {
	i := Info{
		Name: s.Name, Subnet: s.Subnet, Link: s.Link, Delay: s.Delay, Kept: s.Keep,
		Folder: filepath.Join(root, s.Name), Setting: s.Env,
	}
	if s.Join {
		i.Own = place(s.Subnet, ownPlace)
	}
	for _, h := range s.Hosts {
		i.Hosts = append(i.Hosts, Host{Name: h.Name, Address: h.Address, Up: h.alive()})
	}
	return i
}

// Name returns the bed's name.
func (b *Bed) Name() string { return b.name }

// Folder returns the bed's own folder, which all its hosts see: what their
// services keep goes there, and is removed with the bed.
func (b *Bed) Folder() string { return b.dir }

// Info returns what the bed is now.
func (b *Bed) Info() (Info, error) {
	s, err := read(b.dir)
	if err != nil {
		return Info{}, fmt.Errorf("bed %s: %w", b.name, err)
	}
	return s.info(), nil
}

// Down ends all hosts and removes the bed. Doing it twice does no harm.
func (b *Bed) Down() error {
	all, err := lockAll()
	if err != nil {
		return fmt.Errorf("bed %s: %w", b.name, err)
	}
	defer all.Close()
	defer os.Remove(root) // fails where there is another bed
	if _, err := os.Stat(b.dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	err = remove(b.dir)
	if b.owner != nil {
		b.owner.Close()
		b.owner = nil
	}
	return err
}

// update changes the bed's state.
func (b *Bed) update(change func(s *state) error) error {
	l, err := lock(b.dir, false)
	if err != nil {
		return fmt.Errorf("bed %s: %w", b.name, err)
	}
	defer l.Close()
	s, err := read(b.dir)
	if err != nil {
		return fmt.Errorf("bed %s: %w", b.name, err)
	}
	err = change(&s)
	return errors.Join(err, s.write(b.dir))
}

// Crash turns a host off: all its processes end at once.
func (b *Bed) Crash(host string) error {
	s, err := read(b.dir)
	if err != nil {
		return fmt.Errorf("bed %s: %w", b.name, err)
	}
	h, err := s.host(host)
	if err != nil {
		return err
	}
	return h.kill()
}

// Boot turns a host on again, and starts what it runs at boot.
func (b *Bed) Boot(ctx context.Context, host string) error {
	var lines [][]string
	err := b.update(func(s *state) error {
		h, err := s.host(host)
		if err != nil {
			return err
		}
		if h.alive() {
			return fmt.Errorf("host %s: it is on already", host)
		}
		lines = h.AtBoot
		return boot(ctx, *s, h, !s.Keep)
	})
	if err != nil {
		return err
	}
	return b.start(ctx, host, lines)
}

// AtBoot starts a service on a host, now and whenever it boots: a program that
// puts itself into the background.
func (b *Bed) AtBoot(ctx context.Context, host string, args ...string) error {
	err := b.update(func(s *state) error {
		h, err := s.host(host)
		if err != nil {
			return err
		}
		h.AtBoot = append(h.AtBoot, args)
		return nil
	})
	if err != nil {
		return err
	}
	return b.start(ctx, host, [][]string{args})
}

// Set gives all later commands on hosts an environment variable.
func (b *Bed) Set(name, value string) error {
	return b.update(func(s *state) error {
		if s.Env == nil {
			s.Env = map[string]string{}
		}
		maps.Copy(s.Env, map[string]string{name: value})
		return nil
	})
}

// Part pulls a host's cable.
func (b *Bed) Part(ctx context.Context, host string) error { return b.cable(ctx, host, "down") }

// Heal plugs a host's cable in again.
func (b *Bed) Heal(ctx context.Context, host string) error { return b.cable(ctx, host, "up") }

func (b *Bed) cable(ctx context.Context, host, how string) error {
	s, err := read(b.dir)
	if err != nil {
		return fmt.Errorf("bed %s: %w", b.name, err)
	}
	if _, err := s.host(host); err != nil {
		return err
	}
	return run(ctx, "", "ip", "-n", space(b.name, switchName), "link", "set", port(host), how)
}

// Shape gives one host's link another rate, in bits a second.
func (b *Bed) Shape(ctx context.Context, host string, rate int64) error {
	s, err := read(b.dir)
	if err != nil {
		return fmt.Errorf("bed %s: %w", b.name, err)
	}
	if _, err := s.host(host); err != nil {
		return err
	}
	if rate <= 0 {
		return fmt.Errorf("host %s: a rate of %d bits a second: use one above 0", host, rate)
	}
	return shape(ctx, s, host, rate)
}
