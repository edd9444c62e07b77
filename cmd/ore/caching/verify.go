package caching

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"ore/cache"
	"ore/cache/serve"
	"ore/cmd/ore/view"
	"ore/image"
)

func newVerify(a *Shell) *cobra.Command {
	var s served
	var trusted string
	c := &cobra.Command{
		Use: "verify", Short: "Read all images of a folder that is served and compare them with their digests", Args: cobra.NoArgs,
		Long: `Read the layers of all images, of all namespaces of the folder, and compare them
with their digests, and their manifests with their signatures. What does not match
is moved away and its images are taken off the list, so that the next request
builds them anew. A server may go on serving the folder meanwhile: it knows at
once. It also looks itself whenever a layer that was changed is asked for.`,
		Example: "  ore cache verify --dir /srv/ore",
		RunE: func(c *cobra.Command, _ []string) error {
			dir, err := s.folder()
			if err != nil {
				return err
			}
			var conf cache.Config
			if trusted != "" {
				if conf.Trusted, err = image.ReadKeys(trusted); err != nil {
					return err
				}
			}
			return a.verify(c.Context(), dir, conf)
		},
	}
	c.Flags().StringVar(&s.dir, "dir", "", "`folder` that is served; default: this user's own images")
	c.Flags().StringVar(&trusted, "trusted", "", "`file` or folder of public keys: images that none of them signed are told")
	return c
}

// verified is what was found in one namespace.
type verified struct {
	Namespace string
	cache.Report
}

// verify verifies all namespaces of a folder that is served.
func (a *Shell) verify(ctx context.Context, dir string, conf cache.Config) error {
	if _, err := os.Stat(filepath.Join(dir, "images.db")); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("verify %s: there are no images: name the folder that is served with --dir", dir)
	}
	folders, err := serve.Namespaces(dir)
	if err != nil {
		return fmt.Errorf("verify %s: %w", dir, err)
	}
	var all []verified
	bad := 0
	for _, name := range slices.Sorted(maps.Keys(folders)) {
		r, err := verifyOne(ctx, folders[name], conf)
		if err != nil {
			return err
		}
		all, bad = append(all, verified{name, r}), bad+len(r.Bad())
	}
	if *a.JSON {
		err = a.print(all)
	} else {
		a.tellVerified(all)
	}
	if err == nil && bad > 0 {
		err = fmt.Errorf("verify %s: %d images are not as they should be: build them again, or push them from a host that has them", dir, bad)
	}
	return err
}

func verifyOne(ctx context.Context, dir string, conf cache.Config) (cache.Report, error) {
	c, err := conf.Open(ctx, dir)
	if err != nil {
		return cache.Report{}, err
	}
	r, err := c.VerifyAll(ctx)
	return r, errors.Join(err, c.Close())
}

func (a *Shell) tellVerified(all []verified) {
	var bytes int64
	for _, v := range all {
		for _, i := range v.Images {
			how := "ok"
			if i.Err != nil {
				how = i.Err.Error()
			}
			a.say("%s %s %s", v.Namespace, i.Entry.Key.Short(), how)
		}
		bytes += v.Bytes
	}
	a.say("%s read", view.Bytes(bytes))
}
