package caching

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"ore"
	"ore/cache/registry"
	"ore/cache/serve/client"
	"ore/cache/serve/wire"
	"ore/cmd/ore/view"
	"ore/image"
	"ore/plan"
	"ore/site"
	"ore/site/learn"
	elsewhere "ore/site/remote"
)

// Names of environment variables that say which cache is used, and by whom.
const (
	cacheVariable = "ORE_CACHE"
	tokenVariable = "ORE_CACHE_TOKEN"
)

// remote says which cache is used, and who uses it.
type remote struct {
	url, tokenFile, cert, key, ca string
}

func (r *remote) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&r.url, "cache", os.Getenv(cacheVariable), "`URL` of the cache, https://host:port#sha256:fingerprint, or for push and pull oci://host/repository (oci+http:// without TLS); default: "+cacheVariable)
	f.StringVar(&r.tokenFile, "token-file", "", "`file` with the token; default: "+tokenVariable+" holds it")
	f.StringVar(&r.cert, "cert", "", "`file` with a client certificate, instead of a token")
	f.StringVar(&r.key, "key", "", "`file` with the key of that certificate")
	f.StringVar(&r.ca, "ca", "", "`file` with the authorities of the cache's certificate, if it is not pinned")
}

// open makes a client that keeps unfinished things below dir. What it finds goes
// to check, if that is not nil.
func (r *remote) open(a *Shell, dir string, check func(image.Manifest, image.Signature) error) (*client.Client, error) {
	if r.url == "" {
		return nil, a.Usage(fmt.Errorf("no cache: give --cache, or set %s", cacheVariable))
	}
	if registry.Is(r.url) {
		return nil, a.Usage(fmt.Errorf("cache %s: a registry has no list or state of images that ore could ask for, and removes them itself: 'ore cache push' and 'ore cache pull' with a whole key work there, and its tags, which are the keys, are shown by 'skopeo list-tags docker://HOST/REPOSITORY'", r.url))
	}
	c := client.Config{URL: r.url, Token: os.Getenv(tokenVariable), Dir: filepath.Join(dir, "remote"), Check: check}
	if r.tokenFile != "" {
		b, err := os.ReadFile(r.tokenFile)
		if err != nil {
			return nil, fmt.Errorf("token: %w", err)
		}
		c.Token = strings.TrimSpace(string(b))
	}
	if r.cert != "" {
		pair, err := tls.LoadX509KeyPair(r.cert, r.key)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		c.Certificate, c.Token = &pair, ""
	}
	if r.ca != "" {
		b, err := os.ReadFile(r.ca)
		if err != nil {
			return nil, fmt.Errorf("authorities: %w", err)
		}
		c.CA = b
	}
	return client.New(c)
}

// patience bounds how long a cache may take to show that it is there, over the
// slowest of links.
const patience = 10 * time.Second

// reach asks whether the cache is there, for limit at most.
func reach(ctx context.Context, c *client.Client, limit time.Duration) error {
	soon, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := c.Healthy(soon)
	if err != nil && soon.Err() != nil && ctx.Err() == nil {
		return fmt.Errorf("%w (after %s): see whether 'ore cache serve' runs there, and whether the address is its", err, limit)
	}
	return err
}

// withCache opens the cache alone for one command.
func (r *remote) withCache(a *Shell, f func(ctx context.Context, c *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		dirs, err := site.FindDirs(os.Getenv)
		if err != nil {
			return err
		}
		c, err := r.open(a, dirs.Cache, nil)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := reach(cmd.Context(), c, patience); err != nil {
			return err
		}
		return f(cmd.Context(), c, args)
	}
}

// withBoth opens the site and the cache for one command.
func (a *Shell) withBoth(r *remote, f func(ctx context.Context, b both, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		ctx := cmd.Context()
		s, err := a.Open(ctx)
		if err != nil {
			return err
		}
		defer s.Close()
		dirs, err := site.FindDirs(os.Getenv)
		if err != nil {
			return err
		}
		if registry.Is(r.url) {
			o, err := elsewhere.Open(elsewhere.Address{URL: r.url}, elsewhere.Local{Store: s.Cache.Store, Check: s.Cache.Check})
			if err != nil {
				return a.Usage(err)
			}
			return f(ctx, both{site: s, name: o.Name, registry: o}, args)
		}
		c, err := r.open(a, dirs.Cache, s.Cache.Check)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := reach(cmd.Context(), c, patience); err != nil {
			return err
		}
		return f(ctx, both{site: s, name: elsewhere.Name(r.url), cache: c}, args)
	}
}

// both are the two ends between which images go.
type both struct {
	site     *site.Site
	name     string           // of the cache, and of its link in plans
	cache    *client.Client   // a served cache, or
	registry *elsewhere.Cache // an OCI registry
}

func newCacheList(a *Shell) *cobra.Command {
	var r remote
	c := &cobra.Command{
		Use: "ls", Short: "List the images of a cache", Aliases: []string{"list"}, Args: cobra.NoArgs,
		RunE: r.withCache(a, func(ctx context.Context, c *client.Client, _ []string) error {
			all, err := c.Images(ctx)
			if err != nil {
				return err
			}
			if *a.JSON {
				return a.print(all)
			}
			t := a.Rows("key", "namespace", "base", "packages", "size", "used", "asked for")
			for _, e := range all {
				t.AppendRow(table.Row{e.Key.Short(), e.Namespace, e.Suite, e.Packages, view.Bytes(e.Bytes), view.Ago(e.Used), view.Cut(strings.Join(e.Wanted, " "), 50)})
			}
			t.Render()
			return nil
		}),
	}
	r.flags(c)
	return c
}

func newCacheStatus(a *Shell) *cobra.Command {
	var r remote
	c := &cobra.Command{
		Use: "status", Short: "Show how a cache does", Args: cobra.NoArgs,
		RunE: r.withCache(a, func(ctx context.Context, c *client.Client, _ []string) error {
			s, err := c.Stats(ctx)
			if err != nil {
				return err
			}
			if *a.JSON {
				return a.print(s)
			}
			quota := "no quota"
			if s.Quota > 0 {
				quota = "quota " + view.Bytes(s.Quota)
			}
			a.say("namespace %s: %d images, %s in %d blobs, %s", s.Namespace, s.Images, view.Bytes(s.Bytes), s.Blobs, quota)
			a.say("%d unfinished uploads of %s, %d builds under way", s.Uploads, view.Bytes(s.Reserved), s.Leases)
			a.say("served %s since %s", view.Bytes(s.Served), s.Started.Format(time.DateTime))
			return nil
		}),
	}
	r.flags(c)
	return c
}

func newCachePush(a *Shell) *cobra.Command {
	var r remote
	c := &cobra.Command{
		Use: "push KEY", Short: "Give an image of this host to a cache", Args: cobra.ExactArgs(1), ValidArgsFunction: a.Complete,
		Long: `Give an image of this host to a cache. It goes into the namespace that the token or
certificate is for: only that of "` + wire.Shared + `" is seen by all. An OCI registry
(--cache oci://HOST/REPOSITORY, or oci+http:// if it has no TLS) gets it twice: as layers of tar, tagged with its key, for podman, docker and
skopeo, and as ore's own layers, tagged with KEY.ore.`,
		RunE: a.withBoth(&r, func(ctx context.Context, b both, args []string) error {
			e, err := b.site.Cache.Match(ctx, args[0])
			if err != nil {
				return err
			}
			m, err := b.site.Cache.Find(ctx, e.Key)
			if err != nil {
				return err
			}
			sig, err := b.site.Cache.Signature(ctx, e.Key)
			if err != nil {
				return err
			}
			if b.registry != nil {
				return b.registry.Give(ctx, elsewhere.Image{Manifest: m, Signature: sig}, e.BuildTime)
			}
			return b.cache.Push(ctx, b.site.Cache.Store, client.Pushed{Manifest: m, Signature: sig, BuildTime: e.BuildTime})
		}),
	}
	r.flags(c)
	return c
}

// maxRelatives bounds the images of this host whose layers a fetch compares.
const maxRelatives = 4

func newCachePull(a *Shell) *cobra.Command {
	var r remote
	c := &cobra.Command{
		Use: "pull KEY", Short: "Take an image from a cache", Args: cobra.ExactArgs(1),
		Long: `Take an image from a cache. Layers of this host's images that are like it are not
sent again: only what differs is.`,
		RunE: a.withBoth(&r, func(ctx context.Context, b both, args []string) error {
			key, err := b.match(ctx, args[0])
			if err != nil {
				return err
			}
			got, err := b.pull(ctx, key)
			if err != nil {
				return err
			}
			if *a.JSON {
				return a.print(got)
			}
			a.say("image %s: %s received, %s were here", key.Short(), view.Bytes(got.Received), view.Bytes(got.Copied))
			return nil
		}),
	}
	r.flags(c)
	return c
}

// match finds the key that begins with prefix in the cache.
func (b both) match(ctx context.Context, prefix string) (ore.Key, error) {
	if key, err := ore.ParseKey(prefix); err == nil {
		return key, nil
	}
	if b.registry != nil {
		return "", fmt.Errorf("image %q: a registry finds whole keys only: give all 64 digits, which are its tags", prefix)
	}
	all, err := b.cache.Images(ctx)
	if err != nil {
		return "", err
	}
	var found []wire.Listed
	for _, e := range all {
		if len(prefix) >= 4 && strings.HasPrefix(string(e.Key), prefix) && (len(found) == 0 || found[0].Key != e.Key) {
			found = append(found, e)
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("image %q: %d of the cache's begin so: give more digits of a key that 'ore cache ls' shows", prefix, len(found))
	}
	return found[0].Key, nil
}

// pull fetches an image and lists it on this host.
func (b both) pull(ctx context.Context, key ore.Key) (client.Traffic, error) {
	if b.registry != nil {
		return b.pullRegistry(ctx, key)
	}
	near, err := b.relatives(ctx, key)
	if err != nil {
		return client.Traffic{}, err
	}
	var first *image.Manifest
	if len(near) > 0 {
		first = &near[0]
	}
	asked := time.Now()
	f, err := b.cache.Find(ctx, key, first)
	if err != nil {
		return client.Traffic{}, err
	}
	asking := time.Since(asked)
	space, err := elsewhere.Room(ctx, b.site.Cache, f.Manifest)
	if err != nil {
		return client.Traffic{}, err
	}
	defer space.Release()
	lacking := b.lacking(f.Manifest)
	begun := time.Now()
	got, err := b.cache.Fetch(ctx, f.Manifest, b.site.Cache.Store, near)
	b.learn(asking, lacking, got.Received, asking+time.Since(begun))
	got.Received += f.Traffic
	if err != nil {
		return got, err
	}
	_, err = b.site.Cache.RegisterSigned(ctx, f.Manifest, f.Signature, time.Since(begun))
	return got, err
}

// lacking counts the layers of an image that are not here.
func (b both) lacking(m image.Manifest) (n int) {
	for _, l := range m.Layers {
		if _, err := b.site.Cache.Path(l.Digest); err != nil {
			n++
		}
	}
	return n
}

// learn takes what asking the cache and then layers over the link to it took in all
// into this host's rates, from which plans are made. What cannot be kept is lost: the
// image is here.
func (b both) learn(asking time.Duration, layers int, bytes int64, took time.Duration) {
	if layers == 0 || bytes == 0 {
		return
	}
	m := plan.Measurement{Law: plan.LinkLaw(b.name), Amounts: []float64{float64(layers), float64(bytes)}, Took: took}
	asked := map[string]plan.LinkTry{b.name: {Request: asking.Seconds()}}
	_ = learn.Memory{Dir: b.site.Dirs.State}.Change(nil, func(r plan.Rates) plan.Rates { return r.Asked(asked).Learn(m) })
}

// pullRegistry is pull from a registry.
func (b both) pullRegistry(ctx context.Context, key ore.Key) (got client.Traffic, err error) {
	asked := time.Now()
	found, err := b.registry.Find(ctx, key, nil)
	if err != nil {
		return got, err
	}
	asking := time.Since(asked)
	space, err := elsewhere.Room(ctx, b.site.Cache, found.Manifest)
	if err != nil {
		return got, err
	}
	defer space.Release()
	begun, lacking := time.Now(), b.lacking(found.Manifest)
	if got.Received, err = b.registry.Fetch(ctx, found.Manifest, nil); err != nil {
		return got, err
	}
	b.learn(asking, lacking, got.Received, asking+time.Since(begun))
	got.Copied = found.Manifest.Size() - got.Received
	_, err = b.site.Cache.RegisterSigned(ctx, found.Manifest, found.Signature, time.Since(begun))
	return got, err
}

// relatives returns the images of this host that were used last.
func (b both) relatives(ctx context.Context, key ore.Key) ([]image.Manifest, error) {
	all, err := b.site.Cache.List(ctx)
	if err != nil {
		return nil, err
	}
	var near []image.Manifest
	for _, e := range all {
		if e.Key == key || len(near) == maxRelatives {
			continue
		}
		m, err := b.site.Cache.Find(ctx, e.Key)
		if errors.Is(err, image.ErrMissing) {
			continue
		}
		if err != nil {
			return nil, err
		}
		near = append(near, m)
	}
	return near, nil
}

func newCacheRemove(a *Shell) *cobra.Command {
	var r remote
	c := &cobra.Command{
		Use: "rm KEY", Short: "Remove an image from a cache", Args: cobra.ExactArgs(1),
		RunE: r.withCache(a, func(ctx context.Context, c *client.Client, args []string) error {
			key, err := both{cache: c}.match(ctx, args[0])
			if err != nil {
				return err
			}
			return c.Forget(ctx, key)
		}),
	}
	r.flags(c)
	return c
}
