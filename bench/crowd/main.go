// Command crowd has 200 clients ask a cache at once for 20 environments, half of
// which it does not have, and checks what each gets. The cache is a server process
// of its own; a client has a connection, a token and a store of its own, all in
// this process. Its page is README.md in the folder above.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"ore"
	"ore/cache/serve/client"
	"ore/image"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	if err := start(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "crowd:", err)
		os.Exit(1)
	}
}

// settings are what the command line says.
type settings struct {
	ore          string
	clients      int
	environments int
	size         int
	build        time.Duration
	rounds       int
}

func start(ctx context.Context, args []string) error {
	f := flag.NewFlagSet("crowd", flag.ContinueOnError)
	var s settings
	f.StringVar(&s.ore, "ore", "bin/ore", "the program that serves")
	f.IntVar(&s.clients, "clients", 200, "how many ask at once")
	f.IntVar(&s.environments, "environments", 20, "how many are asked for; the cache has half of them")
	f.IntVar(&s.size, "size", 1<<20, "bytes of an image")
	f.DurationVar(&s.build, "build", 2*time.Second, "what making an image takes")
	f.IntVar(&s.rounds, "rounds", 5, "how often, each time with a new cache")
	if err := f.Parse(args); err != nil {
		return err
	}
	if s.clients < 1 || s.environments < 1 || s.rounds < 1 {
		return errors.New("at least one client, environment and round is needed")
	}
	var took []float64
	for round := range s.rounds {
		o, err := once(ctx, s)
		if err != nil {
			return err
		}
		took = append(took, o.all.Seconds())
		fmt.Printf("round %d: %.2f s in all (%.2f s of CPU of the server, %.2f s of the clients), the median client %.2f s; %d errors, %d torn reads, builds %v\n",
			round+1, o.all.Seconds(), o.server.Seconds(), o.own.Seconds(), o.middle.Seconds(), o.errors, o.torn, o.builds)
		if err := o.check(s); err != nil {
			return fmt.Errorf("round %d: %w", round+1, err)
		}
	}
	slices.Sort(took)
	fmt.Printf("%d clients, %d environments: every build done once, no error, no torn read; median %.2f s of %d\n", s.clients, s.environments, took[len(took)/2], s.rounds)
	return nil
}

// outcome is what came of one round.
type outcome struct {
	all, middle time.Duration // until the last client, and the median one, had its image
	server, own time.Duration // of CPU
	errors      int64
	torn        int64
	builds      []int64 // of each environment
	first       error
}

// check holds an outcome against the promise.
func (o outcome) check(s settings) error {
	for i, n := range o.builds {
		if want := int64(i % 2); n != want {
			return fmt.Errorf("environment %d was built %d times, not %d", i, n, want)
		}
	}
	if o.errors+o.torn > 0 {
		return fmt.Errorf("%d of %d clients got no image: %w", o.errors+o.torn, s.clients, o.first)
	}
	return nil
}

// crowd is one round.
type crowd struct {
	settings
	dir    string
	server *server
	have   *image.Store // where clients take from what they build
	images []image.Manifest
	mu     sync.Mutex // guards out and times
	out    outcome
	times  []time.Duration
}

// once starts a cache that has half of the images and lets all clients ask.
func once(ctx context.Context, s settings) (_ outcome, err error) {
	c := &crowd{settings: s}
	if c.dir, err = os.MkdirTemp("", "ore-crowd-"); err != nil {
		return outcome{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(c.dir)) }()
	if err := c.makeImages(ctx); err != nil {
		return outcome{}, err
	}
	if c.server, err = serve(ctx, s.ore, filepath.Join(c.dir, "server")); err != nil {
		return outcome{}, err
	}
	defer func() {
		if c.server != nil {
			_, e := c.server.close()
			err = errors.Join(err, e)
		}
	}()
	if err := c.seed(ctx); err != nil {
		return outcome{}, err
	}
	if err := c.ask(ctx); err != nil {
		return outcome{}, err
	}
	used, err := c.server.close()
	c.server = nil
	c.out.server = used
	slices.Sort(c.times)
	c.out.middle = c.times[len(c.times)/2]
	return c.out, err
}

// open returns a new client of the cache.
func (c *crowd) open(name string) (*client.Client, error) {
	return client.New(client.Config{URL: c.server.url, Token: c.server.token, Dir: filepath.Join(c.dir, name)})
}

// seed gives the cache every other image.
func (c *crowd) seed(ctx context.Context) error {
	seeder, err := c.open("seeder")
	if err != nil {
		return err
	}
	defer seeder.Close()
	for i := 0; i < len(c.images); i += 2 {
		if err := seeder.Push(ctx, c.have, client.Pushed{Manifest: c.images[i], BuildTime: c.build}); err != nil {
			return err
		}
	}
	return nil
}

// ask has all clients ask at the same moment.
func (c *crowd) ask(ctx context.Context) error {
	builds := make([]atomic.Int64, c.environments)
	ready := make(chan struct{})
	var group sync.WaitGroup
	for i := range c.clients {
		name := fmt.Sprintf("c%03d", i)
		own, err := c.open(name)
		if err != nil {
			return err
		}
		store, err := image.OpenStore(filepath.Join(c.dir, name, "images"))
		if err != nil {
			return err
		}
		n := i % c.environments
		group.Go(func() {
			defer own.Close()
			<-ready
			begun := time.Now()
			err := c.get(ctx, own, store, n, &builds[n])
			c.note(time.Since(begun), err)
		})
	}
	before, begun := ownCPU(), time.Now()
	close(ready)
	group.Wait()
	c.out.all, c.out.own = time.Since(begun), ownCPU()-before
	for i := range builds {
		c.out.builds = append(c.out.builds, builds[i].Load())
	}
	return nil
}

// errTorn is for bytes that are not what they should be.
var errTorn = errors.New("torn")

// get is one client: find the image, or build it if no other does, then fetch
// and read all of it.
func (c *crowd) get(ctx context.Context, own *client.Client, store *image.Store, n int, builds *atomic.Int64) error {
	m := c.images[n]
	_, err := own.Share(ctx, m.Key, func(ore.Event) {}, func(ctx context.Context, tell ore.Watcher) error {
		builds.Add(1)
		tell(ore.Event{Stage: "build", Done: 1, Total: 2})
		select { // what building costs in time
		case <-time.After(c.build):
		case <-ctx.Done():
			return ctx.Err()
		}
		return own.Push(ctx, c.have, client.Pushed{Manifest: m, BuildTime: c.build})
	})
	if err != nil {
		return err
	}
	f, err := own.Find(ctx, m.Key, nil)
	if err != nil {
		return err
	}
	if f.Manifest.Digest() != m.Digest() {
		return fmt.Errorf("environment %d: another manifest: %w", n, errTorn)
	}
	if _, err := own.Fetch(ctx, f.Manifest, store, nil); err != nil {
		return err
	}
	for _, l := range m.Layers {
		if err := store.Verify(ctx, l.Digest); err != nil {
			return fmt.Errorf("environment %d: %w: %w", n, err, errTorn)
		}
	}
	return nil
}

// note takes down how one client fared.
func (c *crowd) note(took time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.times = append(c.times, took)
	switch {
	case err == nil:
		return
	case errors.Is(err, errTorn):
		c.out.torn++
	default:
		c.out.errors++
	}
	if c.out.first == nil || strings.Contains(c.out.first.Error(), "context canceled") {
		c.out.first = err
	}
}
