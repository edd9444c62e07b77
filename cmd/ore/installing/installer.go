package installing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"ore/install/machine"
	"ore/install/pour/blob"
	"ore/install/recipe"
	"ore/install/restart"
	"ore/netboot/relay"
)

// Installer returns the command that a machine runs to install itself. It reads
// a recipe from standard input, or what a network boot left, and writes reports.
//
// The work is done by a second process in namespaces of its own for processes and
// mounts: whatever ends this one, nothing is left mounted, and nothing runs on.
func Installer(in io.Reader, out io.Writer) *cobra.Command {
	i := installer{in: in, out: out}
	c := &cobra.Command{
		Use: installerWord, Hidden: true, Args: cobra.NoArgs,
		Short: "Make this machine what a recipe says: what is on its disks may be lost",
		RunE: func(c *cobra.Command, _ []string) error {
			if i.inside {
				return i.install(c.Context())
			}
			return i.enter(c.Context(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringVar(&i.target, "target", "/target", "an empty folder for the machine's file systems")
	f.StringVar(&i.identity, "identity", "", "read the recipe from this file of a network boot, and report home")
	f.BoolVar(&i.inside, "inside", false, "do the work in this process")
	return c
}

// installerWord is the command's name, and kept where it notes, in the machine's
// memory, that a failed step can be tried again.
const (
	installerWord = "installer"
	kept          = "/run/ore/installer"
	// basePause is the first wait for an image of which no source answers. It doubles
	// four times: a server that was ended in the midst is started again by then.
	basePause = 2 * time.Second
)

type installer struct {
	in               io.Reader
	out              io.Writer
	target, identity string
	inside           bool
}

// enter does the work in namespaces, where there are any.
func (i installer) enter(ctx context.Context, complain io.Writer) error {
	args := []string{installerWord, "--inside", "--target", i.target, "--identity", i.identity}
	apart, err := machine.Apart(ctx, args, machine.Streams{In: i.in, Out: i.out, Err: complain})
	if !apart {
		return i.install(ctx)
	}
	return err
}

// install reads the recipe and does what it says.
func (i installer) install(ctx context.Context) error {
	r, who, err := i.recipe()
	home := who.Home
	if err != nil {
		return i.refuse(home, err)
	}
	if err := os.MkdirAll(i.target, 0o755); err != nil {
		return i.refuse(home, err)
	}
	report, end := i.reporter(home)
	g := &getter{client: blob.Client{Pause: basePause}}
	if who.Chain != "" {
		g.begin(ctx, relay.Config{Chain: who.Chain, Blobs: who.Blobs})
	}
	o := machine.Options{Target: i.target, Report: report, Pour: g.base, Onto: g.packages, Disk: g.whole, Keep: kept, Starts: directly(restart.Possible())}
	if home != "" {
		o.Load = next(home)
	}
	_, err = machine.Install(ctx, r, o)
	g.close()
	return errors.Join(err, end())
}

// identity is what matters here of netboot.Identity.
type identity struct {
	Home   string `json:"home"`
	Blobs  string `json:"blobs"`
	Chain  string `json:"chain"`
	Recipe []byte `json:"recipe"`
}

// recipe returns the recipe, and who a machine is that booted from the network.
func (i installer) recipe() (r recipe.Recipe, who identity, err error) {
	if i.identity == "" {
		r, err = recipe.Parse(i.in)
		return r, who, err
	}
	b, err := os.ReadFile(i.identity)
	if err != nil {
		return r, who, fmt.Errorf("recipe: %w: was this machine booted by ore?", err)
	}
	if err := json.Unmarshal(b, &who); err != nil {
		return r, who, fmt.Errorf("recipe: %s: %w", i.identity, err)
	}
	r, err = recipe.Parse(bytes.NewReader(who.Recipe))
	return r, who, err
}

// refuse reports what went wrong before there was a recipe to follow.
func (i installer) refuse(home string, err error) error {
	report, end := i.reporter(home)
	report(recipe.Report{Number: 1, Stage: recipe.Begin, Event: recipe.Fail, At: time.Now().UTC(), Text: machine.Clip(err.Error())})
	return errors.Join(err, end())
}

// reporter returns what writes reports, a line each, and posts them home if there
// is one. The function end waits until home has them.
func (i installer) reporter(home string) (report func(recipe.Report), end func() error) {
	var mu sync.Mutex // guards out
	out := json.NewEncoder(i.out)
	write := func(r recipe.Report) {
		mu.Lock()
		defer mu.Unlock()
		_ = out.Encode(r) // nobody listens any more, and the machine is not to be left half made for that
	}
	if home == "" {
		return write, func() error { return nil }
	}
	p := newPoster(home)
	return func(r recipe.Report) { write(r); p.add(r) }, p.end
}
