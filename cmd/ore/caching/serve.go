// Package caching is the command cache: it serves a folder of images to a site,
// says who may use it, and carries images between this host and a cache.
package caching

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"ore/cache"
	"ore/cache/serve"
	"ore/cache/serve/wire"
	"ore/image"
	"ore/job"
	"ore/site"
)

// defaultListen is the port of a cache: near to that of agents (7447), and easily
// told from other servers of a host.
const defaultListen = ":7443"

// Shell is what commands share: where they write, and how errors and settings
// are understood.
type Shell struct {
	Out      io.Writer
	JSON     *bool                                         // give results as JSON
	Open     func(ctx context.Context) (*site.Site, error) // opens this host's site
	Usage    func(error) error                             // marks a fault in the words of the command line
	Complete cobra.CompletionFunc                          // offers keys of images
	Rows     func(header ...any) table.Writer              // starts a table
}

// print writes v as indented JSON.
func (a *Shell) print(v any) error {
	e := json.NewEncoder(a.Out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// say writes a line.
func (a *Shell) say(format string, args ...any) { fmt.Fprintf(a.Out, format+"\n", args...) }

// Command returns the command cache with all its subcommands.
func Command(a *Shell) *cobra.Command {
	c := &cobra.Command{
		Use:   "cache",
		Short: "Give images to a whole site, and take them from one",
		Args:  cobra.NoArgs,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newCacheServe(a), newCacheToken(a), newCacheCertificate(a), newRevoke(), newCacheList(a), newCacheStatus(a),
		newCachePush(a), newCachePull(a), newCacheRemove(a), newVerify(a))
	return c
}

// served is the folder that is served, and its owner's choices.
type served struct {
	dir, tokens string
}

func (s *served) flags(c *cobra.Command) {
	c.Flags().StringVar(&s.dir, "dir", "", "`folder` that is served; default: this user's own images")
	c.Flags().StringVar(&s.tokens, "tokens", "", "`file` with the tokens; default: one in the folder")
}

// folder returns the folder that is meant.
func (s *served) folder() (string, error) {
	if s.dir != "" {
		return s.dir, nil
	}
	dirs, err := site.FindDirs(os.Getenv)
	return dirs.Images, err
}

func (s *served) open() (*serve.Tokens, error) {
	dir, err := s.folder()
	if err != nil {
		return nil, err
	}
	return serve.OpenTokens(dir, s.tokens)
}

// serveFlags are those of 'ore cache serve'.
type serveFlags struct {
	served
	listen, cert, key, clientCA, quota, trusted string
}

// namespaces says who sees what; two commands' help have it.
const namespaces = `A client sees the images of its own namespace and those of the namespace
"` + wire.Shared + `". What it pushes goes into its own: others do not see it. An image that
all are to have, such as a base, is pushed with a token that --namespace ` + wire.Shared + `
--write was made with. What the owner of the served folder has in it is shared, too.`

func newCacheServe(a *Shell) *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use: "serve", Short: "Serve a folder of images to other hosts", Args: cobra.NoArgs,
		Long: `Serve a folder of images to other hosts, over HTTPS. At its first start the server
makes itself a certificate and prints its fingerprint, with which clients know it:

  ore ... --cache https://HOST:7443#sha256:FINGERPRINT

Who may read and write is said by 'ore cache token' and 'ore cache cert', which also
say in which namespace. The server ends at an interrupt; it may also be killed at any
moment.

` + namespaces,
		Example: `  ore cache serve --dir /srv/ore --listen :7443 --quota 200G
  ore cache token add alice --namespace lab --write --dir /srv/ore
  ore cache token add builder --namespace shared --write --dir /srv/ore`,
		RunE: func(c *cobra.Command, _ []string) error { return a.serveCache(c.Context(), f) },
	}
	f.flags(c)
	c.Flags().StringVar(&f.listen, "listen", defaultListen, "`address` to listen on, host:port")
	c.Flags().StringVar(&f.cert, "tls-cert", "", "`file` with the server's certificate; default: one of its own")
	c.Flags().StringVar(&f.key, "tls-key", "", "`file` with the key of that certificate")
	c.Flags().StringVar(&f.clientCA, "client-ca", "", "`file` with the authorities of client certificates; default: the folder's own")
	c.Flags().StringVar(&f.quota, "quota", "", "`size` that each namespace may take; default: what the disk has")
	c.Flags().StringVar(&f.trusted, "trusted", "", "`file` or folder of public keys: only images that one of them signed are taken")
	return c
}

// config reads what the flags name.
func (f serveFlags) config(a *Shell) (c serve.Config, cert tls.Certificate, ca []byte, err error) {
	if c.Dir, err = f.folder(); err != nil {
		return
	}
	c.Tokens = f.tokens
	if f.quota != "" {
		if c.Quota, err = job.ParseSize(f.quota); err != nil {
			err = a.Usage(fmt.Errorf("--quota: %w", err))
			return
		}
	}
	if f.trusted != "" {
		keys, kerr := image.ReadKeys(f.trusted)
		if kerr != nil {
			err = kerr
			return
		}
		c.Cache = cache.Config{Trusted: keys, Strict: true}
		c.Check = keys.Verify
	}
	if f.clientCA != "" {
		if ca, err = os.ReadFile(f.clientCA); err != nil {
			err = fmt.Errorf("client authorities: %w", err)
			return
		}
	}
	switch {
	case (f.cert == "") != (f.key == ""):
		err = a.Usage(errors.New("--tls-cert and --tls-key go together"))
	case f.cert != "":
		cert, err = tls.LoadX509KeyPair(f.cert, f.key)
	}
	return
}

func (a *Shell) serveCache(ctx context.Context, f serveFlags) error {
	conf, cert, ca, err := f.config(a)
	if err != nil {
		return err
	}
	s, err := serve.New(ctx, conf)
	if err != nil {
		return err
	}
	if cert.Certificate == nil {
		if cert, err = serve.ServerCertificate(conf.Dir); err != nil {
			return errors.Join(err, s.Close())
		}
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", f.listen)
	if err != nil {
		return errors.Join(fmt.Errorf("serve cache: %w: choose another address with --listen", err), s.Close())
	}
	a.say("serving %s on https://%s#sha256:%s", conf.Dir, l.Addr(), serve.Fingerprint(cert.Certificate[0]))
	return errors.Join(s.Serve(ctx, l, cert, ca), s.Close())
}

// identityFlags say who a token or a certificate is for.
type identityFlags struct {
	namespace string
	write     bool
}

func (i *identityFlags) flags(c *cobra.Command) {
	c.Flags().StringVar(&i.namespace, "namespace", "", "whose images: a user, a group, or \""+wire.Shared+"\"; default: the client's own name")
	c.Flags().BoolVar(&i.write, "write", false, "may also push, build for others and remove")
}

func (i identityFlags) identity(name string) serve.Identity {
	if i.namespace == "" {
		i.namespace = name
	}
	return serve.Identity{Name: name, Namespace: i.namespace, Write: i.write}
}

func newCacheToken(a *Shell) *cobra.Command {
	c := &cobra.Command{
		Use: "token", Short: "Say who may use the cache, by tokens", Args: cobra.NoArgs,
		Long: `Make, list and remove tokens. A token is shown once, when it is made; the server
keeps only its hash. Changes count at once, also for a server that runs.

` + namespaces,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newTokenAdd(a), newTokenList(a), newTokenRemove())
	return c
}

func newTokenAdd(a *Shell) *cobra.Command {
	var s served
	var i identityFlags
	c := &cobra.Command{
		Use: "add NAME", Short: "Make a token and print it", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			t, err := s.open()
			if err != nil {
				return err
			}
			token, err := t.Add(i.identity(args[0]))
			if errors.Is(err, serve.ErrIdentity) {
				return a.Usage(err)
			}
			if err != nil {
				return err
			}
			a.say("%s", token)
			return nil
		},
	}
	s.flags(c)
	i.flags(c)
	return c
}

func newTokenList(a *Shell) *cobra.Command {
	var s served
	c := &cobra.Command{
		Use: "ls", Short: "List tokens, without the tokens themselves", Aliases: []string{"list"}, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			t, err := s.open()
			if err != nil {
				return err
			}
			all, err := t.List()
			if err != nil {
				return err
			}
			if *a.JSON {
				return a.print(all)
			}
			out := a.Rows("name", "namespace", "rights", "made")
			for _, k := range all {
				rights := "read"
				if k.Write {
					rights = "read, write"
				}
				out.AppendRow(table.Row{k.Name, k.Namespace, rights, k.Made.Format(time.DateOnly)})
			}
			out.Render()
			return nil
		},
	}
	s.flags(c)
	return c
}

func newTokenRemove() *cobra.Command {
	var s served
	c := &cobra.Command{
		Use: "rm NAME", Short: "End a token", Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			t, err := s.open()
			if err != nil {
				return err
			}
			return t.Remove(args[0])
		},
	}
	s.flags(c)
	return c
}

func newCacheCertificate(a *Shell) *cobra.Command {
	var s served
	var i identityFlags
	var out string
	c := &cobra.Command{
		Use: "cert NAME", Short: "Make a client certificate, instead of a token", Args: cobra.ExactArgs(1),
		Long: `Make a client certificate, signed by the folder's own authority, for a year. A
server that runs must be started again after the first one was made.`,
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := s.folder()
			if err != nil {
				return err
			}
			if out == "" {
				out = args[0]
			}
			if err := serve.IssueClient(dir, i.identity(args[0]), out+".pem", out+"-key.pem"); err != nil {
				return err
			}
			a.say("%s.pem %s-key.pem", out, out)
			return nil
		},
	}
	c.Flags().StringVar(&s.dir, "dir", "", "`folder` that is served; default: this user's own images")
	c.Flags().StringVar(&out, "out", "", "`path` of the files, without .pem and -key.pem; default: NAME")
	i.flags(c)
	return c
}

func newRevoke() *cobra.Command {
	var s served
	c := &cobra.Command{
		Use: "revoke NAME", Short: "End a client's certificates", Args: cobra.ExactArgs(1),
		Long: `End all certificates that were made for NAME until now. A server that runs
refuses them from the next request on. Certificates that are made for NAME later
are good.`,
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := s.folder()
			if err != nil {
				return err
			}
			return serve.Revoke(dir, args[0], time.Now())
		},
	}
	c.Flags().StringVar(&s.dir, "dir", "", "`folder` that is served; default: this user's own images")
	return c
}
