// Package installing is the command install: machines that ore did not start
// boot from the network, and end as what a job file says (package ore/netboot).
//
// What a machine boots and is told comes from the site, as a [Site]: this
// package knows only that it is one installer, some blobs by digest, and a
// recipe. The server and the other commands are processes of their own that meet
// in a folder, where the roster of the machines is.
package installing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"ore"
	"ore/image"
	"ore/netboot"
	"ore/netboot/link"
	"ore/netboot/roster"
	"ore/site"
)

// Shell is what commands share: where they write, how errors are understood, and
// what the site does for them.
type Shell struct {
	Out   io.Writer
	Err   io.Writer
	JSON  *bool                              // give results as JSON
	Quiet *bool                              // show no progress
	Usage func(error) error                  // marks a fault in the words of the command line
	Job   func(path string) (ore.Job, error) // reads a job file, - for standard input
	// Open opens the site for the machines of one list, which is in the folder.
	Open func(ctx context.Context, list string) (*Site, error)
}

// Site is what a site does for machines that install themselves. What System
// names is found by Blob also in another process, until no machine of the roster
// is or is to become it.
type Site struct {
	// System makes what a machine boots and is told so that it becomes what w
	// says. Addresses in the recipe that begin with [netboot.Here] are the
	// server's: blobs by [netboot.Blob], and what Rest answers.
	System func(ctx context.Context, w Want) (roster.System, error)
	// Disk makes the image of the disk of such a machine, unless there is one: it says
	// whether it did. Without a firmware the machine is one that 'ore run' starts.
	Disk func(ctx context.Context, j ore.Job, f ore.Firmware) (img image.Manifest, made bool, err error)
	// Blob opens a kernel, an initramfs or a layer, and vouches for its bytes.
	Blob func(ctx context.Context, d ore.Digest) (io.ReadSeekCloser, error)
	// Loaders are the files of iPXE.
	Loaders func(ctx context.Context) (netboot.Loaders, error)
	// Rest gives what answers what else installers ask of the server, such as
	// packages (a deb/proxy does), and takes the images that they send, until Close.
	Rest func(watch ore.Watcher) (http.Handler, error)
	// Learn takes what a machine that has become y took into what is known of such
	// machines; nil does not. It may be called concurrently.
	Learn func(m roster.Machine, y roster.System) error
	// Sweep lets go of what none of these systems names, which are all of the list.
	Sweep func(systems []roster.System) error
	// Close lets go of the site.
	Close func() error
}

// Want is what an operator says that a machine is to be.
type Want struct {
	Job      ore.Job
	Name     string // the machine's host name
	MAC      link.MAC
	Firmware ore.Firmware // what it was seen to boot with; "" when it was never seen
	From     string       // what it installs from: image, disk, base or packages; "" for what is best
	Restart  string       // how it starts again: kexec or firmware; "" for what is best
	Discard  bool         // what it installs is not kept as an image
}

// print writes v as indented JSON.
func (a *Shell) print(v any) error {
	e := json.NewEncoder(a.Out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func (a *Shell) say(format string, args ...any) { fmt.Fprintf(a.Out, format+"\n", args...) }

// note writes a line of progress.
func (a *Shell) note(format string, args ...any) {
	if !*a.Quiet {
		fmt.Fprintf(a.Err, "ore: "+format+"\n", args...)
	}
}

// unserved notes that no server uses a folder, if that is so.
func (a *Shell) unserved(dir string) {
	switch serving, err := netboot.Serving(dir); {
	case err != nil:
		a.note("%v", err)
	case !serving:
		a.note("no server answers the machines on the list in %s: run 'ore install serve', or give the folder of one that runs with --dir", dir)
	}
}

// Command returns the command install with all its subcommands.
func Command(a *Shell) *cobra.Command {
	c := &cobra.Command{
		Use:   "install",
		Short: "Install machines that boot from the network",
		Long: `Install machines that ore did not start: real ones, or those of a hypervisor that
ore knows nothing of. They boot from the network, and each ends, with no key
pressed, as the machine that a job file describes.

'serve' answers them. A machine that asks and is not known waits, and is listed by
'ls'; 'assign' says what it is to be, before or after it was first seen. 'wait' waits
until it is that. A machine that is what it should be boots from its own disk.`,
		Example: `  ore install serve --interface eth1 --range 10.0.0.50-10.0.0.99
  ore install serve --interface eth0 --proxy-dhcp
  ore install ls
  ore install assign 52:54:00:12:34:56 --name node1 -f node.yaml
  ore install wait node1`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newServe(a), newList(a), newAssign(a), newWait(a), newForget(a), newDisk(a))
	return c
}

// place is the folder in which the server and the commands meet.
type place struct{ dir string }

func (p *place) flags(c *cobra.Command) {
	c.Flags().StringVar(&p.dir, "dir", "", "`folder` with the list of machines, the server's and the commands'; default: one of this user's")
}

func (p *place) folder() (string, error) {
	if p.dir != "" {
		return p.dir, nil
	}
	dirs, err := site.FindDirs(os.Getenv)
	return filepath.Join(dirs.State, "netboot"), err
}

// roster opens the list of machines, with the folder that it is in. It is opened by
// [roster.Open] by who puts machines onto it, so that it is made, and by [roster.Look]
// by all others: a folder that somebody mistyped is not made.
func (p *place) roster(open func(string, roster.Limits) (*roster.Roster, error)) (*roster.Roster, string, error) {
	dir, err := p.folder()
	if err != nil {
		return nil, "", err
	}
	r, err := open(dir, roster.Limits{})
	if errors.Is(err, os.ErrPermission) {
		err = fmt.Errorf("%w: be who runs the server, or give another folder with --dir", err)
	}
	return r, dir, err
}

// sweep lets go of what no machine of the list may ask for any more.
func sweep(r *roster.Roster, on *Site) error {
	all, err := r.Systems()
	if err != nil || on.Sweep == nil {
		return err
	}
	return on.Sweep(all)
}

// find returns the machine that a word means: a card's address, which need not
// be known, or a name.
func find(r *roster.Roster, word string) (roster.Machine, bool, error) {
	if card, err := link.ParseMAC(word); err == nil {
		m, known, err := r.Find(card)
		if !known {
			m.MAC = card
		}
		return m, known, err
	} else if strings.Contains(word, ":") {
		return roster.Machine{}, false, err
	}
	all, err := r.All()
	if err != nil {
		return roster.Machine{}, false, err
	}
	if i := slices.IndexFunc(all, func(m roster.Machine) bool { return m.Name == word }); i >= 0 {
		return all[i], true, nil
	}
	return roster.Machine{}, false, fmt.Errorf("machine %.80q: none has this name: give its card's address, which 'ore install ls' shows", word)
}

// known returns the machines that words mean, all of which are on the list.
func known(r *roster.Roster, words []string) ([]roster.Machine, error) {
	var list []roster.Machine
	for _, w := range words {
		m, ok, err := find(r, w)
		if err == nil && !ok {
			err = fmt.Errorf("machine %s: is not on the list: 'ore install ls' shows those that are", w)
		}
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
	return list, nil
}

// called is a machine's name, or its card's address where it has none.
func called(m roster.Machine) string {
	if m.Name == "" {
		return m.MAC.String()
	}
	return m.Name
}

// completeMachines offers what 'ls' lists.
func (p *place) completeMachines(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	r, _, err := p.roster(roster.Look)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	all, err := r.All()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var words []string
	for _, m := range all {
		if w := called(m); !slices.Contains(args, w) {
			words = append(words, w)
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}
